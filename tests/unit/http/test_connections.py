"""Limits and timeouts of connections, and how they end."""

import asyncio
import contextlib
import socket

import pytest

from scopewright.http import HttpLimits, connection
from scopewright.http.connection import Connection
from tests.unit.http.served import GET, Wire, post, serving, until


async def test_a_head_or_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with serving(HttpLimits(request_timeout=0.1)) as served:
        for beginning in (b"GE", b"GET /a HTTP/1.1\r\nHost:", post(b"abc")[:-1]):
            wire = await served.connect()
            wire.send(beginning)
            reply = await wire.reply()
            assert (reply.status, reply.headers["connection"]) == (408, "close")
            assert await wire.ended() == b""


async def test_a_byte_now_and_then_does_not_keep_a_request_alive() -> None:
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


async def test_a_connection_that_asks_nothing_is_closed_without_a_word() -> None:
    async with serving(HttpLimits(request_timeout=0.1, keep_alive=0.2)) as served:
        silent, used = await served.connect(), await served.connect()
        used.send(GET)
        await used.reply()
        assert await silent.ended() == b""
        assert await used.ended() == b""
        await until(lambda: not served.server.connections)


async def test_a_slow_answer_is_not_timed_out() -> None:
    async with serving(HttpLimits(request_timeout=0.1, keep_alive=0.1)) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.6)
        served.gate.set()
        assert (await wire.reply()).body == b"1"


async def test_the_time_for_the_next_request_begins_after_the_slow_answer(caplog: pytest.LogCaptureFixture) -> None:
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


async def test_a_client_that_does_not_read_gets_no_more_made_and_is_left() -> None:
    async with serving(HttpLimits(write_timeout=0.3)) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as deaf:
            deaf.setblocking(False)
            large = GET.replace(b"/a", b"/large")
            for _ in range(100):
                try:
                    deaf.send(large)
                except OSError:
                    break
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            made = len(served.seen)
            assert made < 60
            await until(lambda: not served.server.connections)
            assert len(served.seen) == made


async def test_a_client_that_does_not_read_its_last_answer_is_left_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is too little for the transport to tell: a transport that closes waits for its client for ever."""
    monkeypatch.setattr(connection, "_WRITE_BUFFER", 10_000_000)
    async with serving(HttpLimits(write_timeout=0.3, linger=0.3)) as served:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", served.port))
            deaf.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await until(lambda: served.server.usage().connections["closing"])
            await until(lambda: not served.server.connections)


async def test_pipelined_answers_are_made_as_far_as_the_client_reads_them() -> None:
    async with serving(HttpLimits(write_timeout=60)) as served:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", served.port))
            deaf.sendall(GET.replace(b"/a", b"/large") * 16)
            await until(lambda: served.seen)
            await asyncio.sleep(0.2)
            assert len(served.seen) < 8


async def test_many_that_do_not_read_are_cut_off_before_they_fill_the_memory() -> None:
    """Each asks for a megabyte repeatedly. The kernel's buffers do not count."""
    async with (
        serving(HttpLimits(memory=500_000, connections_per_peer=None, write_timeout=600)) as served,
        contextlib.AsyncExitStack() as stack,
    ):
        large = GET.replace(b"/a", b"/large") * 16
        for _ in range(20):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", served.port))
            await asyncio.get_running_loop().sock_sendall(deaf, large)
        await until(lambda: len(served.seen) >= 20 and served.server.connections < 10)
        reading = await served.connect()
        reading.send(GET)
        assert (await reading.reply()).headers["x-path"] == "/a"


async def test_many_requests_behind_a_slow_one_are_cut_off_before_they_fill_the_memory() -> None:
    async with serving(HttpLimits(memory=170_000, connections_per_peer=None)) as served:
        wires = [await served.connect() for _ in range(8)]
        for wire in wires:
            wire.send(post(b"1", b"/slow") + post(b"x" * 2_000) * 10)
        await until(lambda: served.server.connections <= 3)
        assert served.server.connections
        served.gate.set()
        answered = await asyncio.wait_for(wires[-1].reply(), 10)
        assert answered.body == b"1", "the last one had not held anything for long"


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    async with serving(HttpLimits()) as served:
        wire = await served.connect()
        wire.send(GET.replace(b"/a", b"/large") * 30 + GET)
        for _ in range(30):
            assert len((await wire.reply()).body) == 1_000_000
        assert (await wire.reply()).headers["x-path"] == "/a"


async def test_when_the_room_is_full_a_new_connection_takes_the_place_of_the_longest_idle() -> None:
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


async def test_a_new_connection_takes_the_place_of_no_request_that_is_being_answered() -> None:
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


async def test_one_address_does_not_take_the_room_of_the_others() -> None:
    async with serving(HttpLimits(connections=4, connections_per_peer=2)) as served:
        other = await served.connect(local_addr=("127.0.0.3", 0))
        other.send(GET)
        await other.reply()
        greedy = [await served.connect(local_addr=("127.0.0.2", 0)) for _ in range(5)]
        for wire in greedy[:3]:
            assert await wire.ended() == b"", "its own first ones make room for its later ones"
        for wire in (*greedy[3:], other):
            wire.send(GET)
            assert (await wire.reply()).status == 200


async def test_a_caller_with_one_idle_connection_keeps_it_while_others_fill_the_room() -> None:
    async with serving(HttpLimits(connections=6)) as served:
        caller = await served.connect(local_addr=("127.0.0.9", 0))
        caller.send(GET)
        await caller.reply()
        await asyncio.sleep(0.3)
        for n in range(20):
            wire = await served.connect(local_addr=(f"127.0.0.{2 + n % 2}", 0))
            wire.send(GET)
            await wire.reply()
        assert served.server.connections <= 6
        caller.send(GET)
        assert (await caller.reply()).status == 200


async def test_addresses_have_no_limit_where_none_is_set() -> None:
    async with serving(HttpLimits(connections=3, connections_per_peer=None)) as served:
        wires = [await served.connect() for _ in range(3)]
        for wire in wires:
            wire.send(GET)
            assert (await wire.reply()).status == 200


async def test_a_client_that_goes_away_is_forgotten_with_its_last_answer() -> None:
    async with serving(HttpLimits()) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.05)
        wire.writer.transport.abort()
        await asyncio.sleep(0.05)
        served.gate.set()
        await until(lambda: not served.server.connections)


# The end


async def test_what_has_begun_is_finished_and_told_to_close() -> None:
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


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    async with serving(HttpLimits(closing=0.1)) as served:
        wire = await served.connect()
        wire.send(GET)
        await wire.reply()
        served.stop.set()
        assert await wire.ended() == b""
        await asyncio.wait_for(served.task, 5)


async def test_what_does_not_end_within_the_grace_is_cut_off() -> None:
    async with serving(HttpLimits(grace=0.2)) as served:
        wire = await served.connect()
        wire.send(post(b"1", b"/slow"))
        await asyncio.sleep(0.05)
        served.stop.set()
        await asyncio.wait_for(served.task, 2)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.reply()


async def test_a_stop_under_load_answers_every_request_that_was_sent() -> None:
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


async def test_one_connection_that_cannot_be_ended_keeps_no_other_from_it(
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
        await until(lambda: served.server.connections == 1)
        monkeypatch.undo()
    assert "a bug" in caplog.text
