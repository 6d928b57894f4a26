"""Guards against replicas that do not share a session store: a login or logout at one is unknown to the other.

The issuer reports its store in the usage record, which it follows, and refuses users while another store is in use. It
does not refuse them because the API server is away: the record that it read last counts.
"""

import asyncio
import logging
import random
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import ENTRY, USAGE_NAME
from scopewright.core.records.written_by_issuers import UsageRecord
from scopewright.core.session_stores import ADVICE, NOT_SHARED, KnownStores, store_key
from scopewright.issuer.merge_write import last_write, merge_and_write, pause_after_conflict
from scopewright.logs import OncePerProblem
from scopewright.rate_budget import Clock
from scopewright.stores import Change, Store
from scopewright.stores.sessions import SessionStore

log: Final = logging.getLogger(__name__)

ROUND_SECONDS: Final = 15.0
"""Between two reports while another store is reported, and between two looks at the id of the own store."""
RETRY_AFTER_SECONDS: Final = 30.0
_SPREAD_SECONDS: Final = 0.5
"""Maximum pause after a change of the record: all issuers see it at the same time."""


class SessionStoreGuard:
    """`apply` takes each change of the usage record. `run` reports, and decides."""

    def __init__(self, store: Store, namespace: str, sessions: SessionStore, clock: Clock) -> None:
        self.ref = Ref("ConfigMap", namespace, USAGE_NAME)
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._record: UsageRecord | None = None
        """As last followed or read; None: not yet, or it is malformed."""
        self._known = KnownStores("")
        self._due = asyncio.Event()
        self._warning = OncePerProblem(log, "the session store is not reported, retrying: %s")
        self._apart = OncePerProblem(log, "users cannot log in: %s")

    @property
    def is_shared(self) -> bool:
        """Whether no issuer of the installation is known to use another session store."""
        return not self._known.apart

    def require_shared(self) -> None:
        """Raises `Unavailable`, with what to do, while another session store is in use."""
        if self._known.apart:
            raise Unavailable(ADVICE, retry_after=RETRY_AFTER_SECONDS, reason=NOT_SHARED, refused=True)

    def apply(self, change: Change) -> None:
        """Apply a change of the usage record. Its deletion says nothing about the stores."""
        if not change.deleted:
            self._record = _decoded(change.entries.get(ENTRY, b""))
            self._due.set()

    async def run(self) -> None:
        """Check the reports after each change of the record, and in rounds."""
        loop = asyncio.get_running_loop()
        next_round = loop.time() + with_jitter(ROUND_SECONDS)
        while True:
            try:
                async with asyncio.timeout_at(next_round):
                    await self._due.wait()
                    await asyncio.sleep(random.uniform(0, _SPREAD_SECONDS))  # noqa: S311 (spreads load, hides nothing)
            except TimeoutError:
                next_round = loop.time() + with_jitter(ROUND_SECONDS)
                await self.check(is_round=True)
            else:
                await self.check()

    async def check(self, *, is_round: bool = False) -> None:
        """Look at the record, and report if there is something new. In a round the record is read again, if another
        store is reported.
        """
        self._due.clear()
        before = self._record
        if before is None:
            return
        try:
            own = store_key(await self._sessions.store_id())
        except Unavailable:
            return  # users are refused for that, and the store has logged it
        if own != self._known.own:
            self._known = self._known.moved_to(own)
        read = before.session_stores.keys()
        if is_round and self._known.others(before.session_stores):
            await self._report(read, is_round=True)
            return
        self._known = self._known.seen(before.session_stores)
        if self._known.update(before.session_stores, int(self._clock()), read) is None:
            self._known = self._known.reported(before.session_stores)
        else:
            await self._report(read, is_round=False)
        self._log()

    async def finish(self) -> None:
        """Remove the report, if there is another store: the issuers of that one go on at once."""
        if self._record is not None and self._known.others(self._record.session_stores):
            write = merge_and_write(self._store, self.ref, "usage", self._without_own, _pause)
            await last_write(write, "the report of the session store stays, for about a minute")

    async def _report(self, read: Collection[str], *, is_round: bool) -> None:
        seen = self._known, self._record

        def merge(content: bytes) -> bytes | None:
            nonlocal seen
            record = decode(UsageRecord, content)
            known = self._known.seen(record.session_stores, is_round=is_round)
            stores = known.update(record.session_stores, int(self._clock()), read, is_round=is_round)
            written = record if stores is None else replace(record, session_stores=stores)
            seen = known.seen(written.session_stores).reported(written.session_stores), written
            return None if stores is None else encode(written)

        try:
            if await merge_and_write(self._store, self.ref, "usage", merge, _pause):
                self._known, self._record = seen
        except (Rejected, Unavailable) as failure:
            self._warning.report(failure.message)
        else:
            self._warning.clear()
        self._log()

    def _without_own(self, content: bytes) -> bytes | None:
        record = decode(UsageRecord, content)
        stores = {key: report for key, report in record.session_stores.items() if key != self._known.own}
        return encode(replace(record, session_stores=stores)) if stores != record.session_stores else None

    def _log(self) -> None:
        if self._known.apart:
            self._apart.report(ADVICE)
        else:
            self._apart.clear("users can log in again: no other session store is in use")


def _decoded(content: bytes) -> UsageRecord | None:
    try:
        return decode(UsageRecord, content)
    except Rejected:
        return None  # the next report of usage warns of it


def _pause(attempt: int) -> float:
    return pause_after_conflict(attempt, random.random())  # noqa: S311 (spreads load, hides nothing)
