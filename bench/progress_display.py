"""Terminal output of a benchmark: progress of each step, its duration, and tables."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

SetCompleted = Callable[[int], None]
"""Called with the amount of the step that is complete."""

_WIDTH = 200
"""Of a table in a file or a pipe, in characters. Rich takes 80 there, and names would be cut."""


class ProgressDisplay:
    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=_WIDTH)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[SetCompleted]:
        """Show one step, with a bar if `total` is known; print a line with its duration at the end."""
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        bar = [BarColumn(), MofNCompleteColumn()] if total else []
        started = time.monotonic()
        # A low refresh rate: the display shares the cores with what is measured.
        with Progress(
            *columns,
            *bar,
            console=self._console,
            transient=True,
            refresh_per_second=2,
            disable=not self._is_interactive,
        ) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=done)
        self._console.print(f"  {title}: {time.monotonic() - started:.1f} s", soft_wrap=True)

    def print_line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def print_table(self, table: Table) -> None:
        self._console.print(table)

    @property
    def _is_interactive(self) -> bool:
        return self._console.is_terminal
