"""Revocations: kept in memory, followed, and written for other replicas and for the next start.

Entries leave memory only when they expire. So a record that was emptied or deleted is filled again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY, RECORD_LABEL, REVOCATIONS_NAME
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import UID_HASH_LENGTH, namespace_key, token_key
from scopewright.core.revocations import MAX_ENTRIES, merge, merge_all, prune, shrink_to_limits
from scopewright.core.user_revocations import ended_sessions, withdrawn_consent
from scopewright.issuer.merge_write import last_write, merge_and_write
from scopewright.issuer.user_entries import UserEntries
from scopewright.logs import OncePerProblem
from scopewright.rate_budget import Clock
from scopewright.stores import Change, Store

log: Final = logging.getLogger(__name__)

MIN_PAUSE_SECONDS: Final = 0.1
"""Between two writes. The second one has everything that was revoked meanwhile."""
MAX_PAUSE_SECONDS: Final = 1.0
_PAUSE_PER_WRITE: Final = 10
"""The pause is this many times as long as the last write, so that a large record does not load the API server."""
REVOKE_TIMEOUT_SECONDS: Final = 5.0
"""How long a revocation request waits for the write."""
_RETRY_SECONDS: Final = 1.0
_PRUNE_INTERVAL_SECONDS: Final = 60.0
_KIND: Final = "revocations"

Keep = Callable[[Ref, Callable[[], Change]], None]
"""Keeps an object in the snapshot. The function is called when the snapshot is written."""


class Revocations:
    """`record` has everything that is known; each change makes a new one. `issuer` returns the lifetimes, once known.

    A change is merged when the record is read next, and encoded when it is written: thousands of clients may be removed
    in one round of the event loop.
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
        """Revocations that are not merged into `_record` yet."""
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._keep = keep
        self._existing = Existing(self.ref, "", "", labels={MANAGED_BY: MANAGER, RECORD_LABEL: _KIND})
        self._last_written: bytes | None = None
        """The content of the last write, to ignore it when it is followed."""
        self._due = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._user_entries = UserEntries()
        self._warning = OncePerProblem(log, "revocations are not written, retrying: %s")

    @property
    def record(self) -> RevocationRecord:
        if self._pending:
            self._merge_pending()
        return self._record

    def apply(self, change: Change) -> None:
        """The object as the store or a snapshot has it. If it lacks entries, they are written."""
        if change.deleted:
            log.warning("%s was deleted; its revocations stay valid and will be written again", self.ref)
            return
        self._existing = change.existing
        content = change.entries.get(ENTRY, b"")
        if content == self._last_written:
            return
        self._last_written = None
        try:
            stored = decode(RevocationRecord, content)
        except Rejected as rejected:
            log.warning("%s is malformed and will be replaced from memory: %s", self.ref, rejected.message)
            stored = RevocationRecord()
        if self._merge(stored):
            self._due.set()

    def end(self, ended: RevocationRecord) -> None:
        """Apply revocations here at once, and write them later."""
        self._pending.append(ended)
        if len(self._pending) > MAX_ENTRIES:
            self._merge_pending()
        self._due.set()
        self._keep(self.ref, self._snapshot)

    def repeat(self, ended: RevocationRecord) -> None:
        """As `end`, for revocations that may be known already, or may be so old that no token needs them."""
        before = self.record
        self._merge(ended)
        if self._record is not before:
            self._due.set()

    def end_sessions(self, subject: str, sids: Iterable[str]) -> None:
        """End all tokens of these sessions of a user, at this time of the issuer: the store of sessions may have
        another clock, and an entry that is too old would be dropped.
        """
        self.end(ended_sessions(subject, sids, self._clock()))

    def end_consent(self, subject: str, client: str) -> None:
        """End the tokens of a user that a client has until now. `client` is the hash of its UID."""
        self.end(withdrawn_consent(subject, client, self._clock()))

    def end_grant(self, client: str, grant_id: str, subject: str) -> None:
        """End all tokens of a user by one authorization code and its refresh tokens. `client` is the hash of the
        client's UID. After many such revocations for one user, all tokens end that the client has of this user until
        now.
        """
        self.end(self._user_token(client + grant_id, subject))

    async def revoke(self, client: str, namespace: str, jti: str, expires: int) -> None:
        """Revoke a token of the client with this UID hash, here at once. Returns when it is written for all replicas.

        Raises `Unavailable` if it is not written in time. The write is retried, so it may still come into force.
        """
        owners = {client: namespace_key(namespace)}
        await self._end_written(RevocationRecord(tokens={client: {token_key(jti): expires}}, owners=owners))

    async def revoke_user_token(self, jti: str, subject: str) -> None:
        """As `revoke`, for a token of a user. Any number of revocations leaves the tokens that the client got for
        itself. Those of one user alone leave the tokens of other users.
        """
        await self._end_written(self._user_token(jti, subject))

    async def revoke_grant(self, client: str, grant_id: str, subject: str) -> None:
        """As `end_grant`; returns when it is written for all replicas, as `revoke`."""
        await self._end_written(self._user_token(client + grant_id, subject))

    def _user_token(self, jti: str, subject: str) -> RevocationRecord:
        client, key, now, record = jti[:UID_HASH_LENGTH], token_key(jti), self._clock(), self.record
        is_known = key in record.user_tokens.get(client, ())
        if is_known or self._user_entries.admits(client, subject, now, record.longest_lifetime):
            return RevocationRecord(user_tokens={client: {key: int(now)}})
        return withdrawn_consent(subject, client, now)

    async def _end_written(self, ended: RevocationRecord) -> None:
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self.end(ended)
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_SECONDS):
                await written
        except TimeoutError:
            raise Unavailable("the revocation is not written yet", retry_after=REVOKE_TIMEOUT_SECONDS) from None

    async def end_and_write(self, ended: RevocationRecord) -> None:
        """As `end`, for a process that does not `run`. Raises `Rejected` or `Unavailable` if it is not written."""
        self.end(ended)
        await self._write()

    async def run(self) -> None:
        """Write revocations as they come, and prune expired ones at intervals."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PRUNE_INTERVAL_SECONDS):
                    await self._due.wait()
            started = time.monotonic()
            failure = await self._write_and_notify()
            pause = max(MIN_PAUSE_SECONDS, _PAUSE_PER_WRITE * (time.monotonic() - started))
            await asyncio.sleep(_RETRY_SECONDS if failure else min(pause, MAX_PAUSE_SECONDS))

    async def finish(self) -> None:
        """Write once more what `run` has not written: without a snapshot, the next start would not know it."""
        if self._due.is_set():
            await last_write(self._write_and_notify(), "revocations are not written")

    async def _write_and_notify(self) -> str | None:
        """Write, and resolve the futures of `revoke`. Returns None, or why it failed; then the write stays due."""
        self._due.clear()
        waiting, self._waiting = self._waiting, []
        failure: str | None = "the issuer stops"
        try:
            failure = await self._failure_of_write()
        finally:
            if failure is not None:
                self._due.set()
            for future in waiting:
                if future.done():
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(Unavailable(failure, retry_after=_RETRY_SECONDS))
        return failure

    async def _failure_of_write(self) -> str | None:
        try:
            await self._write()
        except (Rejected, Unavailable) as error:
            failure = error.message
        except Exception:
            log.exception("writing revocations failed")
            failure = "an unexpected error"
        else:
            self._warning.clear()
            return None
        self._warning.report(failure)
        return failure

    async def _write(self) -> None:
        if self._store is None:
            raise Unavailable("there is no store to write to")
        if not await merge_and_write(self._store, self.ref, _KIND, self._merged_content):
            raise Unavailable(f"{self.ref} does not exist yet: the operator creates it")

    def _merged_content(self, stored_content: bytes) -> bytes | None:
        """None if the stored record is current."""
        try:
            stored: RevocationRecord | None = decode(RevocationRecord, stored_content)
        except Rejected:
            stored = None
        self._merge(stored or RevocationRecord())
        if self.record == stored:
            return None
        self._last_written = encode(self.record)
        return self._last_written

    def _merge(self, stored: RevocationRecord) -> bool:
        """Merge a record, and prune expired entries if the lifetimes are known. Returns whether it lacked entries."""
        issuer = self._issuer()
        before = self.record
        known = merge(before, stored)
        if issuer is not None:
            known = merge(known, RevocationRecord(longest_lifetime=issuer.max_token_lifetime))
            now, lifetime, clock_skew = self._clock(), known.longest_lifetime, issuer.clock_skew
            known, stored = prune(known, now, lifetime, clock_skew), prune(stored, now, lifetime, clock_skew)
        self._replace_record(known)
        if self._record is not before:
            self._keep(self.ref, self._snapshot)
        return self._record != stored

    def _merge_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._replace_record(merge(self._record, merge_all(pending)))

    def _replace_record(self, known: RevocationRecord) -> None:
        known = shrink_to_limits(known, self._clock())
        if known != self._record:
            self._record = known

    def _snapshot(self) -> Change:
        return Change(self._existing, {ENTRY: encode(self.record)})
