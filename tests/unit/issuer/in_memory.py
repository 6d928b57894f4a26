"""httpx without a network: each request goes to the issuer as the server would hand it over."""

from collections.abc import Collection, Iterable
from urllib.parse import unquote_to_bytes

import httpx

from scopewright.http import HttpRequest
from scopewright.issuer.service import Issuer


def combined(headers: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], Collection[bytes]]:
    """Headers as the server makes an HttpRequest of them: the values, and the names of those that are repeated."""
    values: dict[bytes, bytes] = {}
    repeated = set()
    for name, value in headers:
        if name in values:
            repeated.add(name)
        values[name] = values[name] + b", " + value if name in values else value
    return values, repeated


class InMemory(httpx.AsyncBaseTransport):
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        headers, repeated = combined((name.lower(), value) for name, value in request.headers.raw)
        answer = await self._issuer.answer(
            HttpRequest(
                method=request.method,
                path=unquote_to_bytes(path).decode(),
                query=query,
                headers=headers,
                body=await request.aread(),
                peer="127.0.0.1",
                repeated=repeated,
            )
        )
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)
