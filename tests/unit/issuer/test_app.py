"""The translation from ASGI, where a caller is slow or goes away."""

import asyncio
import io
from typing import Any

import pytest

from scopewright.issuer import audit
from scopewright.issuer.app import App, Message
from tests.unit.issuer.world import World

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/token", "query_string": b"", "headers": []}


async def test_a_body_that_does_not_come_is_not_waited_for(world: World) -> None:
    sent: list[Message] = []
    parts = [{"type": "http.request", "body": b"grant", "more_body": True}]

    async def receive() -> Message:
        return parts.pop() if parts else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    await App(world.issuer, body_timeout=0.01)(SCOPE, receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_caller_that_goes_away_gets_no_answer(world: World) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail("nobody is there")

    await App(world.issuer)(SCOPE, receive, send)
    assert world.lines == []


async def test_an_exception_is_an_answer_of_ours_and_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("scopewright.issuer.token.authorise", fail)
    response = await world.token()
    assert (response.status_code, response.json()["error"]) == (500, "server_error")
    assert "a bug" not in response.text
    assert "a bug" in caplog.text


def test_an_audit_file_gets_whole_lines_at_once() -> None:
    file = io.BytesIO()
    write = audit.to_file(file)
    write("{}")
    write('{"é":1}')
    assert file.getvalue() == '{}\n{"é":1}\n'.encode()
