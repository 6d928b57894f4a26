"""The load: clients that read mounted Secrets and request tokens, and verifiers that cache the JWKS."""

import asyncio
import base64
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import orjson

from bench.counts import Counts
from bench.failover import STATUSES, Failover, http
from bench.timeouts import time_limit
from scopewright.client import AccessToken, ClientCredentials, MountedSecret, TokenError
from scopewright.verifier import KeysUnavailable, TokenRejected, Verifier, discovery

CONCURRENCY: Final = 32
SECONDS_BEFORE_EXPIRY: Final = 2.0
"""Interval between the second verification of a token and its `exp`."""
TIMEOUT_SECONDS: Final = 10.0
FINISH_TIMEOUT_SECONDS: Final = 60.0
"""Allowance after the expiry of the last token, for a busy machine."""


class VerifierPool:
    """Verifiers that honour the max-age of the JWKS, and one that caches it for as long as `publishAhead` allows."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        pool: httpx.AsyncBaseTransport,
        ports: Sequence[int],
        counts: Counts,
        random: Random,
        *,
        ordinary: int,
        slow_max_age: float,
    ) -> None:
        # The verifier's lower bound of 30 s between fetches is scaled down with all other periods.
        lowest, highest = discovery.MAX_AGE_BOUNDS_SECONDS
        discovery.MAX_AGE_BOUNDS_SECONDS = (min(lowest, 1.0), highest)
        self._counts = counts
        self._random = random
        ages = [*[None] * ordinary, slow_max_age]
        self._all = [
            Verifier(issuer, audience, http=http(Failover(pool, ports, counts, max_age=age)), leeway=5) for age in ages
        ]
        self._pending: asyncio.Queue[tuple[AccessToken, int]] = asyncio.Queue()
        self._last_expiry = 0.0
        """The latest `exp` of all tokens, in seconds since 1970."""

    async def verify_at_issue(self, token: AccessToken) -> None:
        n = self._random.randrange(len(self._all))
        await self._verify(token, n, "at issue")
        self._last_expiry = max(self._last_expiry, token.expires_at)
        self._pending.put_nowait((token, n))

    async def verify_before_expiry(self) -> None:
        """Run forever: verify each token again, with another verifier, whose cache of tokens does not have it.

        All tokens have the same lifetime, so the queue is in the order of expiry.
        """
        while True:
            token, n = await self._pending.get()
            await asyncio.sleep(token.expires_at - SECONDS_BEFORE_EXPIRY - time.time())
            await self._verify(token, (n + 1) % len(self._all), "before its expiry")
            self._pending.task_done()

    async def finish(self) -> None:
        """Wait until every token has been verified twice."""
        left = max(self._last_expiry - time.time(), 0.0)
        async with time_limit(left + FINISH_TIMEOUT_SECONDS, "the last tokens to be verified before their expiry"):
            await self._pending.join()

    async def _verify(self, token: AccessToken, n: int, when: str) -> None:
        self._counts.verifications += 1
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                await self._all[n].verify(token.value)
            except KeysUnavailable as wait:
                self._counts.verifier_waits += 1
                if time.monotonic() > deadline:
                    self._record_refusal(token, n, when, "no keys were available")
                    return
                await asyncio.sleep(wait.retry_after)
            except TokenRejected as refusal:
                if time.time() >= token.expires_at:  # the verification was late: not a failure of the issuer
                    self._counts.verified_too_late += 1
                    return
                self._record_refusal(token, n, when, refusal.reason.value)
                return
            else:
                return

    def _record_refusal(self, token: AccessToken, n: int, when: str, why: str) -> None:
        kid, now = kid_of(token.value), time.time()
        self._counts.refused_valid_tokens += 1
        self._counts.record_failure(
            f"a valid token was refused {when}",
            why=why,
            verifier="slow" if n == len(self._all) - 1 else f"ordinary {n}",
            kid=kid,
            seconds_since_published=round(now - self._counts.first_published.get(kid, now), 2),
            seconds_since_first_signed=round(now - self._counts.first_signed.get(kid, now), 2),
        )


class TokenClients:
    """`rate` token requests a second in all, by the clients in turn."""

    def __init__(
        self,
        mounted: dict[str, Path],
        pool: httpx.AsyncBaseTransport,
        ports: Sequence[int],
        verifiers: VerifierPool,
        counts: Counts,
        rate: float,
    ) -> None:
        self._http = http(Failover(pool, ports, counts))
        self._secrets = {client_id: MountedSecret(folder) for client_id, folder in mounted.items()}
        self._client_ids: Iterator[str] = cycle(self._secrets)
        self._verifiers = verifiers
        self._counts = counts
        self._interval = 1 / rate
        self._next = time.monotonic()

    async def warm_up(self, seconds: float) -> None:
        """Get a token for each client. Nothing is counted, and the keys of these tokens do not count as rotated."""
        deadline = time.monotonic() + seconds
        for secret in self._secrets.values():
            while True:
                try:
                    token = await self._token(secret)
                except TokenError:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.2)
                else:
                    self._counts.first_kids.add(kid_of(token.value))
                    break

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            now = time.monotonic()
            self._next = max(self._next + self._interval, now - 1)
            await asyncio.sleep(self._next - now)
            await self._request_and_verify(next(self._client_ids))

    async def _request_and_verify(self, client_id: str) -> None:
        self._counts.token_requests += 1
        statuses: list[int] = []
        STATUSES.set(statuses)
        token = failure = None
        started = time.monotonic()
        try:
            token = await self._token(self._secrets[client_id])
        except TokenError as error:
            failure = str(error)
        if failure or 401 in statuses:
            self._counts.failed_token_requests += 1
            took = round(time.monotonic() - started, 2)
            details = {"client": client_id, "why": failure, "statuses": statuses, "took": took}
            self._counts.record_failure("a token request failed", **details)
        if token is not None:
            self._counts.record_signed(kid_of(token.value), token.issued_at)
            await self._verifiers.verify_at_issue(token)

    async def _token(self, secret: MountedSecret) -> AccessToken:
        """A new ClientCredentials each time: a cached token would put no load on the issuer."""
        return await ClientCredentials(secret, http=self._http).token()


def kid_of(token: str) -> str:
    header = token.partition(".")[0]
    content: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    return str(content["kid"])
