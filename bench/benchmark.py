"""What a benchmark is to the command that runs it."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop
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
    run: Callable[[argparse.Namespace, Screen], Figures]
    """The figures, as they go into the file."""
    table: Callable[[Figures], Table]


def on_a_loop(measuring: Coroutine[Any, Any, Figures]) -> Figures:
    """What waits without a loop, as for a control plane, comes before: there Ctrl-C ends the wait, and here a task."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)
