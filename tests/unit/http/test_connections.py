"""Limits and timeouts of connections, and how they end."""

import asyncio
import contextlib
import socket

import pytest

from scopewright.http import HttpLimits, connection
from scopewright.http.connection import Connection
from tests.harness.waiting import until
from tests.unit.http.served import GET, Wire, post, serving


async def test_incomplete_request_times_out_with_408() -> None:
    async with serving(HttpLimits(request_timeout=0.1)) as served:
        for beginning in (b"GE", b"GET /a HTTP/1.1\r\nHost:", post(b"abc")[:-1]):
            wire = await served.connect()
            wire.send(beginning)
            reply = await wire.reply()
            assert (reply.status, reply.headers["connection"]) == (408, "close")
            assert await wire.ended() == b""


async def test_slowly_sent_request_times_out() -> None:
    async with serving(HttpLimits(request_timeout=0.3, keep_alive=60)) as served:
        wire = await served.connect()
        wire.send(GET)
        await wire.reply()
        for byte in GET[:-2]:
            wire.send(bytes([byte]))
            await asyncio.sleep(0.05)
            if wire.reader._buffer:  # type: ignore[attr-defined]
                break
        assert (await wire.reply()).status == 408


async def test_idle_connection_is_closed_without_a_response() -> None:
    async with serving(HttpLimits(request_timeout=0.1, keep_alive=0.2)) as served:
        silent, used = await served.connect(), await served.connect()
        used.send(GET)
        await used.reply()
        assert await silent.ended() == b""
        assert await used.ended() == b""
        await until(lambda: not served.server.usage().connections.total())


async def test_slow_response_does_not_time_out() -> None:
    async with serving(HttpLimits(request_timeout=0.1, keep_alive=0.1)) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.6)
        served.gate.set()
        assert (await wire.reply()).body == b"1"


async def test_timeout_of_the_next_request_starts_after_a_slow_response(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(HttpLimits(request_timeout=0.1)) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await until(lambda: served.seen)
        wire.send(GET[:5])
        await asyncio.sleep(0.6)
        served.gate.set()
        assert (await wire.reply()).body == b"1"
        assert (await wire.reply()).status == 408
        assert await wire.ended() == b""
    assert not caplog.text


async def test_client_that_does_not_read_gets_no_more_responses_and_is_closed() -> None:
    async with serving(HttpLimits(write_timeout=0.3)) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as sender:
            sender.setblocking(False)
            large = GET.replace(b"/a", b"/large")
            for _ in range(100):
                try:
                    sender.send(large)
                except OSError:
                    break
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            made = len(served.seen)
            assert made < 60
            await until(lambda: not served.server.usage().connections.total())
            assert len(served.seen) == made


async def test_client_that_does_not_read_its_last_response_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response fits into the write buffer, and a closing transport waits for its client without a limit."""
    monkeypatch.setattr(connection, "_WRITE_BUFFER", 10_000_000)
    async with serving(HttpLimits(write_timeout=0.3, linger=0.3)) as served:
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.connect(("127.0.0.1", served.port))
            sender.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await until(lambda: served.server.usage().connections["closing"])
            await until(lambda: not served.server.usage().connections.total())


async def test_pipelined_requests_are_handled_as_fast_as_the_client_reads() -> None:
    async with serving(HttpLimits(write_timeout=60)) as served:
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.connect(("127.0.0.1", served.port))
            sender.sendall(GET.replace(b"/a", b"/large") * 16)
            await until(lambda: served.seen)
            await asyncio.sleep(0.2)
            assert len(served.seen) < 8


async def test_clients_that_do_not_read_are_closed_at_the_memory_limit() -> None:
    """Each asks for a megabyte repeatedly. The kernel's buffers do not count."""
    async with (
        serving(HttpLimits(memory=500_000, connections_per_peer=None, write_timeout=600)) as served,
        contextlib.AsyncExitStack() as stack,
    ):
        large = GET.replace(b"/a", b"/large") * 16
        for _ in range(20):
            sender = stack.enter_context(socket.socket())
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sender, ("127.0.0.1", served.port))
            await asyncio.get_running_loop().sock_sendall(sender, large)
        await until(lambda: len(served.seen) >= 20 and served.server.usage().connections.total() < 10)
        reading = await served.connect()
        reading.send(GET)
        assert (await reading.reply()).headers["x-path"] == "/a"


async def test_connections_with_pipelined_requests_are_closed_at_the_memory_limit() -> None:
    async with serving(HttpLimits(memory=170_000, connections_per_peer=None)) as served:
        wires = [await served.connect() for _ in range(8)]
        for wire in wires:
            wire.send(post(b"1", b"/slow") + post(b"x" * 2_000) * 10)
        await until(lambda: served.server.usage().connections.total() <= 3)
        assert served.server.usage().connections.total()
        served.gate.set()
        answered = await asyncio.wait_for(wires[-1].reply(), 10)
        assert answered.body == b"1", "the newest connection is closed last"


async def test_client_that_reads_slowly_gets_every_response() -> None:
    async with serving(HttpLimits()) as served:
        wire = await served.connect()
        wire.send(GET.replace(b"/a", b"/large") * 30 + GET)
        for _ in range(30):
            assert len((await wire.reply()).body) == 1_000_000
        assert (await wire.reply()).headers["x-path"] == "/a"


async def test_new_connection_at_the_limit_replaces_the_longest_idle_one() -> None:
    async with serving(HttpLimits(connections=2)) as served:
        first, second = await served.connect(), await served.connect()
        for wire in (first, second):
            wire.send(GET)
            assert (await wire.reply()).status == 200
            await asyncio.sleep(0.3)
        third = await served.connect()
        assert await first.ended() == b""
        for wire in (second, third):
            wire.send(GET)
            assert (await wire.reply()).status == 200


