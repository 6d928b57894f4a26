"""A dead connection is detected for every kind of request, and replaced."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from kubernetes.aio.client import Configuration

from scopewright.core.failures import Unavailable
from scopewright.stores.contact import (
    INTERVAL_SECONDS,
    LOST_AFTER_SECONDS,
    RETRY_SECONDS,
    TIMEOUT_SECONDS,
    Contact,
    heartbeat,
)
from scopewright.stores.kubernetes.api import WATCH_GRACE, WATCH_SECONDS, WATCHES_PER_SECOND, Api, watch_seconds
from scopewright.stores.kubernetes.sockets import DEAD_AFTER_SECONDS, KubeClient, kept_alive
from tests.black_hole import BlackHole
from tests.harness.waiting import until

ANSWER: Final = {"kind": "Test"}
BOOKMARK: Final = b'{"type": "BOOKMARK", "object": {}}\n'


@contextlib.asynccontextmanager
async def served(status: str = "200 OK", event: bytes = b"") -> AsyncIterator[int]:
    """A server that responds `ANSWER`, sends at most one event in watches, and closes no connection. Its port."""
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                is_watch = b"watch=1" in head
                length = "transfer-encoding: chunked" if is_watch else f"content-length: {len(json.dumps(ANSWER))}"
                writer.write(f"HTTP/1.1 {status}\r\n{length}\r\n\r\n".encode())
                if not is_watch:
                    writer.write(json.dumps(ANSWER).encode())
                elif event:
                    writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in answering if task))


@contextlib.asynccontextmanager
async def through(port: int) -> AsyncIterator[Api]:
    configuration = Configuration(host=f"http://127.0.0.1:{port}")
    configuration.retries = None
    configuration.client_session_kwargs = {"trust_env": False}
    api = Api(KubeClient(configuration), KubeClient(configuration))
    try:
        yield api
    finally:
        await api.close()


async def test_request_on_a_dead_connection_fails_at_the_reconnect_and_the_next_succeeds() -> None:
    async with served() as port:
        with BlackHole(port) as hole:
            async with through(hole.port) as api:
                watching = asyncio.create_task(watched(api))
                await api.get("/x")
                await api.ping(5)
                await until(lambda: hole.accepted >= 3)
                hole.swallow(new_pass=True)
                waiting = [watching, asyncio.create_task(api.get("/x"))]
                with pytest.raises(Unavailable):
                    await api.ping(0.2)
                assert not any(task.done() for task in waiting)
                await api.reconnect()
                failed = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
                assert [type(failure) for failure in failed] == [Unavailable, Unavailable]
                assert await asyncio.wait_for(api.get("/x"), 10) == ANSWER
                await api.ping(5)


async def watched(api: Api) -> None:
    async for _ in api.watch("/watched", {}):
        pass


async def test_watch_that_handles_an_event_at_the_reconnect_fails_at_its_next_read() -> None:
    """aiohttp raises RuntimeError there: the watch did not wait when its connection was closed."""
    async with served(event=BOOKMARK) as port, through(port) as api:
        events = api.watch("/watched", {})
        assert await anext(events) == json.loads(BOOKMARK)
        await api.reconnect()
        with pytest.raises(Unavailable, match="Connection closed"):
            await anext(events)
        assert await api.get("/x") == ANSWER


@pytest.mark.parametrize(
    ("status", "answered"),
    [("200 OK", True), ("403 Forbidden", True), ("500 Internal Server Error", True), ("502 Bad Gateway", False)],
)
async def test_refusal_of_the_api_server_counts_as_contact_and_502_of_a_proxy_does_not(
    status: str, answered: bool
) -> None:
    async with served(status) as port, through(port) as api:
        api.contact = contact = Contact(iter([0.0, 7.0, 9.0]).__next__)
        try:
            await api.ping(5)
        except Unavailable:
            assert not answered
        assert contact.silent_for == (2.0 if answered else 7.0)


async def beats(*results: bool) -> tuple[list[float], list[str], Contact]:
    """Run a heartbeat with these results of pings. Returns its pauses, actions and contact."""
    pauses: list[float] = []
    did: list[str] = []
    left = iter(results)
    contact = Contact()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def ping(timeout: float) -> None:
        match next(left, None):
            case None:
                raise asyncio.CancelledError
            case False:
                raise Unavailable("no answer in time")
        did.append("answered")

    async def reconnect() -> None:
        did.append("reconnected")

    with contextlib.suppress(asyncio.CancelledError):
        await heartbeat(contact, ping, reconnect, sleep)
    return pauses, did, contact


async def test_heartbeat_without_a_response_closes_all_connections_and_is_retried() -> None:
    pauses, did, _ = await beats(True, False, False, True, True)
    assert did == ["answered", "reconnected", "reconnected", "answered", "answered"]
    assert pauses[1:3] == [RETRY_SECONDS] * 2
    assert all(0.8 * INTERVAL_SECONDS <= pause <= INTERVAL_SECONDS for pause in (*pauses[:1], *pauses[3:]))


async def test_loss_and_return_of_contact_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "scopewright")
    await beats(False, False, False, True, True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_unexpected_exception_of_a_heartbeat_is_logged_and_the_next_one_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception in a ping or in closing connections neither ends the heartbeat nor hides a recovery."""
    left = iter([ValueError("of a ping"), Unavailable("no answer"), None, None])
    beats = 0
    contact = Contact()
    back = asyncio.create_task(contact.pause(3600))
    await asyncio.sleep(0)

    async def ping(timeout: float) -> None:
        nonlocal beats
        beats += 1
        if failure := next(left):
            raise failure
        if beats == 4:
            raise asyncio.CancelledError

    async def reconnect() -> None:
        raise OSError("of closing")

    with contextlib.suppress(asyncio.CancelledError):
        await heartbeat(contact, ping, reconnect, lambda seconds: asyncio.sleep(0))
    assert beats == 4
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["of a ping", "of closing"]
    await asyncio.wait_for(back, 10)


