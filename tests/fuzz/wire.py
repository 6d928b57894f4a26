"""Concurrent requests over keep-alive connections, because a refusal of a credential takes a tenth of a second."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.requests import Sent

TIMEOUT: Final = 20.0
_PAGE: Final = Path(__file__).resolve().parents[2] / "docs/errors.md"
_DESCRIPTION: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Connections:
    """One connection for each request of a batch, kept alive for the next batch."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, sent: Sequence[Sent]) -> list[Answer]:
        return await asyncio.gather(*map(self._ask, sent))

    async def _ask(self, request: Sent) -> Answer:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.timeout(TIMEOUT):
            writer.write(request.written())
            answer = await _read(reader)
        if answer.headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return answer

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    return Answer(int(status.split()[1]), headers, await reader.readexactly(length))


def documented() -> re.Pattern[str]:
    """`<status> <error> <description>` as docs/errors.md lists them for the issuer."""
    issuer = _PAGE.read_text().partition("## Verifier")[0]
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \|", issuer, re.MULTILINE)
    return re.compile("|".join(re.escape(" ".join(row)).replace("…", ".*") for row in rows))


def check(sent: Sent, answer: Answer, known: re.Pattern[str]) -> None:
    """Assert that a response reports no fault, and that it is JSON with `no-store` and a documented error."""
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    else:
        assert answer.status < 500, answer
    if answer.status in (200, 304) and sent.method in (b"GET", b"HEAD"):
        return
    assert answer.headers["cache-control"] == "no-store", answer
    if answer.status == 200 and sent.path.startswith(b"/revoke") and not answer.body:  # RFC 7009 §2.2
        return
    assert answer.headers["content-type"] == "application/json", answer
    content: dict[str, Any] = json.loads(answer.body)
    if answer.status == 200:
        assert "access_token" in content or "active" in content or content == {}
        return
    assert _DESCRIPTION.fullmatch(content["error_description"]), content
    assert known.fullmatch(f"{answer.status} {content['error']} {content['error_description']}"), content
    assert ("www-authenticate" in answer.headers) <= (answer.status == 401)
