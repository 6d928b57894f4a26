"""The interface between a benchmark and the command line."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop
from rich.table import Table

from bench.progress_display import ProgressDisplay

Figures = dict[str, Any]


class BenchmarkError(Exception):
    """The measurement failed; the message says why."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    about: str
    add_options: Callable[[argparse._ArgumentGroup], None]
    run: Callable[[argparse.Namespace, ProgressDisplay], Figures]
    """Returns the figures as they are written to the JSON file."""
    table: Callable[[Figures], Table]


def run_on_loop(measurement: Coroutine[Any, Any, Figures]) -> Figures:
    """Run the measurement on uvloop. Blocking setup must come before it: there Ctrl-C interrupts, here it cancels."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement)
