"""A plan as SARIF 2.1.0, so that code hosts show refusals, warnings and new access beside the lines they come from."""

import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from scopewright.core.objects import Ref
from scopewright.plan.changes import AccessChange, Finding, Location, PlanResult, RequestChange
from scopewright.plan.output.lines import access_line, clean, json_text, name, request_line

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
GAINED: Final = "AccessGained"
LOST: Final = "AccessLost"
OPENED: Final = "OpenToAnyone"
CLOSED: Final = "ClosedToAnyone"

Result = dict[str, Any]


def as_sarif(result: PlanResult, version: str) -> str:
    return json_text(document(result, version))


def document(result: PlanResult, version: str) -> dict[str, Any]:
    results = list(_results(result))
    rules = sorted({entry["ruleId"] for entry in results})
    for entry in results:
        entry["ruleIndex"] = rules.index(entry["ruleId"])
    driver = {"name": "scopewright", "version": version, "rules": [{"id": r} for r in rules]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _results(result: PlanResult) -> Iterator[Result]:
    """Code hosts refuse a result without a location: a finding elsewhere is shown at the first manifest."""
    fallback = min(result.locations.values(), default=None)
    yield from (_finding(f, "error", f.location or fallback) for f in result.refusals)
    yield from (_finding(f, "warning", f.location or fallback) for f in result.warnings)
    yield from (_access(change, result.locations, fallback) for change in result.access)
    yield from (_request(change, change.location or fallback) for change in result.requests)


def _finding(finding: Finding, level: str, location: Location | None) -> Result:
    of = f"{name(finding.subject)}: " if finding.subject else ""
    state = "new" if finding.new else "unchanged"
    return _result(finding.reason, level, of + finding.message, location) | {"baselineState": state}


def _access(change: AccessChange, locations: Mapping[Ref, Location], fallback: Location | None) -> Result:
    """At the ScopeGrant, if it is among the manifests, else at the client or at the API."""
    access = change.access
    client = Ref("OAuthClient", *access.client.split("/"))
    server = Ref("ResourceServer", *access.server.split("/"))
    refs = [*(Ref("ScopeGrant", *via.split("/")) for via in access.via), client, server]
    location = next((locations[ref] for ref in refs if ref in locations), fallback)
    rule = GAINED if change.after else LOST
    return _result(rule, "note", access_line(change)[2:], location) | {"baselineState": "new"}


def _request(change: RequestChange, location: Location | None) -> Result:
    rule = (OPENED if change.gained else CLOSED) if change.is_anyone else GAINED if change.gained else LOST
    level = "warning" if rule == OPENED else "note"
    return _result(rule, level, request_line(change)[2:], location) | {"baselineState": "new"}


def _result(rule: str, level: str, message: str, location: Location | None) -> Result:
    """The message without links, which SARIF (§3.11.6) would have in plain text."""
    text = clean(message).replace("](", "] (")
    result: Result = {"ruleId": rule, "level": level, "message": {"text": text}}
    if location:
        where = {"artifactLocation": {"uri": _uri(location.file)}, "region": {"startLine": location.line}}
        result["locations"] = [{"physicalLocation": where}]
    return result


def _uri(file: str) -> str:
    """Relative to where the command runs, which is the top of the repository in CI."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else urllib.parse.quote(path.as_posix())
