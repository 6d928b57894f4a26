"""Several worker processes that serve one port. A parent starts, restarts and stops them.

Each worker has its own listening socket (SO_REUSEPORT): the kernel distributes the connections, and an exited worker
gets none. Workers share only the counters of `/metrics` and a heartbeat. A worker without a heartbeat is killed and
restarted. Other shared state, such as each `jti` that was used, needs an external store; the CLI requires one.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from scopewright.core.failures import Rejected
from scopewright.http import BACKLOG
from scopewright.serving.counters import SharedCounters, WorkerCounters

log: Final = logging.getLogger(__name__)

OnReady = Callable[[str], None]
"""Called once with a text for the announcement, such as the URL, when requests can be answered."""

RESTART_PAUSES_SECONDS: Final = (0.1, 0.5, 2.0, 10.0)
"""Before a worker is restarted for the first, second, … time in a row."""
_STABLE_AFTER_SECONDS: Final = 60.0
"""A worker that ran this long has no restarts in a row."""
HUNG_AFTER_SECONDS: Final = 30.0
"""Without a heartbeat. A kubelet's liveness probe takes as long."""
HEARTBEAT_INTERVAL_SECONDS: Final = 1.0
_STOP_TIMEOUT_SECONDS: Final = 25.0
"""After SIGTERM, before SIGKILL. More than the grace of requests."""
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that serves.

    `observe` opens the listener for metrics and health. The event loop calls `heartbeat` every
    HEARTBEAT_INTERVAL_SECONDS. `parent_pipe` becomes readable when the parent has exited.
    """

    listen: Callable[[], socket.socket]
    on_ready: OnReady
    observe: Callable[[], socket.socket] | None = None
    heartbeat: Callable[[], None] = lambda: None
    counters: WorkerCounters | None = None
    is_only_worker: bool = True
    index: int = 0
    """Its number, from 0: that of its row in shared counters."""
    parent_pipe: int | None = None


@dataclass(slots=True)
class _Child:
    index: int
    pid: int = 0
    started: float = 0.0
    exits: int = 0
    """In a row."""
    start_at: float | None = 0.0
    """None while it runs."""
    heartbeats: float = 0.0
    last_heartbeat: float = 0.0
    """When the last heartbeat was seen, or the process was started."""


def run_workers(
    counters: SharedCounters,
    work: Callable[[Worker], None],
    reserved: socket.socket,
    on_ready: OnReady,
    *,
    observed: socket.socket | None = None,
    hung_after: float = HUNG_AFTER_SECONDS,
) -> None:
    """Run until SIGTERM or SIGINT, then until every worker has exited.

    `counters` have a row for each worker. `work` runs in each process. `reserved` is bound to the port with
    SO_REUSEPORT, and does not listen; `observed` is the same for metrics and health. This function forks: call it
    without other threads and without an event loop.
    """
    _Supervisor(counters, work, reserved, on_ready, observed, hung_after).run()


class _Supervisor:
    def __init__(
        self,
        counters: SharedCounters,
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
        self._last_check = time.monotonic()
        self._counters = counters
        self._heartbeats = SharedCounters(1, counters.rows)
        self._children = [_Child(index) for index in range(counters.rows)]
        self._parent_pipe = os.pipe()
        self._ready = os.pipe()
        self._signals = os.pipe()
        self._ready_lines = b""
        self._kill_at: float | None = None
        self._failed = False

    def run(self) -> None:
        for end in (*self._ready, *self._signals):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._signals[1])
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        while self._kill_at is None or any(child.start_at is None for child in self._children):
            self._start_due()
            self._wait()
        if self._failed:
            sys.exit(1)

    # Starting

    def _start_due(self) -> None:
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
            self._run_child(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        child.pid, child.started, child.start_at = pid, time.monotonic(), None
        child.last_heartbeat = child.started

    def _run_child(self, child: _Child) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for end in (self._parent_pipe[1], self._ready[0], *self._signals):
                os.close(end)
            observed = self._observed
            self._work(
                Worker(
                    listen=lambda: _listen_on_port_of(self._reserved),
                    on_ready=lambda url: _write_ready(self._ready[1], url),
                    observe=(lambda: _listen_on_port_of(observed)) if observed is not None else None,
                    heartbeat=lambda: _increment(self._heartbeats.row(child.index)),
                    counters=self._counters.row(child.index),
                    is_only_worker=False,
                    index=child.index,
                    parent_pipe=self._parent_pipe[0],
                )
            )
            code = 0
        except Rejected as rejected:
            log.error("worker %d: %s", child.index, rejected.message)  # noqa: TRY400
            code = os.EX_CONFIG
        except BaseException:
            log.exception("worker %d failed", child.index)
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    # Waiting

    def _wait(self) -> None:
        due = self._kill_at
        if due is None:
            starts = (child.start_at for child in self._children if child.start_at is not None)
            due = min([self._last_check + self._hung_after / 4, *starts])
        pause = max(0.0, due - time.monotonic())
        readable, _, _ = select.select([self._signals[0], self._ready[0]], [], [], pause)
        if self._ready[0] in readable:
            self._announce()
        if self._signals[0] in readable and not {signal.SIGTERM, signal.SIGINT}.isdisjoint(
            os.read(self._signals[0], 4096)
        ):
            self._stop()
        self._reap_exited()
        if self._kill_at is None:
            self._kill_hung()
        elif time.monotonic() > self._kill_at:
            self._signal(signal.SIGKILL)

    def _kill_hung(self) -> None:
        now = time.monotonic()
        # If this process did not run, for example on a suspended machine, the workers did not either.
        was_suspended = now - self._last_check > self._hung_after / 2
        self._last_check = now
        for child in self._children:
            heartbeats = self._heartbeats.row(child.index).cells[0]
            if heartbeats != child.heartbeats or was_suspended:
                child.heartbeats, child.last_heartbeat = heartbeats, now
            elif child.start_at is None and now - child.last_heartbeat > self._hung_after:
                silence = now - child.last_heartbeat
                log.error("killing worker %d (process %d): no heartbeat for %.0f s", child.index, child.pid, silence)
                os.kill(child.pid, signal.SIGKILL)
                child.last_heartbeat = now

    def _announce(self) -> None:
        """Call `on_ready` once, when the number of ready messages reaches the number of workers."""
        before = self._ready_lines.count(b"\n")
        self._ready_lines += os.read(self._ready[0], 4096)
        *urls, _ = self._ready_lines.split(b"\n")
        if before < len(self._children) <= len(urls):
            self._on_ready(urls[-1].decode())

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + _STOP_TIMEOUT_SECONDS
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.start_at is None:
                os.kill(child.pid, number)

    def _reap_exited(self) -> None:
        for child in self._children:
            if child.start_at is None:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._schedule_restart(child, os.waitstatus_to_exitcode(status))

    def _schedule_restart(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        child.exits = child.exits + 1 if now - child.started < _STABLE_AFTER_SECONDS else 1
        pause = RESTART_PAUSES_SECONDS[min(child.exits, len(RESTART_PAUSES_SECONDS)) - 1]
        child.start_at = now + pause
        if self._kill_at is not None:
            return
        if code == os.EX_CONFIG and not self._ready_lines:
            # Rejected: only the user can correct that.
            self._failed = True
            self._stop()
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        log.warning("worker %d (process %d) %s, restarting in %.1f s", child.index, child.pid, how, pause)


def _listen_on_port_of(reserved: socket.socket) -> socket.socket:
    listening = socket.socket(reserved.family, reserved.type)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(reserved.getsockname())
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def _increment(counters: WorkerCounters) -> None:
    counters.cells[0] += 1


def _write_ready(pipe: int, url: str) -> None:
    """Report to the parent that this worker is ready. A full pipe has enough such messages already."""
    try:
        os.write(pipe, url.encode() + b"\n")
    except BlockingIOError:
        return
