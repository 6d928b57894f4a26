"""Common code of the three services: settings, calls to each other, and error answers.

A service needs the Secret of its OAuthClient, mounted as files, and these environment variables:

    OAUTH_SECRET      where the Secret is mounted; default: /var/run/secrets/oauth
    AUDIENCE          the audience of the service's own ResourceServer
    EMPLOYEE_URL, …   the URLs of the services that it calls
    LEEWAY            tolerated difference of clocks in seconds; default: 60
"""

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scopewright.client import ClientCredentials, MountedSecret, TokenError
from scopewright.verifier import Token, Verifier

logger = logging.getLogger("hr")


def verifier() -> Verifier:
    """Accepts the tokens that are for this service, from the issuer that the Secret names."""
    leeway = float(os.environ.get("LEEWAY", "60"))
    return Verifier(_secret().read().issuer, os.environ["AUDIENCE"], leeway=leeway)


def peer(name: str) -> httpx.AsyncClient:
    """Calls another service, with a token for that service in every request; inside the cluster without TLS."""
    auth = ClientCredentials(_secret(), resource=f"https://{name}-api.{name}.svc", allow_http=(f"{name}.{name}.svc",))
    return httpx.AsyncClient(auth=auth, base_url=os.environ[f"{name.upper()}_URL"])


def _secret() -> MountedSecret:
    return MountedSecret(os.environ.get("OAUTH_SECRET", "/var/run/secrets/oauth"))


async def get_json(service: httpx.AsyncClient, path: str, *, on_behalf_of: Token | None = None) -> Any:
    """The JSON answer of another service. A 404 there is a 404 here.

    On behalf of a caller (token exchange), the token has the scopes that both the caller and this service may use.
    """
    auth = service.auth
    if on_behalf_of is not None and isinstance(auth, ClientCredentials):
        auth = auth.on_behalf_of(on_behalf_of.value)
    answer = await service.get(path, auth=auth)
    if answer.status_code == 404:
        raise HTTPException(404, "not known to a service that is needed here")
    return answer.raise_for_status().json()


def closing(*services: httpx.AsyncClient) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan that closes the clients when the application ends."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        for service in services:
            await service.aclose()

    return lifespan


async def healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error_description": error.detail}, error.status_code, error.headers)


async def _no_token(request: Request, error: Exception) -> Response:
    """No grant, or the issuer is down. Not a fault of the caller, so 502."""
    assert isinstance(error, TokenError)
    logger.warning("%s: %s", request.url.path, error)
    return _bad_gateway(f"no token for a service that is needed here: {error.error}")


async def _no_answer(request: Request, error: Exception) -> Response:
    logger.warning("%s: %s", request.url.path, error)
    return _bad_gateway("a service that is needed here did not answer as it should")


def _bad_gateway(description: str) -> Response:
    return JSONResponse({"error": "bad_gateway", "error_description": description}, 502)


ERRORS = {HTTPException: _refused, TokenError: _no_token, httpx.HTTPError: _no_answer}
