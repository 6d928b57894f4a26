"""A plan as the comment on a pull request. What manifests say is shown in blocks of code, where nothing is obeyed."""

from collections.abc import Iterable, Iterator
from typing import Final

from scopewright.plan.changes import PlanResult
from scopewright.plan.output.lines import SECTIONS, access_line, asides, change_line, clean, finding_line, summary

LONGEST: Final = 60_000
"""Characters; a comment on GitHub has 65,536."""

_FOLDED: Final = ("Secrets", "Objects")


def as_markdown(changes: PlanResult) -> str:
    text = "\n".join(_lines(changes))
    if len(text) <= LONGEST:
        return text
    cut = text[:LONGEST].rpartition("\n")[0]
    closing = "\n````" if cut.count("\n````") % 2 else ""
    return f"{cut}{closing}\n\nThe rest is left out here: the other outputs have it.\n"


def _lines(changes: PlanResult) -> Iterator[str]:
    yield f"### Scopewright plan: {summary(changes)}\n"
    yield from _block("Refused", "text", map(finding_line, changes.refusals))
    yield from _block("Access", "diff", map(_signed, map(access_line, changes.access)))
    for heading, of in SECTIONS:
        yield from _block(heading, "diff", map(_signed, map(change_line, getattr(changes, of))))
    yield from _block("Warnings", "text", (finding_line(f) for f in changes.warnings if f.new))
    yield from (f"{aside}\n" for aside in asides(changes))


def _block(heading: str, language: str, lines: Iterable[str]) -> Iterator[str]:
    found = [line.replace("````", "` ` ` `") for line in lines]
    if not found:
        return
    folded = heading in _FOLDED
    yield f"<details><summary>{heading} ({len(found)})</summary>\n" if folded else f"**{heading}**\n"
    yield f"````{language}"
    yield from found
    yield "````\n"
    if folded:
        yield "</details>\n"


def _signed(line: str) -> str:
    """In a diff, what is changed is marked by `!`."""
    return clean("!" + line[1:] if line.startswith("~") else line)
