"""An httpx transport in place of a Kubernetes Service: one issuer URL, several replicas, counted retries."""

import itertools
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

import httpx

from bench.counts import Counts

STATUSES: Final[ContextVar[list[int]]] = ContextVar("STATUSES")
"""If set, the list to which the status of each response is appended."""


class Failover(httpx.AsyncBaseTransport):
    """Sends requests to the replicas in turn, and to the next one if a replica does not answer.

    `max_age`, in seconds, replaces the max-age of the issuer's responses.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, ports: Sequence[int], counts: Counts, *, max_age: float | None = None
    ) -> None:
        self._inner = inner
        self._ports = ports
        self._counts = counts
        self._max_age = max_age
        self._turn = itertools.count()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first = next(self._turn)
        failure: httpx.TransportError | None = None
        for n in range(len(self._ports)):
            request.url = request.url.copy_with(port=self._ports[(first + n) % len(self._ports)])
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError as error:
                failure = error
                self._counts.retries_connection += n + 1 < len(self._ports)
            else:
                return self._record(response)
        self._counts.unanswered += 1
        raise failure or httpx.ConnectError("there are no replicas")

    def _record(self, response: httpx.Response) -> httpx.Response:
        self._counts.retries_503 += response.status_code == 503
        if (statuses := STATUSES.get(None)) is not None:
            statuses.append(response.status_code)
        if self._max_age is not None and "cache-control" in response.headers:
            response.headers["cache-control"] = f"max-age={self._max_age:.0f}"
        return response


def http(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, trust_env=False)
