"""A plan as a comment on a pull request. Text of manifests is in code blocks, where markup has no effect."""

from collections.abc import Iterable, Iterator
from typing import Final

from scopewright.plan.changes import PlanResult
from scopewright.plan.output.lines import (
    SECTIONS,
    access_line,
    anyone_lines,
    change_line,
    clean,
    finding_line,
    omissions,
    request_lines,
    summary,
)

LONGEST: Final = 60_000
"""Characters; a comment on GitHub has 65,536."""

_FOLDED: Final = ("Secrets", "Objects")


def as_markdown(result: PlanResult) -> str:
    text = "\n".join(_lines(result))
    if len(text) <= LONGEST:
        return text
    cut = text[:LONGEST].rpartition("\n")[0]
    closing = "\n````" if cut.count("\n````") % 2 else ""
    return f"{cut}{closing}\n\nThe rest is omitted: see the other outputs.\n"


def _lines(result: PlanResult) -> Iterator[str]:
    yield f"### Scopewright plan: {summary(result)}\n"
    yield from _block("Refused", "text", map(finding_line, result.refusals))
    yield from _block("Anyone", "diff", map(_signed, anyone_lines(result)))
    yield from _block("Access", "diff", map(_signed, map(access_line, result.access)))
    yield from _block("Requests", "diff", map(_signed, request_lines(result)))
    for heading, of in SECTIONS:
        yield from _block(heading, "diff", map(_signed, map(change_line, getattr(result, of))))
    yield from _block("Warnings", "text", (finding_line(f) for f in result.warnings if f.new))
    yield from (f"{note}\n" for note in omissions(result))


def _block(heading: str, language: str, lines: Iterable[str]) -> Iterator[str]:
    texts = [line.replace("````", "` ` ` `") for line in lines]
    if not texts:
        return
    folded = heading in _FOLDED
    yield f"<details><summary>{heading} ({len(texts)})</summary>\n" if folded else f"**{heading}**\n"
    yield f"````{language}"
    yield from texts
    yield "````\n"
    if folded:
        yield "</details>\n"


def _signed(line: str) -> str:
    """Mark changed lines with `!`, as diff highlighting does."""
    return clean("!" + line[1:] if line.startswith("~") else line)
