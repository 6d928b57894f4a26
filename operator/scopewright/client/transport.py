"""Does the I/O of a token flow, for threads and for tasks."""

import time

import httpx

from scopewright import http_flow
from scopewright.client.clock import Clock
from scopewright.client.errors import TokenError
from scopewright.client.grant import MAX_BYTES, Flow, Granted, Wait
from scopewright.client.token import invalid
from scopewright.http_flow import FetchError, HttpResponse, ResponseTooLarge

_DEADLINE_SECONDS = 15.0  # for one response, even if the body arrives slowly


def run_sync(flow: Flow, client: httpx.Client, clock: Clock) -> Granted:
    return http_flow.run_sync(
        flow, lambda step: clock.wait(step.seconds) if isinstance(step, Wait) else _send_sync(client, step)
    )


async def run(flow: Flow, client: httpx.AsyncClient, clock: Clock) -> Granted:
    return await http_flow.run(
        flow, lambda step: clock.wait_async(step.seconds) if isinstance(step, Wait) else _send(client, step)
    )


def _send_sync(client: httpx.Client, request: httpx.Request) -> HttpResponse:
    try:
        return http_flow.send_sync(client, request, time.monotonic() + _DEADLINE_SECONDS)
    except FetchError as error:
        raise _refused(error) from None
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> HttpResponse:
    try:
        return await http_flow.send(client, request, time.monotonic() + _DEADLINE_SECONDS)
    except FetchError as error:
        raise _refused(error) from None
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)


def _refused(error: FetchError) -> TokenError:
    if isinstance(error, ResponseTooLarge):
        return invalid(f"is larger than {MAX_BYTES} bytes")
    return TokenError(
        "temporarily_unavailable", f"the token endpoint took longer than {_DEADLINE_SECONDS:.0f} s to answer"
    )


def _no_response(error: Exception) -> HttpResponse:
    return HttpResponse(None, httpx.Headers(), f"{type(error).__name__} {error}".strip().encode())
