"""Text shared by the outputs of a plan: one line for each change and finding, and a summary."""

import json
import re
from collections import Counter
from datetime import datetime
from typing import Final

from scopewright.core.objects import Ref
from scopewright.core.records.fields import rfc3339
from scopewright.plan.changes import AccessChange, Finding, ObjectChange, PlanResult, RequestChange

SIGNS: Final = {"made": "+", "adopted": "+", "enabled": "+", "deleted": "-", "revoked": "-", "disabled": "-"}
"""Signs as in a diff; any other action has `~`."""

SECTIONS: Final = (
    ("Logins", "logins"),
    ("Credentials", "credentials"),
    ("Keys", "keys"),
    ("Secrets", "secrets"),
    ("Objects", "objects"),
)
"""Headings, and the fields of PlanResult below them."""

MAX_NAMES: Final = 4
"""Callers and paths that one line names."""
MAX_REQUEST_LINES: Final = 100

PARTICIPLES: Final = ("scope ", "role ", "path ", "rule ")
"""Nouns that a participle follows in the summary."""

_COMMAND: Final = re.compile(r"(?<=#)#|^\s*:(?=:)")


def access_line(change: AccessChange) -> str:
    """Return the line of a gained, lost or changed scope; it begins with `+`, `-` or `~`."""
    access = change.access
    what = f"{'role ' if access.is_role else ''}{access.scope} of {access.server}"
    who = str(access.users) if access.users else access.client
    through = f" through {access.client}" if access.users else ""
    if change.after is None:
        return f"- {who} loses {what}{through} ({change.because})"
    if change.before is None:
        return f"+ {who} gets {what}{through} ({_granted(change)})"
    return f"~ {who} keeps {what}{through} {_until(access.until)}, before {_until(change.before.until)}"


def anyone_lines(result: PlanResult) -> list[str]:
    """Return a line for each path that anyone may use from now on, and for each that now needs a token or is closed."""
    return [
        f"{'+' if change.gained else '-'} ANYONE {_may(change)} {_url(change.site, path)} {_rule(change)}"
        for change in result.requests
        if change.is_anyone
        for path in change.paths
    ]


def request_lines(result: PlanResult) -> list[str]:
    """Return a line for each rule and set of clients or users who may newly send its requests, or may no longer."""
    lines = [request_line(change) for change in result.requests if not change.is_anyone]
    more = len(lines) - MAX_REQUEST_LINES
    return [*lines[:MAX_REQUEST_LINES], f"  and {more} more: see the JSON output"] if more > 0 else lines


def request_line(change: RequestChange) -> str:
    """Return one line; it begins with `+` or `-`, and names only the first callers and paths."""
    who = _first(["ANYONE"] if change.is_anyone else [str(caller) for caller in change.callers], "others")
    site = _url(change.site, "") if change.is_anyone else change.site.removeprefix("https://")
    paths = _first([f"{site}{change.paths[0]}", *change.paths[1:]], "other paths")
    return f"{'+' if change.gained else '-'} {who} {_may(change)} {paths} {_rule(change)}"


def change_line(change: ObjectChange) -> str:
    detail = f": {change.detail}" if change.detail else ""
    return f"{SIGNS.get(change.action, '~')} {name(change.subject)} {change.action}{detail}"


def finding_line(finding: Finding) -> str:
    """Return `file:line: what is wrong: what to do about it`."""
    where = f"{finding.location}: " if finding.location else ""
    of = f"{name(finding.subject)}: " if finding.subject else ""
    return clean(f"{where}{of}{finding.message}")


def summary(result: PlanResult) -> str:
    gained = Counter(_kind_of_access(c) for c in result.access if c.before is None)
    lost = Counter(_kind_of_access(c) for c in result.access if c.after is None)
    counts = (
        (len(result.refusals), "refusal"),
        (gained["scope"], "scope gained"),
        (lost["scope"], "scope lost"),
        (gained["user scope"], "scope gained by users"),
        (lost["user scope"], "scope lost by users"),
        (gained["role"], "role gained"),
        (lost["role"], "role lost"),
        (sum(len(c.paths) for c in result.requests if c.is_anyone and c.gained), "path opened to anyone"),
        (sum(len(c.paths) for c in result.requests if c.is_anyone and not c.gained), "path closed to anyone"),
        (len({(c.server, c.rule) for c in result.requests if c.callers and c.gained}), "rule with new callers"),
        (len({(c.server, c.rule) for c in result.requests if c.callers and not c.gained}), "rule with fewer callers"),
        (len(result.logins), "login"),
        (len(result.credentials), "credential"),
        (len(result.keys), "key"),
        (len(result.objects), "object"),
        (sum(1 for w in result.warnings if w.new), "new warning"),
    )
    return ", ".join(_counted(number, what) for number, what in counts if number) or "nothing changes"


def omissions(result: PlanResult) -> list[str]:
    """Return notes on omitted warnings and objects."""
    old = sum(1 for w in result.warnings if not w.new)
    notes = [f"{_counted(old, 'warning')} from before: see the JSON output"] if old else []
    other = f"{_counted(result.ignored, 'object')} for other installations (spec.issuer): not planned"
    return [*notes, other] if result.ignored else notes


def name(ref: Ref) -> str:
    return str(ref) if ref.namespace else f"{ref.kind} {ref.name}"


def clean(text: str) -> str:
    """Escape control characters of terminals and commands of CI runners: the text of manifests is untrusted.

    Runners execute `##[command]` anywhere in a line, and `::command::` at its beginning.
    """
    printable = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return _COMMAND.sub(lambda match: f"{match[0][:-1]}\\u{ord(match[0][-1]):04x}", printable)


def json_text(value: object) -> str:
    """Return JSON, escaped like `clean` but with JSON's escapes, which programs decode to the original text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    printable = "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)
    return printable.replace("##", "#\\u0023") + "\n"


def _may(change: RequestChange) -> str:
    may = "may" if change.gained else "may no longer"
    if change.methods:
        return f"{may} {', '.join(change.methods)}"
    but = f" but {', '.join(change.except_methods)}" if change.except_methods else ""
    return f"{may} use any method{but} on"


def _rule(change: RequestChange) -> str:
    return f"({change.server}, rule {change.rule})"


def _url(site: str, path: str) -> str:
    return f"{site if '://' in site else f'https://{site}'}{path}"


def _first(texts: list[str], what: str) -> str:
    more = len(texts) - MAX_NAMES
    return ", ".join(texts) if more <= 1 else f"{', '.join(texts[:MAX_NAMES])} and {more} {what}"


def _counted(number: int, what: str) -> str:
    """Return number and noun, in the plural if needed; a participle follows the noun."""
    if number == 1:
        return f"1 {what}"
    noun, _, rest = what.partition(" ") if what.startswith(PARTICIPLES) else (what, "", "")
    return f"{number} {noun}s {rest}".rstrip()


def _kind_of_access(change: AccessChange) -> str:
    access = change.access
    return "role" if access.is_role else "user scope" if access.users else "scope"


def _granted(change: AccessChange) -> str:
    access = change.access
    if not access.via:
        return "of its own namespace"
    return f"granted by ScopeGrant {', '.join(access.via)}" + (f" {_until(access.until)}" if access.until else "")


def _until(instant: datetime | None) -> str:
    if instant is None:
        return "without end"
    text = rfc3339(instant)
    return f"until {text[:10] if text.endswith('T00:00:00Z') else text}"
