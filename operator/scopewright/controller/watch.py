"""Watches the five kinds and Namespaces with kopf, in a separate thread and event loop.

Handlers are `on.event` only, return nothing and decide nothing: so kopf writes no finalizer, annotation or patch to any
object. It watches on every replica, leader or not; if it ends, the process must.
"""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import kopf
import uvloop

from scopewright.api import GROUP, KINDS, VERSION
from scopewright.backoff import with_jitter
from scopewright.controller.watched_objects import Event, Take, session, trimmed
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import CONNECT_TIMEOUT, REQUEST_TIMEOUT, WATCH_GRACE, Api, watch_seconds
from scopewright.stores.kubernetes.pages import CHUNK
from scopewright.stores.kubernetes.sockets import kept_alive
from scopewright.stores.kubernetes.store import declared_path

Deliver = Callable[[str | None, Mapping[str, Any]], None]
"""Takes the type of the event (None for the first list, `ADDED`, `MODIFIED`, `DELETED`) and the object, on the caller's
loop."""

SERVED_CHECK_INTERVAL_SECONDS: Final = 5.0
"""Seconds between checks whether a kind without a CRD is served again."""

log = logging.getLogger(__name__)

RETRY_PAUSES_SECONDS: Final = (1, 1, 2, 3, *[5] * 10)
"""Seconds between kopf's attempts at one request, before jitter; a list that still fails then ends kopf."""
CLOSE_TIMEOUT_SECONDS: Final = 8
"""Seconds after kopf has closed its session until it is considered stuck: it gives its tasks five."""
RETRY_REPORT_INTERVAL_SECONDS: Final = 60.0

_RETRYING: Final = ("kopf._cogs.clients.watching", "kopf._core.reactor.observation")
"""Loggers on which kopf logs the failed attempts of its requests, each as an error."""

_EVENTS_IN_A_TURN: Final = 16
"""Of the operator's event loop. A page of large objects in one turn would hold up everything else."""

_QUIET: Final = {
    "kopf.objects": logging.WARNING,
    "kopf._core.engines.activities": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # it warns that it does not handle signals, as intended
}


class RetryLogFilter(logging.Filter):
    """kopf logs each retry as an error: this counts them, and logs one warning a minute instead."""

    def __init__(self, count: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._count = count
        self._monotonic = monotonic
        self._since_report = 0
        self._reported_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith("Request attempt "):
            return True
        if record.levelno < logging.WARNING:
            return False
        self._count()
        self._since_report += 1
        if self._monotonic() - self._reported_at >= RETRY_REPORT_INTERVAL_SECONDS:
            log.warning("watching: %d requests failed and are retried, the last one: %s", self._since_report, message)
            self._since_report, self._reported_at = 0, self._monotonic()
        return False


class _Pauses:
    """RETRY_PAUSES_SECONDS with jitter, so that many watches do not return all at once."""

    def __iter__(self) -> Iterator[float]:
        return (with_jitter(seconds) for seconds in RETRY_PAUSES_SECONDS)


async def watch(
    api: Api,
    deliver: Deliver,
    watched: Sequence[str | None] = (None,),
    retried: Callable[[], None] = lambda: None,
) -> None:
    """Deliver events of these namespaces (None: of all) until cancelled. `Unavailable` if kopf ends by itself.

    It does so at the 404 of a kind whose CRD is deleted. Then the other kinds are watched, and that one as soon as it
    is served again. `retried` is called, in kopf's thread, for every request that failed and is retried.
    """
    quiet = RetryLogFilter(retried)
    for name in _RETRYING:
        logging.getLogger(name).addFilter(quiet)
    try:
        await _watch(api, deliver, watched)
    finally:
        for name in _RETRYING:
            logging.getLogger(name).removeFilter(quiet)


async def _watch(api: Api, deliver: Deliver, watched: Sequence[str | None]) -> None:
    missing: frozenset[str] = frozenset()
    while True:
        failure = await _until_kopf_ends(api, deliver, watched, missing)
        before, missing = missing, await _not_served(api, watched, KINDS)
        if failure is not None and (missing == before or len(missing) == len(KINDS)):
            log.error("kopf failed", exc_info=failure)
            raise Unavailable("kopf has stopped watching: this process exits, so that Kubernetes restarts it")
        if missing:
            log.error("not watched, because the CRD is missing: %s", ", ".join(sorted(missing)))
        else:
            log.info("all kinds are watched again")


async def _until_kopf_ends(
    api: Api, deliver: Deliver, watched: Sequence[str | None], missing: frozenset[str]
) -> BaseException | None:
    """Watch the other kinds. Return why kopf ended by itself, or None if one of the missing kinds is served again."""
    loop = asyncio.get_running_loop()
    stop, ended = threading.Event(), loop.create_future()
    kinds = [kind.PLURAL for name, kind in KINDS.items() if name not in missing]

    async def take(events: Sequence[Event]) -> None:
        """In kopf's loop: wait until the other loop has handled the events, so that few are in memory there."""
        for at in range(0, len(events), _EVENTS_IN_A_TURN):
            handled = concurrent.futures.Future[None]()
            for type_, obj in events[at : at + _EVENTS_IN_A_TURN]:
                loop.call_soon_threadsafe(deliver, type_, obj)
            loop.call_soon_threadsafe(_end, handled)
            await asyncio.wrap_future(handled)

    def run() -> None:
        failure: BaseException = Unavailable("kopf has ended without an error")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_operator(api, take, stop, watched, kinds))
            except Exception as error:
                failure = error
            finally:  # before the runner waits for tasks that may not react to their cancellation
                if not loop.is_closed():
                    loop.call_soon_threadsafe(ended.set_result, failure)

    thread = threading.Thread(target=run, name="kopf", daemon=True)
    thread.start()
    returning = asyncio.create_task(_until_served(api, watched, missing))
    try:
        await asyncio.wait([ended, returning], return_when=asyncio.FIRST_COMPLETED)
        return ended.result() if ended.done() else None
    finally:
        returning.cancel()
        stop.set()
        await asyncio.to_thread(thread.join, 5.0)


