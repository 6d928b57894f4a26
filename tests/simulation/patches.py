"""The parts of the product that the simulation replaces: time, randomness, threads, kopf and the HTTP server."""

import asyncio
import gc
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final

from scopewright import backoff
from scopewright.controller import bootstrap, leader, lease, object_backoff, operator, periodic_rechecks, queue
from scopewright.controller.lease import Lease
from scopewright.controller.resync import WatchMonitor
from scopewright.core import orphans
from scopewright.core.config import LeaseTimes
from scopewright.issuer import build, revocations
from scopewright.issuer.state import snapshot
from scopewright.stores.kubernetes import follow as kube_follow
from tests.simulation import memoise
from tests.simulation.issuers import MemorySnapshots, SnapshotAsyncio
from tests.simulation.lease_pause import LeaseAsyncio
from tests.simulation.loop import RUNNING
from tests.simulation.network import Network
from tests.simulation.settings import LONGEST_PAUSE_SECONDS, RESYNC

FOLLOW_PAUSE_SECONDS: Final = 300.0
"""The longest pause between attempts to follow: scaled as the resync is, so that long outages cost little."""


def running_process() -> Any:
    """The process whose code is running."""
    return RUNNING.get()


class _Random:
    """Replaces the module `random` by the random source of the running process."""

    def __getattr__(self, name: str) -> Any:
        return getattr(running_process().rng, name)


async def _serve(*_: Any) -> None:
    await running_process().loop.create_future()


async def _watch(network: Network, deliver: Any, *_: Any) -> None:
    await running_process().watch(network, deliver)


async def _preflight(*_: Any) -> None:
    return None


def _lease(api: Any, namespace: str, name: str, identity: str, claims: Any, times: LeaseTimes) -> Lease:
    return Lease(api, namespace, name, identity, claims, running_process().monotonic, times)


def _monitor() -> WatchMonitor:
    return WatchMonitor(monotonic=running_process().monotonic)


def running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """As `run_forever` does. The loop is run step by step, so that a scenario can end at any time."""
    asyncio._set_running_loop(loop)


def install() -> None:
    """Until the interpreter ends: it runs nothing but the simulation."""
    clock = SimpleNamespace(monotonic=lambda: running_process().monotonic())
    replacements: dict[Any, dict[str, Any]] = {
        operator: {
            "serve": _serve,
            "watch": _watch,
            "preflight": _preflight,
            "now": lambda: running_process().clock(),
            "Lease": _lease,
            "WatchMonitor": _monitor,
            "secrets": SimpleNamespace(token_hex=lambda _: running_process().name),
        },
        leader: {
            "now": lambda: running_process().clock(),
            "generate_secret": lambda: running_process().generate_secret(),
            "make_key": lambda algorithm: running_process().make_key(algorithm),
            "RETRY_SECONDS": 720.0,
        },
        bootstrap: {"secrets": SimpleNamespace(token_bytes=lambda n: running_process().rng.randbytes(n))},
        backoff: {"random": _Random()},
        lease: {"asyncio": LeaseAsyncio()},
        kube_follow: {"LONGEST_PAUSE": FOLLOW_PAUSE_SECONDS},
        queue: {"MAX_PAUSE_SECONDS": LONGEST_PAUSE_SECONDS},
        periodic_rechecks: {"UNWATCHED_INTERVAL": timedelta(seconds=RESYNC)},
        object_backoff: {
            "random": _Random(),
            "USUAL_LIMIT_SECONDS": LONGEST_PAUSE_SECONDS,
            "MAX_PAUSE_SECONDS": LONGEST_PAUSE_SECONDS,
        },
        snapshot: {"asyncio": SnapshotAsyncio(), "time": clock},
        build: {"SnapshotFile": MemorySnapshots},
        orphans: {"MIN_ORPHANS": 1},
        revocations: {
            "_PRUNE_INTERVAL_SECONDS": RESYNC,
            "_RETRY_SECONDS": FOLLOW_PAUSE_SECONDS,
            "time": clock,
        },
    }
    for module, names in replacements.items():
        for name, value in names.items():
            getattr(module, name)  # a name that the product does not have must fail
            setattr(module, name, value)
    memoise.install()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # reference counts free most objects of a seed
    logging._srcfile = None  # the source line of log records is not used
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("scopewright").propagate = False
    logging.getLogger("scopewright").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
