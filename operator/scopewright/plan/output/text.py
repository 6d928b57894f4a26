"""A plan for the terminal."""

from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Final

from rich.console import Console
from rich.text import Text

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

STYLES: Final = {"+": "green", "-": "red", "~": "yellow"}


def as_text(result: PlanResult, *, colour: bool = False) -> str:
    """Return the plan: refusals, gained and lost scopes, then the other changes."""
    written = StringIO()
    console = Console(file=written, force_terminal=colour, no_color=not colour, highlight=False, soft_wrap=True)
    for line in _lines(result):
        console.print(line)
    return written.getvalue()


def _lines(result: PlanResult) -> Iterator[Text]:
    yield from _section("Refused", (Text(finding_line(f), "red") for f in result.refusals))
    yield from _section("Anyone", map(_signed, anyone_lines(result)))
    yield from _section("Access", map(_signed, map(access_line, result.access)))
    yield from _section("Requests", map(_signed, request_lines(result)))
    for heading, of in SECTIONS:
        yield from _section(heading, map(_signed, map(change_line, getattr(result, of))))
    yield from _section("Warnings", (Text(finding_line(f), "yellow") for f in result.warnings if f.new))
    yield Text(f"Plan: {summary(result)}.", "bold")
    for note in omissions(result):
        yield Text(note, "dim")


def _section(heading: str, lines: Iterable[Text]) -> Iterator[Text]:
    if texts := list(lines):
        yield Text(heading, "bold")
        yield from (Text("  ").append_text(line) for line in texts)
        yield Text()


def _signed(line: str) -> Text:
    return Text(clean(line), STYLES[line[0]])
