"""The load of `gateway-outage`: requests with valid tokens and with a revoked one, through each proxy."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import cycle, product
from typing import Any, Final

import httpx

from bench.gateway_outage_setup import OutageSetup
from bench.gateway_setup import PATH
from bench.timeouts import TIMEOUT_SECONDS, time_limit
from bench.token_load import kid_of
from scopewright.client import ClientCredentials, TokenError

MAX_RECORDED_FAILURES: Final = 100
_CONCURRENCY: Final = 64
_POLL_SECONDS: Final = 0.5
_START_SECONDS: Final = 1.0
"""Between two clients that start."""
_QUIET_SECONDS: Final = 3.0
"""Every worker of the gateway reads the feed twice in that time."""


@dataclass(slots=True)
class Sent:
    """Requests of one phase through one proxy."""

    requests: int = 0
    failed: int = 0
    """With a valid token: any first answer but 200, also if the client then succeeded with another token."""
    revoked_refused: int = 0
    revoked_accepted: int = 0


@dataclass(slots=True)
class OutageCounts:
    phase: str = ""
    sent: defaultdict[tuple[str, str], Sent] = field(default_factory=lambda: defaultdict(Sent))
    """By phase and proxy."""
    kids: set[str] = field(default_factory=set)
    """Of the keys that have signed tokens."""
    client_starts: int = 0
    failed_starts: int = 0
    """Clients that got no token while the issuer ran."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def of(self, proxy: str) -> Sent:
        return self.sent[self.phase, proxy]

    def record_failure(self, what: str, **details: Any) -> None:
        if len(self.failures) < MAX_RECORDED_FAILURES:
            at = round(time.monotonic() - self.started, 2)
            self.failures.append({"at": at, "phase": self.phase, "what": what, **details})


class OutageLoad:
    """`issuers` is held while the issuers are down: no client can start then."""

    def __init__(self, setup: OutageSetup, counts: OutageCounts) -> None:
        self._setup = setup
        self._counts = counts
        self._http = httpx.AsyncClient(timeout=10, limits=httpx.Limits(max_keepalive_connections=_CONCURRENCY))
        # The last one is the client whose token is revoked.
        *self._names, self._revoked_name = sorted(setup.mounted)
        self._clients = {name: self._client(name) for name in self._names}
        self._revoked = ""
        self.issuers = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def warm_up(self) -> None:
        """Get a token for each client, and wait until every proxy lets requests pass."""
        for client in self._clients.values():
            self._counts.kids.add(kid_of((await client.token()).value))
        async with time_limit(TIMEOUT_SECONDS, "the gateway to allow a request"):
            for proxy in self._setup.ports:
                while not (await self._ask(proxy, (await client.token()).value)).is_success:  # noqa: ASYNC110 (polled)
                    await asyncio.sleep(_POLL_SECONDS)

    async def revoke(self) -> float:
        """Revoke a token that every proxy accepts; return the seconds after which the gateway accepted it no more.

        A worker that still accepts it later is counted by `ask_with_revoked`.
        """
        client = self._client(self._revoked_name)
        self._revoked = (await client.token()).value
        for proxy in self._setup.ports:
            (await self._ask(proxy, self._revoked)).raise_for_status()
        await client.revoke(self._revoked)
        started = now = accepted = time.monotonic()
        while now < accepted + _QUIET_SECONDS:
            for proxy in self._setup.ports:
                answer = await self._ask(proxy, self._revoked)
                now = time.monotonic()
                accepted = now if answer.is_success else accepted
            await asyncio.sleep(0.02)
        return accepted - started

    async def run(self, rate: float) -> None:
        """Run forever: `rate` requests a second, by the clients in turn, through the proxies in turn."""
        at_once = asyncio.Semaphore(_CONCURRENCY)
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for name, proxy in cycle(product(self._names, self._setup.ports)):
                due = max(due + 1 / rate, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())
                await at_once.acquire()
                group.create_task(self._send(name, proxy)).add_done_callback(lambda _: at_once.release())

    async def _send(self, name: str, proxy: str) -> None:
        sent = self._counts.of(proxy)
        sent.requests += 1
        try:
            answer = await self._http.get(self._url(proxy), headers=self._host, auth=self._clients[name])
        except (httpx.HTTPError, TokenError) as error:
            sent.failed += 1
            self._counts.record_failure("no answer", proxy=proxy, client=name, why=f"{type(error).__name__} {error}")
            return
        first = [*answer.history, answer][0]
        if first.status_code != httpx.codes.OK:
            sent.failed += 1
            why = first.headers.get("WWW-Authenticate", "")
            token = first.request.headers["Authorization"].partition(" ")[2]
            details = {"status": first.status_code, "why": why, "kid": kid_of(token)}
            self._counts.record_failure("a valid token was refused", proxy=proxy, client=name, **details)

    async def ask_with_revoked(self) -> None:
        """Run forever: send the revoked token through every proxy."""
        while True:
            for proxy in self._setup.ports:
                sent = self._counts.of(proxy)
                if (await self._ask(proxy, self._revoked)).is_success:
                    sent.revoked_accepted += 1
                    self._counts.record_failure("a revoked token was accepted", proxy=proxy)
                else:
                    sent.revoked_refused += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def start_clients(self) -> None:
        """Run forever: each client starts again in turn, as a new Pod with the same mount, and gets a new token."""
        for name in cycle(self._names):
            await asyncio.sleep(_START_SECONDS)
            async with self.issuers:
                client = self._client(name)
                self._counts.client_starts += 1
                try:
                    token = await client.token()
                except TokenError as error:
                    self._counts.failed_starts += 1
                    self._counts.record_failure("a client got no token", client=name, why=str(error))
                    continue
            self._counts.kids.add(kid_of(token.value))
            self._clients[name] = client

    def _client(self, name: str) -> ClientCredentials:
        return ClientCredentials(self._setup.mounted[name], self._setup.workload.audience)

    async def _ask(self, proxy: str, token: str) -> httpx.Response:
        return await self._http.get(self._url(proxy), headers={**self._host, "Authorization": f"Bearer {token}"})

    def _url(self, proxy: str) -> str:
        return f"http://127.0.0.1:{self._setup.ports[proxy]}{PATH}"

    @property
    def _host(self) -> dict[str, str]:
        return {"Host": self._setup.workload.hostname}
