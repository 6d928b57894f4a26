"""The verifier on real sockets: an issuer on uvicorn, a rotation, and an outage."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scopewright.verifier import Reason, TokenRejected, Verifier, protect
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, NOW, SigningKey, token


class LiveIssuer:
    """An issuer on uvicorn, in a thread."""

    def __init__(self) -> None:
        self.keys = [SigningKey("live-1")]
        self.fetches = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        routes = [Route("/.well-known/oauth-authorization-server", self.metadata), Route("/jwks.json", self.jwks)]
        self.server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self.thread.start()

    async def metadata(self, request: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/jwks.json"})

    async def jwks(self, request: Request) -> Response:
        self.fetches += 1
        return JSONResponse({"keys": [key.jwk for key in self.keys]}, headers={"cache-control": "max-age=300"})

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(5)
        self._socket.close()


@pytest.fixture
def issuer() -> Iterator[LiveIssuer]:
    live = LiveIssuer()
    yield live
    live.stop()


async def test_tokens_are_verified_during_a_rotation_and_an_outage_of_the_issuer(issuer: LiveIssuer) -> None:
    clock = Clock()
    verifier = Verifier(issuer.url, AUDIENCE, clock=clock)
    first, second = issuer.keys[0], SigningKey("live-2")
    found = await asyncio.gather(*(verifier.verify(token(first, iss=issuer.url, jti=str(n))) for n in range(20)))
    assert len(found) == 20
    assert issuer.fetches == 1

    issuer.keys.append(second)
    assert await verifier.verify(token(second, iss=issuer.url))
    with pytest.raises(TokenRejected) as caught:
        await verifier.verify(token(SigningKey("made-up"), iss=issuer.url))
    assert caught.value.reason is Reason.UNKNOWN_KEY
    assert issuer.fetches == 2

    await asyncio.to_thread(issuer.stop)
    clock.set(NOW + 7200)
    assert await verifier.verify(token(second, iss=issuer.url, exp=int(NOW) + 9000))


async def test_protected_application_verifies_with_keys_fetched_over_http(issuer: LiveIssuer) -> None:
    async def salaries(request: Request) -> Response:
        return JSONResponse({"for": request.scope["scopewright.token"].subject})

    app = protect(Starlette(routes=[Route("/", salaries)]), Verifier(issuer.url, AUDIENCE, clock=Clock()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://payroll") as client:
        good = token(issuer.keys[0], iss=issuer.url)
        assert (await client.get("/", headers={"Authorization": f"Bearer {good}"})).json() == {
            "for": "leave.leave-worker"
        }
        assert (await client.get("/")).status_code == 401
