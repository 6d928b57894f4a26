"""What has ended before its time: kept in memory, followed, and written for every replica and for the next start.

Memory only grows, but for what time takes out: whoever empties or deletes the object finds it filled again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Existing, Ref
from scopewright.core.records import (
    ENTRY,
    RECORD_LABEL,
    REVOCATIONS_NAME,
    IssuerRecord,
    RevocationRecord,
    decode,
    encode,
)
from scopewright.core.revocations import MAX_ENTRIES, fold, merge, merge_all, namespace_key, prune, token_key
from scopewright.issuer.rate_budget import Clock
from scopewright.stores import Change, Store

log: Final = logging.getLogger(__name__)

PAUSE: Final = 0.1
"""Seconds between two writes at least: whatever comes meanwhile is in the second one."""
LONGEST_PAUSE: Final = 1.0
_REST: Final = 10
"""Between them there are ten times as many seconds as the write took: a large record must not keep everybody busy."""
TIMEOUT: Final = 5.0
"""Seconds that a revocation waits until it is written."""
LAST: Final = 2.0
"""Seconds that the last write may take when the issuer stops."""
_AGAIN: Final = 1.0
_TIDY: Final = 60.0
_TRIES: Final = 5
_LABELS: Final = {MANAGED_BY: MANAGER, RECORD_LABEL: "revocations"}

Keep = Callable[[Ref, Callable[[], Change]], None]
"""Takes what makes the content of the snapshot, once it is written."""


class Revocations:
    """`record` is all that is known; each change makes a new one. `issuer` gives lifetimes, once they are known.

    A change costs what it holds. What comes between two readings of the record is merged into it by the second one, and
    is encoded when it is written: thousands of clients may be removed in one turn of the event loop.
    """

    def __init__(
        self,
        store: Store | None,
        namespace: str,
        clock: Clock,
        issuer: Callable[[], IssuerRecord | None],
        keep: Keep = lambda ref, make: None,
    ) -> None:
        self.ref = Ref("ConfigMap", namespace, REVOCATIONS_NAME)
        self._record = RevocationRecord()
        self._pending: list[RevocationRecord] = []
        """What has ended and is not in `_record` yet."""
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._keep = keep
        self._existing = Existing(self.ref, "", "", labels=_LABELS)
        self._own: bytes | None = None
        """What was written last: coming back, it is no news."""
        self._due = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._said = ""

    @property
    def record(self) -> RevocationRecord:
        if self._pending:
            self._settle()
        return self._record

    def take(self, change: Change) -> None:
        """The object as it was followed, or kept in a snapshot. What it lacks, it gets."""
        if change.deleted:
            log.warning("%s is gone; what it held stays in force and will be written again", self.ref)
            return
        self._existing = change.existing
        content = change.entries.get(ENTRY, b"")
        if content == self._own:
            return
        self._own = None
        try:
            theirs = decode(RevocationRecord, content)
        except Rejected as rejected:
            log.warning("%s is malformed and will be made anew from memory: %s", self.ref, rejected.message)
            theirs = RevocationRecord()
        if self._merge(theirs):
            self._due.set()

    def end(self, ended: RevocationRecord) -> None:
        """This has ended, and is in force here from now on; writing it may take a while."""
        self._pending.append(ended)
        if len(self._pending) > MAX_ENTRIES:
            self._settle()
        self._due.set()
        self._keep(self.ref, self._kept)

    async def revoke(self, client: str, namespace: str, jti: str, expires: int) -> None:
        """The token of the client with this UID hash has ended, here and, once this returns, everywhere.

        `Unavailable` where that could not be written: it is tried again, and may still come into force.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        owners = {client: namespace_key(namespace)}
        self.end(RevocationRecord(tokens={client: {token_key(jti): expires}}, owners=owners))
        try:
            async with asyncio.timeout(TIMEOUT):
                await written
        except TimeoutError:
            raise Unavailable("the revocation is not written yet", retry_after=TIMEOUT) from None

    async def run(self) -> None:
        """Write what is not written yet, for ever; and now and then take out what is over."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TIDY):
                    await self._due.wait()
            begun = time.monotonic()
            failure = await self._round()
            took = time.monotonic() - begun
            await asyncio.sleep(_AGAIN if failure else min(max(PAUSE, _REST * took), LONGEST_PAUSE))

    async def finish(self) -> None:
        """Write what `run` has not written, once: without a snapshot, the next start could not know it."""
        if not self._due.is_set():
            return
        try:
            async with asyncio.timeout(LAST):
                await self._round()
        except TimeoutError:
            log.warning("revocations are not written: the issuer stops, and the store takes longer than %s s", LAST)

    async def _round(self) -> str | None:
        """Write, and tell those who wait for it. None, or why not; then it stays due."""
        self._due.clear()
        waiting, self._waiting = self._waiting, []
        failure: str | None = "the issuer stops"
        try:
            failure = await self._written()
        finally:
            if failure is not None:
                self._due.set()
            for future in waiting:
                if future.done():
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(Unavailable(failure, retry_after=_AGAIN))
        return failure

    async def _written(self) -> str | None:
        """None, or why not."""
        try:
            for _ in range(_TRIES):
                if await self._write():
                    self._said = ""
                    return None
            trouble = "others write all the time"
        except (Rejected, Unavailable) as failure:
            trouble = failure.message
        except Exception:
            log.exception("writing revocations failed")
            trouble = "an unexpected error"
        if trouble != self._said:
            log.warning("revocations are not written: %s", trouble)
        self._said = trouble
        return trouble

    async def _write(self) -> bool:
        """False after a conflict."""
        if self._store is None:
            raise Unavailable("there is no store to write to")
        found = await self._store.read(self.ref)
        if found is None:
            raise Unavailable(f"{self.ref} is not there: the operator makes it")
        existing, entries = found
        try:
            theirs: RevocationRecord | None = decode(RevocationRecord, entries.get(ENTRY, b""))
        except Rejected:
            theirs = None
        self._merge(theirs or RevocationRecord())
        if self.record == theirs:
            return True
        content = encode(self.record)
        try:
            await self._store.write(Desired(self.ref, entries={ENTRY: content}, labels=_LABELS, replaces=existing))
        except Conflict:
            return False
        self._own = content
        return True

    def _merge(self, theirs: RevocationRecord) -> bool:
        """Know this too, and forget what is over, once lifetimes are known; whether more is known than this."""
        issuer = self._issuer()
        before = self.record
        known = merge(before, theirs)
        if issuer is not None:
            known = merge(known, RevocationRecord(longest_lifetime=issuer.max_token_lifetime))
            now, lifetime, skew = self._clock(), known.longest_lifetime, issuer.clock_skew
            known, theirs = prune(known, now, lifetime, skew), prune(theirs, now, lifetime, skew)
        self._become(known)
        if self._record is not before:
            self._keep(self.ref, self._kept)
        return self._record != theirs

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        self._become(merge(self._record, merge_all(pending)))

    def _become(self, known: RevocationRecord) -> None:
        known = fold(known, self._clock())
        if known != self._record:
            self._record = known

    def _kept(self) -> Change:
        return Change(self._existing, {ENTRY: encode(self.record)})
