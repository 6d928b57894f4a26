"""No client has an answer whose audit line is not in the file, although the lines of a turn are written together."""

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scopewright.http import Answer, HttpRequest, HttpServer
from scopewright.serving import audit

CLIENTS = 12
REQUEST = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class CountingFile:
    """Counts writes, and may fail."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab", buffering=0)
        self.writes: list[int] = []
        self.fails = False

    def write(self, data: bytes) -> None:
        if self.fails:
            raise OSError("the disk is full")
        self.file.write(data)
        self.writes.append(len(data))

    def flush(self) -> None: ...


def served(listener: socket.socket, file: Any, loop: Any) -> tuple[HttpServer, threading.Thread, asyncio.Event]:
    """A server in a thread, whose every answer has an audit line; those below /slow need a task."""
    sink = audit.to_file(file)

    def decided(http: HttpRequest) -> Answer:
        sink(audit.entry("token", time.time(), http.peer, "issued", {"path": http.path}))
        return Answer(200, (), http.path.encode())

    async def later(http: HttpRequest) -> Answer:
        await asyncio.sleep(0)
        return decided(http)

    server = HttpServer(
        lambda http: later(http) if http.path.endswith("0") else decided(http), before_answers=audit.flush_of(sink)
    )
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(server.serve(listener, stop))

    thread = threading.Thread(target=run, daemon=True)
    return server, thread, stop


@contextmanager
def running(path: Path, loop: Any) -> Iterator[tuple[CountingFile, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    file = CountingFile(path)
    server, thread, stop = served(listener, file, loop)
    thread.start()
    try:
        yield file, listener.getsockname()[1]
    finally:
        server._handler = lambda http: stop.set() or Answer(200, (), b"")  # type: ignore[func-returns-value]
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(REQUEST % 0)
            last.recv(1000)
        thread.join(10)
        file.file.close()


def _answer(client: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
        received += client.recv(1000)
    return received.split(b"\r\n\r\n")[1].decode()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_line_is_in_the_file_when_the_answer_is_received(tmp_path: Path, loop: Any) -> None:
    path = tmp_path / "audit"
    with running(path, loop) as (file, port):
        clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(CLIENTS)]
        for turn in range(60):
            for n, client in enumerate(clients):
                client.sendall(REQUEST % (turn * CLIENTS + n))
            for client in random.Random(turn).sample(clients, CLIENTS):
                got = _answer(client)
                assert f'"path":"{got}"}}\n' in path.read_text()
        for client in clients:
            client.close()
    assert len(path.read_text().splitlines()) == 60 * CLIENTS
    assert len(file.writes) < 60 * CLIENTS, "lines of one turn are written together"
    assert max(file.writes) <= audit.MAX_LINE_BYTES


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_answers_are_sent_if_lines_cannot_be_written(
    tmp_path: Path, loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(tmp_path / "audit", loop) as (file, port),
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        for fails in (True, True, False, True):
            file.fails = fails
            client.sendall(REQUEST % 1)
            assert _answer(client) == "/1"
    assert caplog.text.count("audit lines are lost: the disk is full") == 2


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_killed_process_has_a_line_for_each_answer_that_a_client_has(tmp_path: Path, loop: Any) -> None:
    path = tmp_path / "audit"
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if not pid:
        _, thread, _ = served(listener, path.open("ab"), loop)
        thread.run()
        os._exit(1)
    clients = [socket.create_connection(listener.getsockname(), timeout=10) for _ in range(CLIENTS)]
    listener.close()
    received = set[str]()

    def call(client: socket.socket, first: int) -> None:
        with client:
            for n in range(first, first + 10_000):
                try:
                    client.sendall(REQUEST % n)
                    received.add(_answer(client))
                except OSError:
                    return

    threads = [threading.Thread(target=call, args=(client, 10_000 * n)) for n, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for client in clients:
        client.close()
    for thread in threads:
        thread.join(10)
    written = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(received) > CLIENTS
    assert received <= {json.loads(line)["path"] for line in written}


async def test_line_without_an_answer_is_written_in_the_same_turn(tmp_path: Path) -> None:
    """Such as that of a request whose client is gone."""
    file = CountingFile(tmp_path / "audit")
    sink = audit.to_file(file)  # type: ignore[arg-type]
    sink({"a": 1})
    sink(b'{"a":2}')
    assert not file.writes
    await asyncio.sleep(0)
    assert (tmp_path / "audit").read_text() == '{"a":1}\n{"a":2}\n'
    assert len(file.writes) == 1
    file.file.close()


def test_lines_of_a_loop_that_ended_are_written(tmp_path: Path) -> None:
    file = CountingFile(tmp_path / "audit")
    sink = audit.to_file(file)  # type: ignore[arg-type]

    async def exits() -> None:
        sink({"a": 1})
        raise SystemExit

    loop = asyncio.new_event_loop()
    with pytest.raises(SystemExit):
        loop.run_until_complete(exits())
    loop.close()
    sink({"a": 2})
    assert (tmp_path / "audit").read_text() == '{"a":1}\n{"a":2}\n'
    file.file.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_answer_is_sent_if_what_precedes_it_fails(loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The connections of that turn are closed; later ones are served."""
    fails = [True]

    def before_answers() -> None:
        if fails.pop():
            raise RuntimeError
        fails.append(False)

    async def received() -> list[bytes]:
        listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
        address = listener.getsockname()
        server = HttpServer(lambda http: Answer(200, (), b"ok"), before_answers=before_answers)
        serving = asyncio.create_task(server.serve(listener, stop))
        answers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(REQUEST % 1)
            try:
                async with asyncio.timeout(5):
                    answers.append(await reader.readline())
            except ConnectionResetError:
                answers.append(b"")
            writer.close()
            fails.append(False)
        stop.set()
        await serving
        return answers

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(received()) == [b"", b"HTTP/1.1 200 OK\r\n"]
    assert "closing 1 connections" in caplog.text
