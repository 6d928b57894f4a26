"""The bounds of an answer's lines, however its bytes are split."""

import asyncio

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.upstream.bounded_stream import (
    MAX_HEAD,
    MAX_HEAD_LINES,
    MAX_LINES,
    AnswerBounds,
    AnswerTooCostly,
    BoundedBackend,
)

OK = b"HTTP/1.1 200 OK\r\n"


def add(answer: bytes, size: int = 2048) -> None:
    bounds = AnswerBounds()
    for start in range(0, len(answer), size):
        bounds.add(answer[start : start + size])


@given(st.integers(1, 50))
def test_usual_answer(size: int) -> None:
    add(OK + b"Content-Type: application/json\r\n\r\n" + b"{\n}" * 300, size)


def test_lines_of_the_body_are_not_of_the_head() -> None:
    add(OK + b"\r\n" + b"\n" * (MAX_LINES - 2))


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"a:b\r\n" * MAX_HEAD_LINES + b"\r\n",
        OK + b"a:b\n" * MAX_HEAD_LINES + b"\n",
        OK + b"a:" + b"b" * MAX_HEAD,
        b"x" * (MAX_HEAD + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
        OK + b"\r\n" + b"1\r\na\r\n" * MAX_LINES,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * MAX_LINES,
    ],
    ids=["headers", "ends of line", "header", "no head", "100", "103", "chunks", "trailers"],
)
@pytest.mark.parametrize("size", [1, 7, 2048])
def test_answer_that_costs_too_much(answer: bytes, size: int) -> None:
    with pytest.raises(AnswerTooCostly):
        add(answer, size)


class ReadyStream(httpcore.AsyncNetworkStream):
    """All bytes have arrived already, as in the buffer of a TLS connection. It remembers how much it was asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.asked: list[int] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.asked.append(max_bytes)
        part, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return part

    async def start_tls(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        return self


@pytest.mark.parametrize("has_tls", [True, False])
async def test_other_tasks_run_between_small_parts(monkeypatch: pytest.MonkeyPatch, has_tls: bool) -> None:
    network, ran = ReadyStream(OK + b"\r\n" + b"a" * 65536), list[int]()

    async def connect(*_: object) -> httpcore.AsyncNetworkStream:
        return network

    async def other() -> None:
        while True:
            ran.append(1)
            await asyncio.sleep(0)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    stream = await BoundedBackend().connect_tcp("login.example", 443)
    if has_tls:
        stream = await stream.start_tls(None)  # type: ignore[arg-type]  # the stream of the test needs no context
    task = asyncio.create_task(other())
    while await stream.read(65536):
        pass
    task.cancel()
    assert max(network.asked) <= 1024
    assert len(ran) >= len(network.asked) - 1
