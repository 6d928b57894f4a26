"""httpx without a network: each request goes to the issuer as the server would hand it over."""

from collections.abc import Collection, Iterable
from urllib.parse import unquote_to_bytes

import httpx

from scopewright.http import Answer, HttpRequest
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


async def answer(issuer: Issuer, http: HttpRequest) -> Answer:
    decided = issuer.decide(http)
    return decided if isinstance(decided, Answer) else await decided


class InMemory(httpx.AsyncBaseTransport):
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        headers, repeated = combined((name.lower(), value) for name, value in request.headers.raw)
        answered = await answer(
            self._issuer,
            HttpRequest(
                method=request.method,
                path=unquote_to_bytes(path).decode(),
                query=query,
                headers=headers,
                body=await request.aread(),
                peer="127.0.0.1",
                repeated=repeated,
            ),
        )
        return httpx.Response(answered.status, headers=list(answered.headers), content=answered.body)
