"""Parse the values of flags; errors say what to do."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scopewright.client.sources import Environment
from scopewright.core.config import parse_quantity
from scopewright.core.failures import Rejected, Unavailable
from scopewright.http import BACKLOG, Certificate
from scopewright.logs import FIELDS
from scopewright.origins import Hosts
from scopewright.tracing import current_ids

if TYPE_CHECKING:
    from scopewright.issuer.users.settings import UserEndpointSettings
    from scopewright.serving.replay import ReplayStore
    from scopewright.stores.sessions import SessionStore

LogFormat = Literal["text", "json"]


def parse_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, with an IPv6 host in brackets."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Rejected("BadAddress", f"{text!r} is not an address; pass HOST:PORT, such as 127.0.0.1:8080")
    return host, int(port)


def url_of(text: str, listening: socket.socket, certificate: Certificate | None = None) -> str:
    """Return the URL of a listener on `HOST:PORT`, whose port may be chosen by the system."""
    host = parse_address(text)[0]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if certificate else 'http'}://{shown}:{listening.getsockname()[1]}"


def listen(text: str, option: str = "--listen") -> socket.socket:
    """Return a socket listening on `HOST:PORT`. Called first at start, so that a port in use is reported at once.

    Port 0 selects a free port.
    """
    host, port = parse_address(text)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as failing:
            listening = failing.enter_context(socket.socket(family, kind))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            failing.pop_all()
    except OSError as error:
        raise Rejected("CannotListen", f"cannot listen on {text}: {error.strerror}; {_fix(error, option)}") from None
    listening.setblocking(False)
    return listening


def _fix(error: OSError, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"stop the process that uses it, or pass another {option}"
    if error.errno == errno.EACCES:
        return f"pass a port above 1023 as {option}"
    return f"pass an address of this machine as {option}, such as 127.0.0.1:8080"


def reserve(text: str, option: str = "--listen") -> socket.socket:
    """Return a socket bound to `HOST:PORT` that reserves the port for workers (SO_REUSEPORT); it does not listen.

    A port in use by another process is an error, even if the two could share it.
    """
    with listen(text, option) as trial:
        family, address = trial.family, trial.getsockname()
    reserved = socket.socket(family, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(address)
    return reserved


def worker_count(text: str) -> int:
    """Parse `--workers`: a number, or `auto` for the number of usable CPUs."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or not int(text):
        raise Rejected("BadWorkers", f"--workers {text!r} is not a number of processes; pass 1 or more, or auto")
    return int(text)


def connections_per_address(number: int) -> int | None:
    """Check `--connections-per-address`; None means unlimited."""
    if number < 0:
        raise Rejected("BadLimit", "--connections-per-address must be a number of connections, or 0 for no limit")
    return number or None


_MIN_MEMORY = 4 * 2**20


def connection_memory(text: str) -> int:
    """Parse `--connection-memory`, a Kubernetes quantity, into bytes."""
    size = parse_quantity(text)
    if size is None or size < _MIN_MEMORY:
        raise Rejected("BadLimit", f"--connection-memory {text!r} must be a quantity such as 64Mi, and at least 4Mi")
    return size


def http_hosts() -> Hosts:
    """Return the hosts of the variable SCOPEWRIGHT_ALLOW_HTTP, as the libraries read it."""
    try:
        return Environment().allow_http
    except ValueError as error:
        raise Rejected("BadHosts", str(error)) from None


def load_certificate(cert: Path | None, key: Path | None) -> Certificate | None:
    """Return the files of `--tls-cert` and `--tls-key`; None if neither is set."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Rejected("BadCertificate", "TLS needs both --tls-cert and --tls-key")
    return Certificate(cert, key)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, FIELDS, {}) | current_ids()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _TextFormatter(logging.Formatter):
    """One line a record: line breaks in a message are escaped, so that input cannot forge log lines."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else text.replace("\n", "\\n").replace("\r", "\\r")


def set_up_logging(form: LogFormat, level: str) -> None:
    """Log to standard error; libraries log warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if form == "json" else _TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("scopewright").setLevel(level.upper())


ISSUER_REPLAY = "scopewright:once:"
GATEWAY_REPLAY = "scopewright:gateway-once:"
"""Services behind a gateway verify the same proofs, in memories of their own."""
_MIN_ENTRIES = 1000


def replay_capacity(number: int) -> int | None:
    """Check `--replay-capacity`, entries per process; None means the default of the selected replay memory."""
    if number and number < _MIN_ENTRIES:
        raise Rejected("BadLimit", f"--replay-capacity must be {_MIN_ENTRIES} entries or more, or 0 for the default")
    return number or None


def replay_memory(
    text: str, workers: int, capacity: int | None = None, prefix: str = ISSUER_REPLAY
) -> "Callable[[], ReplayStore]":
    """Return the factory of each process's memory of used assertions and proofs. `capacity` is per process.

    `prefix` begins the keys in a shared memory: the processes with the same one accept each value once.
    """
    if text == "memory" and workers > 1:
        raise Rejected(
            "BadReplay",
            f"each of {workers} workers would have its own memory of used assertions and proofs: share one "
            "with --replay redis://host:6379/0, or accept with --replay per-process that each worker accepts one once",
        )
    from scopewright.serving.replay import LOCAL_CAPACITY, LocalReplay

    if text in ("memory", "per-process"):
        return lambda: LocalReplay(time.time, capacity=capacity or LOCAL_CAPACITY)
    from scopewright.serving.shared_replay import SHARED_CAPACITY, SharedReplay

    SharedReplay(text)
    return lambda: SharedReplay(text, prefix, capacity=capacity or SHARED_CAPACITY)


def user_endpoints(
    sessions: str | None, namespace: str, *, allow_loopback: bool = False
) -> "Callable[[], UserEndpointSettings | None]":
    """Return the factory of each process's settings for users; it returns None without `--sessions`.

    Called before processes are started that share the store: an unusable one is reported once, with what to do.
    """
    if sessions is None:
        return lambda: None
    from scopewright.issuer.users.settings import UserEndpointSettings

    store = _shared_sessions(sessions, namespace) if "://" in sessions else _session_file(Path(sessions))
    return lambda: UserEndpointSettings(store(), allow_loopback=allow_loopback)


def _session_file(path: Path) -> "Callable[[], SessionStore]":
    from scopewright.stores.sessions.sqlite import SqliteSessions, check_file

    check_file(path)
    return lambda: SqliteSessions(path)


def _shared_sessions(url: str, namespace: str) -> "Callable[[], SessionStore]":
    """A server that is away is only logged: clients get their tokens without it."""
    from scopewright.stores.sessions.valkey import ValkeySessions

    async def check() -> None:
        store = ValkeySessions(url, namespace)
        try:
            with contextlib.suppress(Unavailable):
                await store.check()
        finally:
            await store.close()

    asyncio.run(check())
    return lambda: ValkeySessions(url, namespace)
