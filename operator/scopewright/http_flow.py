"""Runs a fetch step by step. Reads responses of limited size and duration. Shared by `verifier` and `client`."""

import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx

Step = TypeVar("Step")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Status, headers and body. If there was no response, `status` is None and `body` has the error."""

    status: int | None
    headers: "httpx.Headers"
    body: bytes


class FetchError(Exception):
    """The fetch failed. The text is for the service's own log."""


class ResponseTooLarge(FetchError):
    pass


class ResponseTooSlow(FetchError):
    pass


class ResponseCompressed(FetchError):
    """Its size is unknown before it is decompressed. Every request has `Accept-Encoding: identity`."""


def run_sync(flow: Generator[Step, Any, T], perform: Callable[[Step], Any]) -> T:
    """The result of `flow`, which receives what `perform` returns for each of its steps."""
    answer = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        answer = perform(step)


async def run(flow: Generator[Step, Any, T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    answer = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        answer = await perform(step)


# The HTTP client's own `auth` is not used, and redirects are not followed: a credential is sent only to the URL that it
# is for, and keys are accepted only from the URL that was requested.


def send_sync(client: "httpx.Client", request: "httpx.Request", deadline: float) -> HttpResponse:
    """Raises `ResponseTooLarge` if the body exceeds the extension `max_bytes` of `request`, `ResponseTooSlow` if a part
    of it arrives after `deadline` (`time.monotonic`), and `ResponseCompressed`.
    """
    body = bytearray()
    response = client.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        _check_encoding(response)
        for chunk in response.iter_bytes():
            _append(body, chunk, request, deadline)
    finally:
        response.close()
    return HttpResponse(response.status_code, response.headers, bytes(body))


async def send(client: "httpx.AsyncClient", request: "httpx.Request", deadline: float) -> HttpResponse:
    body = bytearray()
    response = await client.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        _check_encoding(response)
        async for chunk in response.aiter_bytes():
            _append(body, chunk, request, deadline)
    finally:
        await response.aclose()
    return HttpResponse(response.status_code, response.headers, bytes(body))


def _check_encoding(response: "httpx.Response") -> None:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ResponseCompressed(f"{response.request.url} answered with Content-Encoding, which was not accepted")


def _append(body: bytearray, chunk: bytes, request: "httpx.Request", deadline: float) -> None:
    body += chunk
    if len(body) > request.extensions["max_bytes"]:
        raise ResponseTooLarge(f"{request.url} is larger than {request.extensions['max_bytes']} bytes")
    if time.monotonic() > deadline:
        raise ResponseTooSlow(f"{request.url} took too long")
