"""What whoever waits for a benchmark sees: each step as it goes on, then how long it took, at the end a table."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

Advance = Callable[[int], None]
"""Takes how much of the step is done by now."""


class Screen:
    def __init__(self) -> None:
        self._console = Console(highlight=False)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """One step, with a bar where it has a length; a line for it when it is over."""
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        bar = [BarColumn(), MofNCompleteColumn()] if total else []
        began = time.monotonic()
        # Drawn seldom: it shares two cores with what is measured.
        with Progress(
            *columns, *bar, console=self._console, transient=True, refresh_per_second=2, disable=not self._lively
        ) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=done)
        self._console.print(f"  {title}: {time.monotonic() - began:.1f} s", soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def show(self, table: Table) -> None:
        self._console.print(table)

    @property
    def _lively(self) -> bool:
        return self._console.is_terminal