async def test_pause_ends_when_the_api_server_responds_again() -> None:
    contact = Contact()
    pausing = asyncio.create_task(contact.pause(3600))
    await asyncio.sleep(0)
    contact.regained()
    await asyncio.wait_for(pausing, 10)
    again = asyncio.create_task(contact.pause(3600))
    await asyncio.sleep(0.01)
    assert not again.done(), "the next loss of contact pauses again"
    again.cancel()
    await contact.pause(0.01)


def test_contact_is_lost_after_ten_seconds_without_a_response() -> None:
    now = [100.0]
    contact = Contact(lambda: now[0])
    now[0] += LOST_AFTER_SECONDS
    assert contact.problem == ""
    now[0] += 1
    assert contact.problem == "the API server has not answered for 11 s"
    contact.answered()
    assert contact.problem == ""


def test_every_timeout_is_at_most_ten_seconds() -> None:
    assert INTERVAL_SECONDS + TIMEOUT_SECONDS <= 10
    assert DEAD_AFTER_SECONDS <= 10
    assert max(watch_seconds(20) for _ in range(100)) + WATCH_GRACE <= 10


def test_watches_last_longer_if_there_are_many() -> None:
    assert {watch_seconds(5) for _ in range(200)} == {WATCH_SECONDS - 1, WATCH_SECONDS}
    assert watch_seconds(1000) >= 1000 / WATCHES_PER_SECOND - 1


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
def test_connections_have_keepalive_options() -> None:
    with kept_alive((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAD_AFTER_SECONDS * 1000
        idle, pause, count = (
            made.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + pause * count == DEAD_AFTER_SECONDS


async def test_new_connections_have_the_socket_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    monkeypatch.setattr("scopewright.stores.kubernetes.sockets.kept_alive", recorded(made))
    async with served() as port, through(port) as api:
        await api.get("/x")
        await api.ping(5)
    assert len(made) == 2, "the heartbeat has a separate connection"


def recorded(made: list[socket.socket]) -> Callable[[Any], socket.socket]:
    def factory(address: Any) -> socket.socket:
        made.append(kept_alive(address))
        return made[-1]

    return factory
