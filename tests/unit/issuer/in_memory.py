"""httpx without a network: each request goes to the issuer as the server would hand it over."""

from urllib.parse import unquote_to_bytes

import httpx

from scopewright.http import HttpRequest, combined
from scopewright.issuer.service import Issuer


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