def _end(handled: concurrent.futures.Future[None]) -> None:
    if handled.set_running_or_notify_cancel():
        handled.set_result(None)


async def _until_served(api: Api, watched: Sequence[str | None], missing: frozenset[str]) -> None:
    """Wait until one of the missing kinds is served; for ever if none is missing."""
    while True:
        await asyncio.sleep(SERVED_CHECK_INTERVAL_SECONDS)
        if missing and await _not_served(api, watched, missing) != missing:
            return


async def _not_served(api: Api, watched: Sequence[str | None], kinds: Iterable[str]) -> frozenset[str]:
    """The kinds for which the API server answers 404. Without an answer, a kind counts as served."""
    missing = set()
    for kind in kinds:
        try:
            await api.get(declared_path(kind, watched[0]), limit="1")
        except NotFound:
            missing.add(kind)
        except (Rejected, Unavailable):
            continue
    return frozenset(missing)


async def _operator(
    api: Api, take: Take, stop: threading.Event, watched: Sequence[str | None], plurals: Sequence[str]
) -> None:
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        """For an object that kopf gets: none with the session of `watched_objects`, which does the same faster."""
        await take([(event["type"], trimmed(event["object"]))])

    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    registry = kopf.OperatorRegistry()
    for plural in plurals:
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(on_event)
    namespaces = [name for name in watched if name is not None]
    if not namespaces:
        kopf.on.event("", "v1", "namespaces", registry=registry)(on_event)
    watches = (len(plurals) + (not namespaces)) * max(1, len(namespaces))

    sessions: list[aiohttp.ClientSession] = []

    async def login(**_: Any) -> kopf.AiohttpSession:
        session = _session(api, take)
        sessions[:] = [session.aiohttp_session]
        return session

    kopf.on.login(registry=registry)(login)
    # Created first: kopf waits for every task that is younger than its own.
    closed = asyncio.ensure_future(_until_closed(sessions))
    running = asyncio.ensure_future(
        kopf.operator(
            registry=registry, settings=_settings(watches), standalone=True, clusterwide=not namespaces,
            namespaces=namespaces, stop_flag=stop, identity=None,
        )
    )  # fmt: skip
    try:
        await asyncio.wait([running, closed], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        else:
            raise Unavailable("kopf waits for a watch that does not end")
    finally:
        closed.cancel()
        # kopf waits for the flag in a thread, and the loop for that thread: without it, the loop would not end.
        stop.set()


async def _until_closed(sessions: Sequence[aiohttp.ClientSession]) -> None:
    """Wait until kopf has closed its session for good, as it does when it ends.

    A watch between two requests may then mistake its cancellation for a pause, and ask for a new session for ever.
    """
    seconds = 0
    while seconds < CLOSE_TIMEOUT_SECONDS:
        await asyncio.sleep(1.0)
        seconds = seconds + 1 if sessions and sessions[-1].closed else 0


def _settings(watches: int) -> kopf.OperatorSettings:
    """Settings for ten thousand objects, with kopf 1.45.

    Each watch is short, and the next one continues from its version: one that is silent for longer is broken.
    """
    settings = kopf.OperatorSettings()
    settings.watching.chunk_size = CHUNK
    settings.watching.server_timeout = watch_seconds(watches)
    settings.watching.inactivity_timeout = settings.watching.server_timeout + WATCH_GRACE
    settings.networking.connect_timeout = CONNECT_TIMEOUT
    settings.networking.request_timeout = REQUEST_TIMEOUT
    settings.networking.error_backoffs = _Pauses()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    return settings


def _session(api: Api, take: Take) -> kopf.AiohttpSession:
    """A session with the operator's own identity; kopf asks for another one when the API server answers 401."""
    c = api.identity()
    info = kopf.ConnectionInfo(
        server=c.host, ca_path=c.ca_file, insecure=c.insecure, certificate_path=c.certificate_file,
        private_key_path=c.key_file, scheme="Bearer" if c.token else None, token=c.token,
    )  # fmt: skip
    connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context(), socket_factory=kept_alive)
    watching = session(take, connector, dict(info.as_http_headers()))
    return kopf.AiohttpSession(server=c.host, aiohttp_session=watching)
