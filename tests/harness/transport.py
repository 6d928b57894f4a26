"""An httpx transport without a network: requests are passed to an issuer as the HTTP server passes them."""

from collections.abc import Collection, Iterable
from urllib.parse import unquote_to_bytes

import httpx

from scopewright.http import Answer, HttpRequest
from scopewright.issuer.service import Issuer


def combine_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], Collection[bytes]]:
    """Headers as in an HttpRequest of the server: values, joined if a header is repeated, and the repeated names."""
    values: dict[bytes, bytes] = {}
    repeated = set()
    for name, value in headers:
        if name in values:
            repeated.add(name)
        values[name] = values[name] + b", " + value if name in values else value
    return values, repeated


async def respond(issuer: Issuer, http: HttpRequest) -> Answer:
    """The issuer's response to a request."""
    decided = issuer.decide(http)
    return decided if isinstance(decided, Answer) else await decided


class IssuerTransport(httpx.AsyncBaseTransport):
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        headers, repeated = combine_headers((name.lower(), value) for name, value in request.headers.raw)
        response = await respond(
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
        return httpx.Response(response.status, headers=list(response.headers), content=response.body)
