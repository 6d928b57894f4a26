"""End sessions, refresh tokens and access tokens of a user, as the user's own account page does.

The session store is changed first. Then one write of the revocation record ends the access tokens: those of the ended
sessions, and with `end_all` every token that was issued to the user until then, also one of a session that the store
has lost. If one of the two is unavailable, the other is still changed, and the result says which failed.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import user_key
from scopewright.core.revocations import merge_all
from scopewright.core.user_revocations import ended_sessions, withdrawn_consent
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import (
    Code,
    DelegatedAccess,
    Family,
    Session,
    UpstreamLogin,
    decode_stored,
    encode_stored,
)
from scopewright.issuer.users.user_record import UserRecord, VersionedUser, read_user, user_handle
from scopewright.issuer.users_admin.records import Records
from scopewright.rate_budget import Clock
from scopewright.stores.sessions.sealed import Save, Scanned, SealedSessions

_EMPTY_RECORD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """Counts of what has ended. `not_ended` lists failures with their reasons, in the order of the attempts."""

    sessions: int = 0
    refresh_tokens: int = 0
    consents: int = 0
    forgotten: int = 0
    """Further values that were deleted: codes, and what no record of the user listed."""
    is_stored_ended: bool = False
    """Whether the session store was changed, or had nothing to end."""
    are_tokens_ended: bool = False
    """Whether the revocation record is written. For `dev` it is not, which is not a failure."""
    accepted_until: float = 0.0
    """The `exp` of the last access token at the latest, in seconds since the epoch, where the feed is not followed."""
    newer: int = 0
    """Logins that began while this one ended, and have not ended."""
    not_ended: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        return not self.not_ended

    @property
    def has_ended_anything(self) -> bool:
        return self.is_stored_ended or self.are_tokens_ended


@dataclass(slots=True)
class _Revoked:
    """The sessions that `UserSessions` has ended, for one write of the revocation record."""

    sids: list[str] = field(default_factory=list)

    def __call__(self, subject: str, sids: Iterable[str]) -> None:
        self.sids.extend(sids)

    def at(self, subject: str, now: float) -> RevocationRecord:
        """One second later than now: an entry of the user that is as old would take the place of these, which also end
        the tokens that an issuer signs at this moment.
        """
        return ended_sessions(subject, self.sids, now + 1) if self.sids else RevocationRecord()


class EndUsers:
    """Methods do not raise: failures are in `Ended.not_ended`."""

    def __init__(self, records: Records, sealed: SealedSessions, clock: Clock) -> None:
        self._records = records
        self._sealed = sealed
        self._clock = clock

    async def end_all(self, subject: str, *, forget: bool = False) -> Ended:
        """End everything of the user; with `forget`, delete what else is stored of them."""
        revoked = _Revoked()
        ended = await self._stored(subject, lambda: UserSessions(self._sealed, revoked).end_user(subject))
        if forget and ended.is_stored_ended:
            ended = await self._forgotten(subject, ended)
        now = self._clock()  # after the sessions: an issuer may have signed tokens until then
        of_user = RevocationRecord(users={user_key(subject): int(now)})
        return await self._written(ended, [revoked.at(subject, now), of_user])

    async def end_session(self, subject: str, sid: str) -> Ended:
        """End one session, with those of earlier logins in its browser. One that is not the user's stays."""
        revoked = _Revoked()

        async def end() -> None:
            if sid in (await read_user(self._sealed, subject)).record.sids:
                await UserSessions(self._sealed, revoked).end(sid, subject)

        ended = await self._stored(subject, end)
        revoked(subject, [sid])  # again, if the store had ended it and the record was not written
        return await self._written(ended, [revoked.at(subject, self._clock())])

    async def end_client(self, subject: str, client_uid_hashes: Iterable[str]) -> Ended:
        """End the consents, refresh tokens and access tokens of clients. The user stays logged in."""
        hashes = tuple(client_uid_hashes)

        async def end() -> None:
            consents = Consents(self._sealed, self._records.registry.server_of)
            for uid_hash in hashes:
                await consents.withdraw(subject, uid_hash)

        ended = await self._stored(subject, end)
        now = self._clock()
        return await self._written(ended, [withdrawn_consent(subject, uid_hash, now) for uid_hash in hashes])

    async def _stored(self, subject: str, end: Callable[[], Awaitable[None]]) -> Ended:
        """The change of the store, counted by the records of the user before and after it."""
        try:
            before = (await read_user(self._sealed, subject)).record
            await end()
            after = (await read_user(self._sealed, subject)).record
        except Unavailable as failure:
            return Ended(not_ended=(f"sessions and refresh tokens: {failure.message}",))
        listed = {session.sid for session in before.sessions}
        return Ended(
            sessions=len(listed - {session.sid for session in after.sessions}),
            refresh_tokens=len({f.family for f in before.families} - {f.family for f in after.families}),
            consents=len(set(before.consents) - set(after.consents)),
            is_stored_ended=True,
            newer=len({session.sid for session in after.sessions} - listed),
        )

    async def _written(self, ended: Ended, revoked: Iterable[RevocationRecord]) -> Ended:
        revocations = self._records.revocations
        issuer = self._records.registry.require_issuer()
        lifetime = max(revocations.record.longest_lifetime, issuer.max_token_lifetime)
        until = self._clock() + lifetime
        if not self._records.can_revoke:
            return replace(ended, accepted_until=until)
        try:
            await revocations.end_and_write(merge_all(revoked))
        except (Rejected, Unavailable) as failure:
            problem = f"access tokens: {failure.message}"
            return replace(ended, accepted_until=until, not_ended=(*ended.not_ended, problem))
        return replace(ended, accepted_until=until, are_tokens_ended=True)

    async def _forgotten(self, subject: str, ended: Ended) -> Ended:
        try:
            consents = await self._forget_record(subject)
            deleted = await self._forget_rest(subject)
        except Unavailable as failure:
            problem = f"consents and other stored values: {failure.message}"
            return replace(ended, not_ended=(*ended.not_ended, problem))
        return replace(ended, consents=ended.consents + consents, forgotten=deleted)

    async def _forget_record(self, subject: str) -> int:
        """Delete the consents, and the record of the user unless they have logged in again. Returns how many
        consents there were.
        """

        async def attempt() -> int:
            stored = await read_user(self._sealed, subject)
            if stored.version:
                await save_or_lose(self._sealed, _without_consents(stored))
            return len(stored.record.consents)

        return await retry_lost(attempt)

    async def _forget_rest(self, subject: str) -> int:
        """Delete all other values that are about the user, and that none of their current sessions needs."""
        deleted = 0
        async for page in self._sealed.scan():
            likely = (scanned for scanned in page.values if subject.encode() in scanned.opened.value)
            described = ((scanned, *_subject_and_sid(scanned)) for scanned in likely)
            found = [(scanned, sid) for scanned, of, sid in described if of == subject]
            if found:
                current = (await read_user(self._sealed, subject)).record
                needed = {*current.sids, *(family.login for family in current.families)}
                rest = [scanned for scanned, sid in found if sid not in needed]
                await self._sealed.delete(rest)
                deleted += len(rest)
        return deleted


def _without_consents(stored: VersionedUser) -> Save:
    """A record without sessions and families ends at once. It is not deleted: that would succeed also after a login at
    this moment, whose session it lists.
    """
    if stored.record.sids:
        return stored.save(replace(stored.record, consents=()))
    return Save(user_handle(stored.subject), encode_stored(UserRecord()), _EMPTY_RECORD_SECONDS, stored.version)


def _subject_and_sid(scanned: Scanned) -> tuple[str, str]:
    """Of a session, a login, a code or a family; empty for other values."""
    for kind in (Session, UpstreamLogin, Code, Family):
        value = decode_stored(kind, scanned.opened)
        if isinstance(value, Code | Family):
            delegated: DelegatedAccess = value.delegated
            return delegated.subject, delegated.sid
        if isinstance(value, Session | UpstreamLogin):
            return value.subject, value.sid
    return "", ""
