"""When credentials were last used, reported in batches: a dict entry per token, one write every few minutes.

The report is informational. No token is refused because it is lost or cannot be written.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import USAGE_NAME
from scopewright.core.records.written_by_issuers import UsageRecord, usage_key
from scopewright.issuer.merge_write import last_write, merge_and_write, pause_after_conflict
from scopewright.issuer.tokens.sign import Randomness
from scopewright.logs import OncePerProblem
from scopewright.rate_budget import Clock
from scopewright.stores import Store

log: Final = logging.getLogger(__name__)

REPORT_INTERVAL_SECONDS: Final = 300.0
_KEPT_MINUTES: Final = 24 * 60
"""How long the use of a credential unknown to this issuer is kept: another replica may know it already."""


class CredentialUsage:
    """Notes uses. `run` reports them into the issuer's namespace, every `interval` seconds.

    `known` returns the digests of all live credentials.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        known: Callable[[], Iterable[bytes]],
        clock: Clock,
        interval: float = REPORT_INTERVAL_SECONDS,
        random: Randomness = os.urandom,
    ) -> None:
        self._store = store
        self._ref = Ref("ConfigMap", namespace, USAGE_NAME)
        self._known = known
        self._clock = clock
        self._interval = interval
        self._random = random
        self._used: dict[bytes, float] = {}
        self._warning = OncePerProblem(log, "credential usage is not reported, retrying with the next report: %s")

    def note(self, digest: bytes, now: float) -> None:
        """The credential with this SHA-256 was accepted; `now` in seconds since the epoch."""
        self._used[digest] = now

    async def run(self) -> None:
        """Starts after a random part of the interval, so that workers do not write at the same time."""
        await asyncio.sleep(self._interval * self._fraction())
        while True:
            await self.report()
            await asyncio.sleep(self._interval)

    async def report(self) -> None:
        """Write the noted uses. After a failure they are part of the next report."""
        if not self._used:
            return
        noted, self._used = self._used, {}
        try:
            # Without the record, the operator is older than this issuer: there is nothing to report to.
            await merge_and_write(
                self._store, self._ref, "usage", lambda stored: self._merge(stored, noted), self._pause
            )
        except (Rejected, Unavailable) as failure:
            self._warning.report(failure.message)
            self._used = noted | self._used
        else:
            self._warning.clear()

    async def finish(self) -> None:
        await last_write(self.report(), "the last credential usage is not reported")

    def _pause(self, attempt: int) -> float:
        return pause_after_conflict(attempt, self._fraction())

    def _fraction(self) -> float:
        """A random number from 0 to 1."""
        return int.from_bytes(self._random(2)) / 0xFFFF

    def _merge(self, stored: bytes, noted: dict[bytes, float]) -> bytes | None:
        """The later instant of each, without expired ones. Sorted, so that equal uses are equal bytes."""
        before = decode(UsageRecord, stored)
        used = dict(before.used)
        for digest, instant in noted.items():
            key = usage_key(digest.hex())
            used[key] = max(used.get(key, 0), int(instant // 60))
        known = {usage_key(digest.hex()) for digest in self._known()}
        recent = int(self._clock() // 60) - _KEPT_MINUTES
        used = {key: used[key] for key in sorted(used) if key in known or used[key] >= recent}
        return None if used == before.used else encode(replace(before, used=used))
