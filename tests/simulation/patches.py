"""What of the real code is exchanged for the simulation: time, randomness, threads, kopf and the HTTP server."""

import asyncio
import gc
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final

from scopewright import backoff
from scopewright.controller import bootstrap, lease, object_backoff, operator, periodic_rechecks, queue
from scopewright.controller.lease import Lease
from scopewright.controller.resync import WatchMonitor
from scopewright.core import orphans
from scopewright.core.config import LeaseTimes
from scopewright.issuer import build
from scopewright.issuer.revocation import ended as revocations
from scopewright.issuer.state import snapshot
from scopewright.stores.kubernetes import follow as kube_follow
from tests.simulation import memos
from tests.simulation.issuers import MemorySnapshots, SnapshotAsyncio
from tests.simulation.loop import RUNNING
from tests.simulation.network import Network
from tests.simulation.quiet import LeaseAsyncio
from tests.simulation.settings import LONGEST_PAUSE, RESYNC

SLOWEST: Final = 300.0
"""Seconds: the longest pauses between attempts to follow, scaled as the resync is: hours of an outage cost little."""


def running() -> Any:
    """The process whose code runs."""
    return RUNNING.get()


class _Random:
    """The module `random`, of the process whose code runs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(running().chance, name)


async def _serve(*_: Any) -> None:
    await running().loop.create_future()


async def _watch(network: Network, deliver: Any, *_: Any) -> None:
    await running().watch(network, deliver)


async def _preflight(*_: Any) -> None:
    return None


def _lease(api: Any, namespace: str, name: str, identity: str, claims: Any, times: LeaseTimes) -> Lease:
    return Lease(api, namespace, name, identity, claims, running().monotonic, times)


def _monitor() -> WatchMonitor:
    return WatchMonitor(monotonic=running().monotonic)


def running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """As `run_forever` would: the loop is turned by hand, so that a story can end in the middle."""
    asyncio._set_running_loop(loop)


def install() -> None:
    """For as long as the interpreter runs: it is started for the simulation alone."""
    clock = SimpleNamespace(monotonic=lambda: running().monotonic())
    exchanged: dict[Any, dict[str, Any]] = {
        operator: {
            "serve": _serve,
            "watch": _watch,
            "preflight": _preflight,
            "now": lambda: running().clock(),
            "generate_secret": lambda: running().mint(),
            "make_key": lambda algorithm: running().make_key(algorithm),
            "Lease": _lease,
            "WatchMonitor": _monitor,
            "RETRY_SECONDS": 720.0,
            "secrets": SimpleNamespace(token_hex=lambda _: running().name),
        },
        bootstrap: {"secrets": SimpleNamespace(token_bytes=lambda n: running().chance.randbytes(n))},
        backoff: {"random": _Random()},
        lease: {"asyncio": LeaseAsyncio(), "random": _Random()},
        kube_follow: {"LONGEST_PAUSE": SLOWEST},
        queue: {"MAX_PAUSE_SECONDS": LONGEST_PAUSE},
        periodic_rechecks: {"CONFLICT_INTERVAL": timedelta(seconds=RESYNC)},
        object_backoff: {"random": _Random(), "USUAL_LIMIT_SECONDS": LONGEST_PAUSE, "MAX_PAUSE_SECONDS": LONGEST_PAUSE},
        snapshot: {"asyncio": SnapshotAsyncio(), "time": clock},
        build: {"SnapshotFile": MemorySnapshots},
        orphans: {"MIN_ORPHANS": 1},
        revocations: {
            "_PRUNE_INTERVAL_SECONDS": RESYNC,
            "_RETRY_SECONDS": SLOWEST,
            "time": clock,
        },
    }
    for module, names in exchanged.items():
        for name, value in names.items():
            getattr(module, name)  # a name that the product does not have must fail
            setattr(module, name, value)
    memos.install()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # most of what a seed makes is gone by itself
    logging._srcfile = None  # nobody asks from which line a record comes
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("scopewright").propagate = False
    logging.getLogger("scopewright").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
