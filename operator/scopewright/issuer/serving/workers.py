"""Several processes that serve one port: a parent that starts them, starts them again, and ends them.

Each listens on a socket of its own (SO_REUSEPORT): the kernel spreads the connections, and one that is gone gets none.
Nothing is shared but the counters of `/metrics` and a heartbeat: a worker that lives and does nothing any more is ended
like one that has died. What must be shared, such as which `jti` has been seen, needs a place
outside: `run_workers` is where a memory that is each worker's own has to be refused.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from scopewright.core.failures import Rejected
from scopewright.http import BACKLOG
from scopewright.issuer.observability.metrics import shared_counters
from scopewright.issuer.serving.counters import SharedCounters, WorkerCounters

log: Final = logging.getLogger(__name__)

OnReady = Callable[[str], None]
"""Called once with the issuer's URL, when tokens can be had."""

PAUSES: Final = (0.1, 0.5, 2.0, 10.0)
"""Seconds before a dead worker is started again: the first, second, … time; one that lived long enough begins anew."""
_LONG_ENOUGH: Final = 60.0
HUNG_AFTER: Final = 30.0
"""Seconds without a heartbeat after which a worker is ended: a kubelet's liveness probe waits as long."""
BEAT_EVERY: Final = 1.0
_PATIENCE: Final = 25.0
"""Seconds that workers get to end, which is more than they give their requests."""
_REJECTED: Final = 78
"""EX_CONFIG: only the user can help."""
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a process is to serve, and for whom. `tether` can be read once the parent is dead.

    `observe` listens for who reads the metrics. `beat` is to be called by the event loop every BEAT_EVERY seconds.
    """

    listen: Callable[[], socket.socket]
    on_ready: OnReady
    observe: Callable[[], socket.socket] | None = None
    beat: Callable[[], None] | None = None
    row: WorkerCounters | None = None
    alone: bool = True
    keeps_snapshot: bool = True
    tether: int | None = None


@dataclass(slots=True)
class _Child:
    index: int
    pid: int = 0
    started: float = 0.0
    deaths: int = 0
    start_at: float | None = field(default=0.0)
    """None while it lives."""
    beats: float = 0.0
    seen: float = 0.0
    """When it was seen to beat, or was begun."""


def run_workers(
    count: int,
    work: Callable[[Worker], None],
    reserved: socket.socket,
    on_ready: OnReady,
    *,
    observed: socket.socket | None = None,
    hung_after: float = HUNG_AFTER,
) -> None:
    """Until SIGTERM or SIGINT, and then until every worker has ended.

    `work` is run in each process. `reserved` is bound to the port with SO_REUSEPORT, and does not listen; `observed` is
    the same for who reads the metrics. Call it while the process has no thread and no event loop: it forks.
    """
    _Supervisor(count, work, reserved, on_ready, observed, hung_after).run()


class _Supervisor:
    def __init__(
        self,
        count: int,
        work: Callable[[Worker], None],
        reserved: socket.socket,
        on_ready: OnReady,
        observed: socket.socket | None,
        hung_after: float,
    ) -> None:
        self._work = work
        self._reserved = reserved
        self._on_ready = on_ready
        self._observed = observed
        self._hung_after = hung_after
        self._looked = time.monotonic()
        self._tally = shared_counters(count)
        self._beats = SharedCounters(1, count)
        self._children = [_Child(index) for index in range(count)]
        self._tether = os.pipe()
        self._ready = os.pipe()
        self._signals = os.pipe()
        self._announced = b""
        self._kill_at: float | None = None
        self._failed = False

    def run(self) -> None:
        for end in (*self._ready, *self._signals):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._signals[1])
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        while self._kill_at is None or any(child.start_at is None for child in self._children):
            self._start_those_due()
            self._wait()
        if self._failed:
            sys.exit(1)

    # Starting

    def _start_those_due(self) -> None:
        if self._kill_at is not None:
            return
        for child in self._children:
            if child.start_at is not None and child.start_at <= time.monotonic():
                self._start(child)

    def _start(self, child: _Child) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            self._be(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        child.pid, child.started, child.start_at = pid, time.monotonic(), None
        child.seen = child.started

    def _be(self, child: _Child) -> NoReturn:
        """In the new process."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for end in (self._tether[1], self._ready[0], *self._signals):
                os.close(end)
            observed = self._observed
            self._work(
                Worker(
                    listen=lambda: _listen_beside(self._reserved),
                    on_ready=lambda url: _tell(self._ready[1], url),
                    observe=(lambda: _listen_beside(observed)) if observed is not None else None,
                    beat=lambda: _add_one(self._beats.row(child.index)),
                    row=self._tally.row(child.index),
                    alone=False,
                    keeps_snapshot=child.index == 0,
                    tether=self._tether[0],
                )
            )
            code = 0
        except Rejected as rejected:
            log.error("worker %d: %s", child.index, rejected.message)  # noqa: TRY400
            code = _REJECTED
        except BaseException:
            log.exception("worker %d failed", child.index)
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    # Waiting

    def _wait(self) -> None:
        due = [child.start_at for child in self._children if child.start_at is not None and self._kill_at is None]
        if self._kill_at is not None:
            due.append(self._kill_at)
        else:
            due.append(self._looked + self._hung_after / 4)
        pause = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select([self._signals[0], self._ready[0]], [], [], pause)
        if self._ready[0] in readable:
            self._announce()
        if self._signals[0] in readable and not {signal.SIGTERM, signal.SIGINT}.isdisjoint(
            os.read(self._signals[0], 4096)
        ):
            self._stop()
        self._reap()
        if self._kill_at is None:
            self._end_those_that_hang()
        elif time.monotonic() > self._kill_at:
            self._signal(signal.SIGKILL)

    def _end_those_that_hang(self) -> None:
        now = time.monotonic()
        # Where this process could not run itself, as on a machine that was asleep, the others could not either.
        asleep = now - self._looked > self._hung_after / 2
        self._looked = now
        for child in self._children:
            beats = self._beats.row(child.index).cells[0]
            if beats != child.beats or asleep:
                child.beats, child.seen = beats, now
            elif child.start_at is None and now - child.seen > self._hung_after:
                log.error("worker %d (process %d) has not moved for %.0f s", child.index, child.pid, now - child.seen)
                os.kill(child.pid, signal.SIGKILL)
                child.seen = now

    def _announce(self) -> None:
        """Once, when as many have told that they are ready as there are."""
        before = self._announced.count(b"\n")
        self._announced += os.read(self._ready[0], 4096)
        *urls, _ = self._announced.split(b"\n")
        if before < len(self._children) <= len(urls):
            self._on_ready(urls[-1].decode())

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + _PATIENCE
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.start_at is None:
                os.kill(child.pid, number)

    def _reap(self) -> None:
        for child in self._children:
            if child.start_at is None:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        child.deaths = child.deaths + 1 if now - child.started < _LONG_ENOUGH else 1
        pause = PAUSES[min(child.deaths, len(PAUSES)) - 1]
        child.start_at = now + pause
        if self._kill_at is not None:
            return
        if code == _REJECTED and not self._announced:
            self._failed = True
            self._stop()
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        log.warning("worker %d (process %d) %s; it is started again in %.1f s", child.index, child.pid, how, pause)


def _listen_beside(reserved: socket.socket) -> socket.socket:
    listening = socket.socket(reserved.family, reserved.type)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(reserved.getsockname())
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def _add_one(row: WorkerCounters) -> None:
    row.cells[0] += 1


def _tell(pipe: int, url: str) -> None:
    """That this worker is ready; a pipe that is full has heard it often enough."""
    try:
        os.write(pipe, url.encode() + b"\n")
    except BlockingIOError:
        return
