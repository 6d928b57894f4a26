"""What a benchmark is to the command that runs it."""

import argparse
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench.screen import Screen

Figures = dict[str, Any]


class BenchmarkError(Exception):
    """What was to be measured did not happen; the message says what did."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    about: str
    add_options: Callable[[argparse._ArgumentGroup], None]
    run: Callable[[argparse.Namespace, Screen], Coroutine[Any, Any, Figures]]
    """The figures, as they go into the file."""
    table: Callable[[Figures], Table]
