"""Serve in this process, or in several that share the ports: for `issuer` and `gateway`."""

import gc
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from scopewright.cli.settings import listen, reserve

if TYPE_CHECKING:
    from scopewright.serving.counters import SharedCounters
    from scopewright.serving.workers import Worker


def listener(text: str, workers: int, option: str = "--listen") -> socket.socket:
    """A socket for `serve` on `HOST:PORT`: it listens, or reserves the port for several workers."""
    return listen(text, option) if workers == 1 else reserve(text, option)


def serve(
    work: "Callable[[Worker], None]",
    listening: socket.socket,
    metrics_listen: str | None,
    counters: "SharedCounters",
    on_ready: Callable[[str], None],
) -> None:
    """Run until SIGTERM or SIGINT, in as many processes as `counters` has rows. `listening` is of `listener`."""
    from scopewright.serving.workers import Worker, run_workers

    workers = counters.rows
    observed = listener(metrics_listen, workers, "--metrics-listen") if metrics_listen else None
    if workers == 1:
        work(Worker(lambda: listening, on_ready, (lambda: observed) if observed else None))
    else:
        gc.collect()
        gc.freeze()  # otherwise the first collection of each worker copies every page that has objects
        run_workers(counters, work, listening, on_ready, observed=observed)
