"""Expected and actual answers, as a table."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Expected:
    """`text` is a part of the answer."""

    status: int
    error: str = ""
    text: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.status), self.error, f"“{self.text}”" if self.text else "") if part)


@dataclass(frozen=True)
class Answer:
    status: int
    error: str
    text: str

    @classmethod
    def of(cls, response: httpx.Response) -> "Answer":
        """A refusal is in the challenge (RFC 6750 §3): the body has the format of the service's framework."""
        refusal = dict(_PARAMETER.findall(response.headers.get("www-authenticate", "")))
        try:
            body = response.json()
        except ValueError:
            body = {"error_description": response.text[:200]}
        if response.is_success:
            return cls(response.status_code, "", _plain(body))
        described = body | refusal
        return cls(response.status_code, described.get("error", ""), described.get("error_description", ""))

    def meets(self, expected: Expected) -> bool:
        return (self.status, self.error) == (expected.status, expected.error) and expected.text in self.text


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        hidden = ("access_token", "token_type")
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items() if name not in hidden)
    return "; ".join(_plain(item) for item in value) if isinstance(value, list) else str(value)


class Report:
    """Prints each section when it is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._table = _table()
        self.failures: list[str] = []
        self.rows = 0

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        self._table = _table()
        try:
            yield
        finally:
            self._console.print(f"\n[bold]{title}[/]")
            self._console.print(self._table)

    def row(self, who: str, what: str, expected: Expected, answer: Answer, *, after: float | None = None) -> None:
        matches = answer.meets(expected)
        actual = f"{answer.status} {answer.error}".strip() + (f": {answer.text}" if answer.text else "")
        if after is not None:
            actual = f"after {after:.1f} s: {actual}"
        if not matches:
            self.failures.append(f"{who}, {what}: expected {expected}, got {actual}")
        mark = "[green]✓[/]" if matches else "[bold red]✗[/]"
        self._table.add_row(mark, *map(escape, (who, what, str(expected), actual)))
        self.rows += 1


def _table() -> Table:
    table = Table(box=box.ROUNDED, header_style="dim", expand=True)
    table.add_column("", width=1)
    table.add_column("caller", width=16)  # the same widths in every section
    table.add_column("request", ratio=36, overflow="fold")
    table.add_column("expected", ratio=26, min_width=18, overflow="fold")
    table.add_column("answer", ratio=56, overflow="fold")
    return table
