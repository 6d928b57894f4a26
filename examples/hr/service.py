"""Common code of the three services: settings, and calls to each other.

A service needs the Secret of its OAuthClient, mounted as files, and these environment variables:

    SCOPEWRIGHT_SECRET_DIR   where the Secret is mounted; default: /var/run/secrets/oauth
    SCOPEWRIGHT_AUDIENCE     the audience of the service's own ResourceServer
    EMPLOYEE_URL, …          the URLs of the services that it calls
    LEEWAY                   tolerated difference of clocks in seconds; default: 60
"""

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from scopewright.client import ClientCredentials, MountedSecret, TokenError
from scopewright.verifier import Token, Verifier

logger = logging.getLogger("hr")


def verifier() -> Verifier:
    """Accepts the tokens that are for this service, from the issuer that the Secret names."""
    leeway = float(os.environ.get("LEEWAY", "60"))
    return Verifier(_secret().read().issuer, os.environ["SCOPEWRIGHT_AUDIENCE"], leeway=leeway)


def peer(name: str) -> httpx.AsyncClient:
    """Calls another service, with a token for that service in every request."""
    return httpx.AsyncClient(auth=_credentials(name), base_url=_url(name))


def peer_sync(name: str) -> httpx.Client:
    """`peer` for threads."""
    return httpx.Client(auth=_credentials(name), base_url=_url(name))


def _credentials(name: str) -> ClientCredentials:
    """Inside the cluster, services call each other without TLS."""
    return ClientCredentials(_secret(), f"https://{name}-api.{name}.svc", allow_http=(f"{name}.{name}.svc",))


def _secret() -> MountedSecret:
    return MountedSecret(os.environ.get("SCOPEWRIGHT_SECRET_DIR", "/var/run/secrets/oauth"))


def _url(name: str) -> str:
    return os.environ[f"{name.upper()}_URL"]


class NotKnown(Exception):
    """An object that the caller named does not exist in another service."""


async def get_json(service: httpx.AsyncClient, path: str) -> Any:
    """The JSON answer of another service. Raises one of `FAILURES`."""
    return _json(await service.get(path))


def get_json_sync(service: httpx.Client, path: str, *, on_behalf_of: Token | None = None) -> Any:
    """`get_json` for threads.

    On behalf of a caller (token exchange), the token has the scopes that both the caller and this service may use.
    """
    auth = service.auth
    if on_behalf_of is not None and isinstance(auth, ClientCredentials):
        auth = auth.on_behalf_of(on_behalf_of.value)
    return _json(service.get(path, auth=auth))


def _json(answer: httpx.Response) -> Any:
    if answer.status_code == 404:
        raise NotKnown("not known to a service that is needed here")
    return answer.raise_for_status().json()


FAILURES = (TokenError, httpx.HTTPError, NotKnown)
"""What a call to another service raises."""


def failure(path: str, error: Exception) -> tuple[int, dict[str, str]]:
    """Status and body of the answer. The log has the reason; the caller gets at most the error code.

    502 for no grant, no issuer or no answer, which are not faults of the caller.
    """
    if isinstance(error, NotKnown):
        return 404, {"error_description": str(error)}
    logger.warning("%s: %s", path, error)
    if isinstance(error, TokenError):
        description = f"no token for a service that is needed here: {error.error}"
    else:
        description = "a service that is needed here did not answer as it should"
    return 502, {"error": "bad_gateway", "error_description": description}


def closing(*services: httpx.AsyncClient) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan that closes the clients when the application ends."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        for service in services:
            await service.aclose()

    return lifespan
