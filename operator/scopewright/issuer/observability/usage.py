"""When credentials were last used, reported in batches: a dictionary entry a token, one write every few minutes.

The report is a hint. Losing it, or never being allowed to write it, costs nobody a token.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import Final

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Ref
from scopewright.core.records import ENTRY, RECORD_LABEL, USAGE_NAME, UsageRecord, decode, encode, usage_key
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.tokens.sign import Randomness
from scopewright.stores import Store

log: Final = logging.getLogger(__name__)

EVERY: Final = 300.0
"""Seconds between reports."""
LAST: Final = 2.0
"""Seconds that the last report may take when the issuer stops."""
_TRIES: Final = 8
_PAUSE: Final = 0.05
"""Seconds, at most, after the first conflict; after each other one twice as long."""
_KEPT: Final = 24 * 60
"""Minutes that a report of a credential stays which this issuer does not know: another replica may be ahead of it."""


class CredentialUsage:
    """Notes uses; `run` reports them into the issuer's namespace. `known` are the digests of all live credentials."""

    def __init__(
        self,
        store: Store,
        namespace: str,
        known: Callable[[], Iterable[bytes]],
        clock: Clock,
        random: Randomness = os.urandom,
    ) -> None:
        self._store = store
        self._ref = Ref("ConfigMap", namespace, USAGE_NAME)
        self._known = known
        self._clock = clock
        self._random = random
        self._used: dict[bytes, float] = {}
        self._said = ""

    def note(self, digest: bytes, now: float) -> None:
        """The credential with this SHA-256 was accepted; `now` in seconds since the epoch."""
        self._used[digest] = now

    async def run(self, every: float = EVERY) -> None:
        """At an instant of its own within each period: workers that began together do not write together."""
        await asyncio.sleep(every * self._fraction())
        while True:
            await self.report()
            await asyncio.sleep(every)

    async def report(self) -> None:
        """Write what was noted. What cannot be written now is written with the next report."""
        if not self._used:
            return
        noted, self._used = self._used, {}
        try:
            for tried in range(_TRIES):
                if await self._written(noted):
                    self._said = ""
                    return
                await asyncio.sleep(_PAUSE * 2**tried * self._fraction())
        except (Rejected, Unavailable) as failure:
            if failure.message != self._said:
                log.warning("the use of credentials is not reported: %s", failure.message)
            self._said = failure.message
        self._used = noted | self._used

    async def finish(self) -> None:
        """The last report, as far as the store takes it in time: nothing else waits for it."""
        try:
            async with asyncio.timeout(LAST):
                await self.report()
        except TimeoutError:
            log.warning("the last use of credentials is not reported: the store takes longer than %s s", LAST)
        except Exception:
            log.exception("the last use of credentials is not reported")

    async def _written(self, noted: dict[bytes, float]) -> bool:
        """False after a conflict. Where there is no report to write to, the operator is older than this issuer."""
        found = await self._store.read(self._ref)
        if found is None:
            return True
        existing, entries = found
        before = decode(UsageRecord, entries.get(ENTRY, b""))
        used = self._merged(before.used, noted)
        if used == before.used:
            return True
        content = encode(UsageRecord(since=before.since, used=used))
        labels = {MANAGED_BY: MANAGER, RECORD_LABEL: "usage"}
        try:
            await self._store.write(Desired(self._ref, entries={ENTRY: content}, labels=labels, replaces=existing))
        except Conflict:
            return False
        return True

    def _fraction(self) -> float:
        """From 0 to 1."""
        return int.from_bytes(self._random(2)) / 0xFFFF

    def _merged(self, before: dict[str, int], noted: dict[bytes, float]) -> dict[str, int]:
        """The later of each, without what is over; sorted, so that the same uses are the same bytes."""
        used = dict(before)
        for digest, instant in noted.items():
            key = usage_key(digest.hex())
            used[key] = max(used.get(key, 0), int(instant // 60))
        known = {usage_key(digest.hex()) for digest in self._known()}
        recent = int(self._clock() // 60) - _KEPT
        return {key: used[key] for key in sorted(used) if key in known or used[key] >= recent}
