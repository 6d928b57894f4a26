"""Requests to a Kubernetes API server: JSON in, JSON out, and every failure as `Rejected`, `Unavailable` or `Conflict`.

`kubernetes.aio` provides configuration, TLS, authentication and connections. Its generated models are not used, which
halves the cost of a request. It and aiohttp are imported by `sockets`, for the first connection: `dev` and `plan` have
none.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.stores.contact import Contact, beating, heartbeat
from scopewright.stores.kubernetes.answers import (
    Gone,
    NotFound,
    api_object,
    failure_of,
    json_object,
    result_of,
    unreachable,
    watch_event,
)
from scopewright.stores.kubernetes.rate_limit import RateLimit

if TYPE_CHECKING:
    import aiohttp

    from scopewright.stores.kubernetes.sockets import KubeClient

REQUEST_TIMEOUT: Final = 30.0
"""Seconds. An unanswered write does not arrive after that."""
WATCH_SECONDS: Final = 7
"""Duration of a watch. Its end, and the bookmark two seconds before, show that this very watch works."""
WATCH_GRACE: Final = 2.0
"""Seconds of silence beyond its duration after which a watch is broken."""
WATCHES_PER_SECOND: Final = 10
"""Rate of renewal. Where there are too many watches for it, each lasts longer than WATCH_SECONDS."""
CONNECT_TIMEOUT: Final = 5.0

ACCEPT: Final = "application/json, application/jwk-set+json"
"""The API server serves its own keys only as the second."""

PROXY_ERRORS: Final = (502, 503, 504)
"""Statuses of a load balancer that does not reach the API server."""

USER_AGENT: Final = "scopewright"
"""The API server records it as the field manager."""
LEASES: Final = "/apis/coordination.k8s.io/"

METHODS: Final = ("GET", "POST", "PUT", "DELETE")
Answered = Callable[[str, str, bool], None]
"""Takes one of `METHODS` or WATCH, the path, and whether the right was missing."""

Observe = Callable[[str, str, float], None]
"""Takes one of `METHODS`, one of `answers.RESULTS`, and seconds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Server and credentials, for clients that open their own connections."""

    host: str
    ca_file: str | None
    insecure: bool
    certificate_file: str | None
    key_file: str | None
    token: str | None = field(repr=False)


class Api:
    """One API server, with the identity of the kubeconfig or the mounted ServiceAccount."""

    def __init__(self, client: "KubeClient", probing: "KubeClient | None" = None) -> None:
        """`probing` holds the heartbeat's connection, so that other requests do not keep it alive."""
        self._client = client
        self._probing = probing
        self.host: str = client.configuration.host
        self.contact = Contact()
        self.observe: Observe = lambda method, result, seconds: None
        """Called for every request except watches."""
        self.answered: Answered = lambda method, path, forbidden: None
        """Called for every answer."""
        self.limit: RateLimit | None = None
        """For every request except watches, heartbeats and Leases: leadership must not wait behind a backlog."""
        self.leads: Callable[[], bool] = lambda: True
        """A write requested while this is true is not sent once it is false: it may have waited for `limit`."""
        self._waits: set[asyncio.Timeout] = set()
        """Timeouts of all calls that wait for the API server."""
        self._watches = 0

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self.request("GET", path, query=query)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> dict[str, Any]:
        if self.limit is not None and not path.startswith(LEASES):
            led = self.leads()
            await self.limit.wait()
            if method != "GET" and led and not self.leads():
                raise NotLeading
        began = time.monotonic()
        try:
            content = await self._request(method, path, query, body, timeout)
        except (NotFound, Conflict, Gone, Rejected, Unavailable) as failure:
            self.observe(method, result_of(failure), time.monotonic() - began)
            self._answered(method, path, failure)
            raise
        self.observe(method, "ok", time.monotonic() - began)
        self.answered(method, path, False)
        return content

    async def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, timeout: float
    ) -> dict[str, Any]:
        async with self._response(method, path, query, body, timeout) as response:
            data = await self._read(response)
            if response.status >= 400:
                raise failure_of(response, json_object(data), f"{method} {path}")
            return api_object(data, path)

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """The watch's events until the server ends it, after `watch_seconds`. `Gone` where the version is too old."""
        from aiohttp import ClientTimeout

        seconds = watch_seconds(self._watches)
        query = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=seconds + WATCH_GRACE)
        self._watches += 1
        try:
            async with self._response("GET", path, query, None, timeout) as response:
                if response.status >= 400:
                    failure = failure_of(response, json_object(await self._read(response)), f"WATCH {path}")
                    self._answered("WATCH", path, failure)
                    raise failure
                self.answered("WATCH", path, False)
                async for line in self._lines(response):
                    event = watch_event(line, path)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        if status.get("code") == 410:
                            raise Gone(status.get("message", ""))
                        raise Unavailable(f"watch of {path}: {status.get('message', 'error')}")
                    yield event
        finally:
            self._watches -= 1

    def _answered(self, method: str, path: str, failure: Exception) -> None:
        """Report a failed request that was answered; without an answer nothing is known about rights."""
        if not isinstance(failure, Unavailable) or isinstance(failure, Conflict | Gone):
            self.answered(method, path, isinstance(failure, Rejected) and failure.reason == "Forbidden")

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator["Api"]:
        """Run the heartbeat. Where it fails, every connection is closed, and calls that wait raise `Unavailable`."""
        async with beating(heartbeat(self.contact, self.ping, self.reconnect)):
            yield self

    async def ping(self, timeout: float) -> None:
        """Any answer of the API server counts, also a refusal; a proxy's answer for an unreachable one does not."""
        async with self._response("GET", "/livez", None, None, timeout, self._probing) as response:
            await self._read(response)
            if response.status in PROXY_ERRORS:
                raise Unavailable(f"a proxy before the API server at {self.host} answered {response.status}")

    async def reconnect(self) -> None:
        """Close every connection. Requests in flight raise `Unavailable`; the next one opens a new connection."""
        now = asyncio.get_running_loop().time()
        for wait in list(self._waits):
            wait.reschedule(now)
        for client in (self._client, self._probing):
            if client is not None:
                await client.reset()

    def identity(self) -> Identity:
        """The current identity: a mounted token may have been renewed."""
        c = self._client.configuration
        bearer = c.api_key.get("BearerToken", "")
        return Identity(
            host=c.host,
            ca_file=c.ssl_ca_cert,
            insecure=not c.verify_ssl,
            certificate_file=c.cert_file,
            key_file=c.key_file,
            token=bearer.removeprefix("Bearer ").removeprefix("bearer ") or None,
        )

    async def close(self) -> None:
        await self._client.close()
        if self._probing is not None:
            await self._probing.close()

    @asynccontextmanager
    async def _waiting(self, host: str) -> AsyncIterator[None]:
        """Raise `Unavailable` for every failure of the connection, and when `reconnect` is called.

        aiohttp does not end a read of a connection that is closed on this side, and raises RuntimeError for a read that
        begins after that.
        """
        from aiohttp import ClientError

        try:
            async with asyncio.timeout(None) as limit:
                self._waits.add(limit)
                try:
                    yield
                finally:
                    self._waits.discard(limit)
        except (ClientError, TimeoutError, OSError, RuntimeError) as error:
            raise unreachable(host, error) from None

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        timeout: Any,
        client: "KubeClient | None" = None,
    ) -> "AsyncIterator[aiohttp.ClientResponse]":
        headers = {"Accept": ACCEPT, "Content-Type": "application/json", "User-Agent": USER_AGENT}
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        client = client or self._client
        async with self._waiting(self.host):
            await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            data = None if body is None else orjson.dumps(body)
            response = await client.send(method, url, headers, data, timeout)
        if response.status not in PROXY_ERRORS:
            self.contact.answered()
        try:
            yield response
        finally:
            response.release() if response.content.at_eof() else response.close()

    async def _read(self, response: "aiohttp.ClientResponse") -> bytes:
        async with self._waiting(response.url.host or ""):
            return await response.read()

    async def _lines(self, response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
        rest = b""
        while True:
            async with self._waiting(response.url.host or ""):
                chunk = await response.content.readany()
            if not chunk:
                return
            self.contact.answered()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line


def watch_seconds(watches: int) -> int:
    """Duration of the next of so many watches, with jitter, so that they do not end together."""
    return int(max(WATCH_SECONDS, watches / WATCHES_PER_SECOND) - random.random() + 0.5)  # noqa: S311 (spreads load)
