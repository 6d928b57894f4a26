"""kopf's settings, its session, and which of its log lines pass."""

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scopewright.controller.watch import (
    RETRY_PAUSES_SECONDS,
    RETRY_REPORT_INTERVAL_SECONDS,
    RetryLogFilter,
    _session,
    _settings,
    watch,
)
from scopewright.controller.watched_objects import Event
from scopewright.stores.kubernetes.api import Api, Identity


def record(message: str, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("kopf._cogs.clients.watching", level, "", 0, message, None, None)


def test_kopfs_retries_are_counted_and_reported_once_a_minute_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    now, counted = [0.0], []
    log_filter = RetryLogFilter(lambda: counted.append(1), lambda: now[0])
    caplog.set_level("DEBUG", "scopewright")
    for attempt in range(5):
        failed = f"Request attempt #{attempt}/14 failed; will retry: GET https://api/x -> ConnectionTimeoutError()"
        assert not log_filter.filter(record(failed))
    assert not log_filter.filter(record("Request attempt #5/14: GET https://api/x", logging.DEBUG))
    now[0] += RETRY_REPORT_INTERVAL_SECONDS
    assert not log_filter.filter(
        record("Request attempt #14/14 failed; escalating: GET https://api/x -> APIForbiddenError")
    )
    assert len(counted) == 6
    assert [(r.levelname, r.getMessage().partition(",")[0]) for r in caplog.records] == [
        ("WARNING", "watching: 1 requests failed and are retried"),
        ("WARNING", "watching: 5 requests failed and are retried"),
    ]


def test_other_log_lines_of_kopf_pass() -> None:
    log_filter = RetryLogFilter(lambda: None)
    assert log_filter.filter(record("Ignoring an unsupported event type"))


def test_kopfs_watches_are_short_and_its_pauses_have_jitter() -> None:
    settings = _settings(5)
    assert settings.watching.server_timeout
    assert settings.watching.server_timeout < settings.watching.inactivity_timeout <= 10
    pauses = settings.networking.error_backoffs
    assert not isinstance(pauses, (int, float))
    one, other = list(pauses), list(pauses)
    assert len(one) == len(RETRY_PAUSES_SECONDS)
    assert one != other
    assert all(0.8 * base <= pause <= 1.2 * base for base, pause in zip(RETRY_PAUSES_SECONDS, one, strict=True))


async def no_objects(events: Sequence[Event]) -> None:
    assert not events


async def test_kopfs_connections_have_keep_alive_and_the_operators_identity() -> None:
    identity = Identity("https://api", None, True, None, None, "the-token")
    session_info = _session(cast("Api", SimpleNamespace(identity=lambda: identity)), no_objects)
    session = session_info.aiohttp_session
    try:
        assert session_info.server == "https://api"
        assert session.headers["Authorization"] == "Bearer the-token"
        connector: Any = session.connector
        assert connector._socket_factory.__name__ == "kept_alive"
    finally:
        await session.close()


async def test_an_unreachable_api_server_is_not_logged_as_an_error_of_kopf(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        identity = Identity(f"http://127.0.0.1:{closed.getsockname()[1]}", None, True, None, None, None)
        retried = threading.Semaphore(0)
        api = cast("Api", SimpleNamespace(identity=lambda: identity))
        watching = asyncio.create_task(watch(api, lambda type, obj: None, retried=retried.release))  # noqa: A006
        assert await asyncio.to_thread(retried.acquire, timeout=60)
        assert await asyncio.to_thread(retried.acquire, timeout=60)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    [warning] = [r.getMessage() for r in caplog.records if r.name == "scopewright.controller.watch"]
    assert warning.startswith("watching: 1 requests failed and are retried, the last one: Request attempt #1 failed")