async def test_new_connection_at_the_limit_does_not_replace_a_pending_one() -> None:
    async with serving(HttpLimits(connections=2)) as served:
        busy = [await served.connect(), await served.connect()]
        for wire in busy:
            wire.send(post(b"1", b"/slow"))
        await until(lambda: len(served.seen) == 2)
        for _ in range(3):
            late = await served.connect()
            assert (await late.reply()).status == 503
        assert served.server.usage().connections["pending"] == 2
        served.gate.set()
        for wire in busy:
            assert (await wire.reply()).body == b"1"


async def test_address_at_its_limit_replaces_only_its_own_connections() -> None:
    async with serving(HttpLimits(connections=4, connections_per_peer=2)) as served:
        other = await served.connect(local_addr=("127.0.0.3", 0))
        other.send(GET)
        await other.reply()
        many = [await served.connect(local_addr=("127.0.0.2", 0)) for _ in range(5)]
        for wire in many[:3]:
            assert await wire.ended() == b"", "its newer connections replace its older ones"
        for wire in (*many[3:], other):
            wire.send(GET)
            assert (await wire.reply()).status == 200


async def test_single_idle_connection_of_an_address_is_kept_at_the_limit() -> None:
    async with serving(HttpLimits(connections=6)) as served:
        caller = await served.connect(local_addr=("127.0.0.9", 0))
        caller.send(GET)
        await caller.reply()
        await asyncio.sleep(0.3)
        for n in range(20):
            wire = await served.connect(local_addr=(f"127.0.0.{2 + n % 2}", 0))
            wire.send(GET)
            await wire.reply()
        assert served.server.usage().connections.total() <= 6
        caller.send(GET)
        assert (await caller.reply()).status == 200


async def test_addresses_have_no_limit_if_none_is_set() -> None:
    async with serving(HttpLimits(connections=3, connections_per_peer=None)) as served:
        wires = [await served.connect() for _ in range(3)]
        for wire in wires:
            wire.send(GET)
            assert (await wire.reply()).status == 200


async def test_disconnected_client_is_removed_after_its_last_response() -> None:
    async with serving(HttpLimits()) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.05)
        wire.writer.transport.abort()
        await asyncio.sleep(0.05)
        served.gate.set()
        await until(lambda: not served.server.usage().connections.total())


# The end


async def test_stop_completes_requests_in_progress_and_closes() -> None:
    async with serving(HttpLimits(closing=5)) as served:
        busy, idle, partial = [await served.connect() for _ in range(3)]
        busy.send(post(b"1", b"/slow") + post(b"2"))
        idle.send(GET)
        await idle.reply()
        partial.send(post(b"abc")[:-1])
        await asyncio.sleep(0.05)
        served.stop.set()
        await asyncio.sleep(0.05)
        idle.send(GET)
        late = await idle.reply()
        assert (late.status, late.headers["connection"]) == (200, "close")
        partial.send(b"c")
        assert (await partial.reply()).headers["connection"] == "close"
        served.gate.set()
        assert "connection" not in (await busy.reply()).headers
        last = await busy.reply()
        assert (last.body, last.headers["connection"]) == (b"2", "close")
        for wire in (busy, idle, partial):
            assert await wire.ended() == b""
        await asyncio.wait_for(served.task, 5)


async def test_stop_does_not_wait_for_idle_connections() -> None:
    async with serving(HttpLimits(closing=0.1)) as served:
        wire = await served.connect()
        wire.send(GET)
        await wire.reply()
        served.stop.set()
        assert await wire.ended() == b""
        await asyncio.wait_for(served.task, 5)


async def test_request_beyond_the_grace_period_is_aborted() -> None:
    async with serving(HttpLimits(grace=0.2)) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.05)
        served.stop.set()
        await asyncio.wait_for(served.task, 2)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.reply()


async def test_stop_under_load_loses_no_response() -> None:
    """Each client sends requests until the server closes. No client loses an answer or a connection."""

    async def client() -> int:
        answered = 0
        wire = Wire(*await asyncio.open_connection("127.0.0.1", served.port))
        while True:
            wire.send(post(b"x" * 100))
            reply = await wire.reply()
            answered += reply.status == 200
            if reply.headers.get("connection") == "close":
                wire.writer.close()
                return answered

    async with serving(HttpLimits()) as served:
        clients = [asyncio.create_task(client()) for _ in range(50)]
        await asyncio.sleep(0.3)
        in_line = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
        for connection in in_line:
            connection.sendall(GET)
        served.stop.set()
        assert min(await asyncio.gather(*clients)) > 0
        for connection in in_line:
            with connection:
                connection.settimeout(5)
                assert (await asyncio.to_thread(connection.recv, 1000)).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", served.port)


async def test_error_in_one_connection_does_not_keep_others_from_expiring(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, stuck = Connection.expire, list[Connection]()

    def expire(connection: Connection) -> None:
        if not stuck:
            stuck.append(connection)
        if connection is stuck[0]:
            raise RuntimeError("a bug")
        real(connection)

    async with serving(HttpLimits(request_timeout=0.1)) as served:
        monkeypatch.setattr(Connection, "expire", expire)
        for _ in range(4):
            await served.connect()
        await until(lambda: stuck)
        await until(lambda: served.server.usage().connections.total() == 1)
        monkeypatch.undo()
    assert "a bug" in caplog.text
