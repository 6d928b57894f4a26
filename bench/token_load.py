"""The load: clients that read mounted files and ask for tokens, and verifiers with caches."""

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
from bench.waiting import within
from scopewright.client import AccessToken, ClientCredentials, MountedSecret, TokenError
from scopewright.verifier import Rejected, Unavailable, Verifier, discovery

AT_ONCE: Final = 32
BEFORE_END: Final = 2.0
"""Seconds before its `exp` at which a token is verified for the second time."""
PATIENCE: Final = 10.0
FINISH_PATIENCE: Final = 60.0
"""Seconds beyond the end of the last token, for a machine that is busy."""


class Verifiers:
    """Some honour the max-age of the JWKS; the last one keeps it for as long as `publishAhead` allows."""

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
        # They never fetch oftener than every 30 s, whatever the max-age: that is scaled down with all other periods.
        lowest, highest = discovery.MAX_AGE_BOUNDS
        discovery.MAX_AGE_BOUNDS = (min(lowest, 1.0), highest)
        self._counts = counts
        self._random = random
        ages = [*[None] * ordinary, slow_max_age]
        self._all = [
            Verifier(issuer, audience, http=http(Failover(pool, ports, counts, max_age=age)), leeway=5) for age in ages
        ]
        self._again: asyncio.Queue[tuple[AccessToken, int]] = asyncio.Queue()
        self._last_end = 0.0
        """When the last of the tokens expires."""

    async def first(self, token: AccessToken) -> None:
        n = self._random.randrange(len(self._all))
        await self._verify(token, n, "at issue")
        self._last_end = max(self._last_end, token.expires_at)
        self._again.put_nowait((token, n))

    async def second(self) -> None:
        """For ever: by another one than at first, so that no memory of the token helps. All live equally long."""
        while True:
            token, n = await self._again.get()
            await asyncio.sleep(token.expires_at - BEFORE_END - time.time())
            await self._verify(token, (n + 1) % len(self._all), "before its end")
            self._again.task_done()

    async def finish(self) -> None:
        """Once every token has been seen twice."""
        left = max(self._last_end - time.time(), 0.0)
        async with within(left + FINISH_PATIENCE, "the last tokens to be verified before their end"):
            await self._again.join()

    async def _verify(self, token: AccessToken, n: int, when: str) -> None:
        self._counts.verifications += 1
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await self._all[n].verify(token.value)
            except Unavailable as wait:
                self._counts.verifier_waits += 1
                if time.monotonic() > deadline:
                    self._refused(token, n, when, "no keys could be had")
                    return
                await asyncio.sleep(wait.retry_after)
            except Rejected as refusal:
                if time.time() >= token.expires_at:  # we came late; that says nothing
                    self._counts.verified_too_late += 1
                    return
                self._refused(token, n, when, refusal.reason.value)
                return
            else:
                return

    def _refused(self, token: AccessToken, n: int, when: str, why: str) -> None:
        kid, now = kid_of(token.value), time.time()
        self._counts.refused_valid_tokens += 1
        self._counts.tell(
            f"a valid token was refused {when}",
            why=why,
            verifier="slow" if n == len(self._all) - 1 else f"ordinary {n}",
            kid=kid,
            seconds_since_published=round(now - self._counts.published.get(kid, now), 2),
            seconds_since_first_signed=round(now - self._counts.signing.get(kid, now), 2),
        )


class Callers:
    """`rate` requests a second in all, each by the next client, for ever."""

    def __init__(
        self,
        mounts: dict[str, Path],
        pool: httpx.AsyncBaseTransport,
        ports: Sequence[int],
        verifiers: Verifiers,
        counts: Counts,
        rate: float,
    ) -> None:
        self._http = http(Failover(pool, ports, counts))
        self._secrets = {client_id: MountedSecret(folder) for client_id, folder in mounts.items()}
        self._turns: Iterator[str] = cycle(self._secrets)
        self._verifiers = verifiers
        self._counts = counts
        self._every = 1 / rate
        self._next = time.monotonic()

    async def warm_up(self, seconds: float) -> None:
        """Until each client has got a token. Nothing is counted; what signed so far is no rotation."""
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
            for _ in range(AT_ONCE):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            now = time.monotonic()
            self._next = max(self._next + self._every, now - 1)
            await asyncio.sleep(self._next - now)
            await self._call(next(self._turns))

    async def _call(self, client_id: str) -> None:
        self._counts.token_requests += 1
        statuses: list[int] = []
        STATUSES.set(statuses)
        token = failure = None
        began = time.monotonic()
        try:
            token = await self._token(self._secrets[client_id])
        except TokenError as error:
            failure = str(error)
        if failure or 401 in statuses:
            self._counts.failed_token_requests += 1
            took = round(time.monotonic() - began, 2)
            self._counts.tell("a token request failed", client=client_id, why=failure, statuses=statuses, took=took)
        if token is not None:
            self._counts.signed(kid_of(token.value), token.issued_at)
            await self._verifiers.first(token)

    async def _token(self, secret: MountedSecret) -> AccessToken:
        """A new one each time: what a client keeps of the last one is no load for anybody."""
        return await ClientCredentials(secret, http=self._http).token()


def kid_of(token: str) -> str:
    header = token.partition(".")[0]
    content: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    return str(content["kid"])
