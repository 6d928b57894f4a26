"""Does the I/O of the requests to the issuer, for threads and for tasks."""

import asyncio
import time
from typing import TypeVar

import httpx

from scopewright import http_flow
from scopewright.client.clock import Clock
from scopewright.client.errors import TokenError, unavailable
from scopewright.client.issuer_request import Flow, Wait
from scopewright.http_flow import FetchError, HttpResponse, ResponseCompressed, ResponseTooLarge, ResponseTooSlow

T = TypeVar("T")

_DEADLINE_SECONDS = 15.0  # for one response, even if the body arrives slowly


def run_sync(flow: Flow[T], client: httpx.Client, clock: Clock) -> T:
    return http_flow.run_sync(
        flow, lambda step: clock.wait(step.seconds) if isinstance(step, Wait) else _send_sync(client, step)
    )


async def run(flow: Flow[T], client: httpx.AsyncClient, clock: Clock) -> T:
    return await http_flow.run(
        flow, lambda step: clock.wait_async(step.seconds) if isinstance(step, Wait) else _send(client, step)
    )


def _send_sync(client: httpx.Client, request: httpx.Request) -> HttpResponse:
    try:
        return http_flow.send_sync(client, request, time.monotonic() + _DEADLINE_SECONDS)
    except FetchError as error:
        raise _refused(request, error) from None
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> HttpResponse:
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):  # for the headers too
            return await http_flow.send(client, request, time.monotonic() + _DEADLINE_SECONDS)
    except FetchError as error:
        raise _refused(request, error) from None
    except TimeoutError:
        raise _refused(request, ResponseTooSlow()) from None
    except (httpx.HTTPError, OSError) as error:
        return _no_response(error)


def _refused(request: httpx.Request, error: FetchError) -> TokenError:
    if isinstance(error, ResponseTooLarge):
        limit = request.extensions["max_bytes"]
        return TokenError("invalid_response", f"the answer of {request.url} is larger than {limit} bytes", 200)
    if isinstance(error, ResponseCompressed):
        return TokenError("invalid_response", str(error), 200)
    return unavailable(f"{request.url} took longer than {_DEADLINE_SECONDS:.0f} s to answer")


def _no_response(error: Exception) -> HttpResponse:
    return HttpResponse(None, httpx.Headers(), f"{type(error).__name__} {error}".strip().encode())
