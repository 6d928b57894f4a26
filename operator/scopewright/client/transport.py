"""Does the I/O of a token flow, for threads and for tasks."""

import time

import httpx

from scopewright.client.clock import Clock
from scopewright.client.errors import TokenError
from scopewright.client.grant import MAX_BYTES, Flow, Granted, Wait
from scopewright.client.token import invalid
from scopewright.singleflight import HttpResponse

_DEADLINE_SECONDS = 15.0  # for one response, even if the body arrives slowly


def run_sync(flow: Flow, client: httpx.Client, clock: Clock) -> Granted:
    answer: HttpResponse | None = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            granted: Granted = done.value
            return granted
        if isinstance(step, Wait):
            clock.wait(step.seconds)
            answer = None
        else:
            answer = _send_sync(client, step)


async def run(flow: Flow, client: httpx.AsyncClient, clock: Clock) -> Granted:
    answer: HttpResponse | None = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            granted: Granted = done.value
            return granted
        if isinstance(step, Wait):
            await clock.wait_async(step.seconds)
            answer = None
        else:
            answer = await _send(client, step)


# The HTTP client's own `auth` is not used for the token endpoint, and redirects are not followed: the credential is
# sent only to the endpoint in the Secret.


def _send_sync(client: httpx.Client, request: httpx.Request) -> HttpResponse:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    body = bytearray()
    try:
        response = client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            for chunk in response.iter_bytes():
                _take(body, chunk, deadline)
        finally:
            response.close()
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)
    return HttpResponse(response.status_code, response.headers, bytes(body))


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> HttpResponse:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    body = bytearray()
    try:
        response = await client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            async for chunk in response.aiter_bytes():
                _take(body, chunk, deadline)
        finally:
            await response.aclose()
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)
    return HttpResponse(response.status_code, response.headers, bytes(body))


def _take(body: bytearray, chunk: bytes, deadline: float) -> None:
    body += chunk
    if len(body) > MAX_BYTES:
        raise invalid(f"is larger than {MAX_BYTES} bytes")
    if time.monotonic() > deadline:
        raise TokenError(
            "temporarily_unavailable", f"the token endpoint took longer than {_DEADLINE_SECONDS:.0f} s to answer"
        )


def _no_response(error: Exception) -> HttpResponse:
    return HttpResponse(None, httpx.Headers(), f"{type(error).__name__} {error}".strip().encode())
