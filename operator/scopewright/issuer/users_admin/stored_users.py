"""Reads the users with sessions or refresh tokens from the session store."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from scopewright.issuer.state.clients import ClientIndex
from scopewright.issuer.state.providers import ProviderIndex
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.issuer.users.sessions import live_session
from scopewright.issuer.users.stored import Session
from scopewright.issuer.users.user_record import Consent, UserRecord, VersionedUser, read_user, session_handle, user_of
from scopewright.issuer.users.user_record import user_handle as handle_of
from scopewright.stores.sessions.sealed import Scanned, SealedSessions

MAX_HANDLES: Final = 100
"""In one read of the store, so that requests of users need not wait for a long one."""

_OF_SESSION: Final = b'"secret_sha256"'
"""In the JSON of each session, and of no other value."""


@dataclass(frozen=True, slots=True)
class StoredApplication:
    """A client with refresh tokens or consents of a user."""

    client: str
    """`<namespace>/<name>`; empty: it was deleted and had no consent."""
    client_uid_hash: str
    is_deleted: bool
    """Whether the client was deleted, or another client has its name now."""
    refresh_tokens: int = 0
    offline_sids: tuple[str, ...] = ()
    """Of the sessions of refresh tokens with `offline_access`, which outlive the browser."""
    consents: tuple[Consent, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredUser:
    """Sessions are those of browsers, the latest login first. `offline` are those of refresh tokens."""

    subject: str
    sessions: tuple[Session, ...]
    offline: tuple[Session, ...]
    applications: tuple[StoredApplication, ...]

    @property
    def latest(self) -> Session | None:
        """The session whose claims are the latest; None: the user has none."""
        return max((*self.sessions, *self.offline), key=lambda session: session.checked_time, default=None)

    def claim(self, name: str) -> str:
        """A claim of the provider, as text that may have any characters; empty: it sent none."""
        value = self.latest.claims.get(name) if self.latest else None
        return value if isinstance(value, str) else ""

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(sorted({session.provider for session in (*self.sessions, *self.offline)}))

    def matches(self, text: str) -> bool:
        """Whether the `sub` begins with the text, or a name or the e-mail address contains it, in any case."""
        folded = text.casefold()
        names = (self.claim(name).casefold() for name in ("email", "preferred_username", "name"))
        return self.subject.startswith(folded) or any(folded in name for name in names)


@dataclass(slots=True)
class StoredUsers:
    """All methods raise `Unavailable` while the store is away. `unreadable` counts what a listing could not open."""

    sealed: SealedSessions
    clients: ClientIndex
    providers: ProviderIndex
    unreadable: int = 0
    _client_ids: dict[str, str] = field(init=False)
    """By hash of the UID, as the clients are now: not looked up anew for each of many users."""

    def __post_init__(self) -> None:
        self._client_ids = {client.uid_hash: client.client_id for client in self.clients}

    async def every(self) -> AsyncIterator[StoredUser]:
        """Each user with a session or refresh token once, in no order, as they are found. Users who log in meanwhile
        may be missing.
        """
        seen = set[str]()
        async for page in self.sealed.scan():
            self.unreadable += page.unreadable
            found = dict[str, Session]()
            for scanned in page.values:
                session = self._session(scanned, page.now)
                if session is not None:
                    found[session.sid] = session
            new = dict.fromkeys(session.subject for session in found.values() if session.subject not in seen)
            seen.update(new)
            for stored in await self._records([*new]):
                user = await self._user(stored, found)
                if user.sessions or user.offline:
                    yield user

    async def one(self, subject: str) -> StoredUser:
        """What is stored of a user, also if that is nothing."""
        return await self._user(await read_user(self.sealed, subject), {})

    def end_of_provider(self, session: Session) -> str:
        """Why no request accepts the session any more; empty: none is known."""
        if session.provider == DEVELOPER:
            return ""
        provider = self.providers.find(session.provider, session.provider_uid)
        if provider is None:
            return "deleted"
        return "revokedBefore" if provider.has_ended_login(session.begun_time) else ""

    def _session(self, scanned: Scanned, now: float) -> Session | None:
        """None if it is another value, or of another installation."""
        if _OF_SESSION not in scanned.opened.value:
            return None
        session = live_session(scanned.opened, now)
        return session if session is not None and self.sealed.is_under(scanned, session_handle(session.sid)) else None

    async def _records(self, subjects: list[str]) -> list[VersionedUser]:
        found = list[VersionedUser]()
        for some in _chunks(subjects):
            read = await self.sealed.read(*map(handle_of, some))
            found += (user_of(subject, opened, read.now) for subject, opened in zip(some, read.values, strict=True))
        return found

    async def _user(self, stored: VersionedUser, known: dict[str, Session]) -> StoredUser:
        sessions = {sid: known[sid] for sid in stored.record.sids if sid in known}
        for some in _chunks([sid for sid in stored.record.sids if sid not in sessions]):
            read = await self.sealed.read(*map(session_handle, some))
            live = (live_session(opened, read.now) for opened in read.values)
            sessions |= {session.sid: session for session in live if session is not None}
        browsers = [sessions[each.sid] for each in stored.record.sessions if each.sid in sessions]
        offline = [sid for sid in sessions if not stored.record.lists_session(sid)]
        return StoredUser(
            stored.subject,
            tuple(reversed(browsers)),
            tuple(sessions[sid] for sid in offline),
            tuple(applications_of(stored.record, self._client_ids)),
        )


def applications_of(record: UserRecord, names: Mapping[str, str]) -> Iterator[StoredApplication]:
    """In the order of their names, those of deleted clients last. `names` are the ids of clients by `uid_hash`."""
    former = {consent.client_uid_hash: consent.client_id for consent in record.consents}
    hashes = dict.fromkeys([*former, *(family.client_uid_hash for family in record.families)])
    for uid_hash in sorted(hashes, key=lambda each: (each not in names, names.get(each) or former.get(each, ""), each)):
        families = [family for family in record.families if family.client_uid_hash == uid_hash]
        yield StoredApplication(
            client_reference(names.get(uid_hash) or former.get(uid_hash, "")),
            uid_hash,
            uid_hash not in names,
            len(families),
            tuple(dict.fromkeys(each.sid for each in families if not record.lists_session(each.sid))),
            tuple(consent for consent in record.consents if consent.client_uid_hash == uid_hash),
        )


def client_reference(client_id: str) -> str:
    """`<namespace>/<name>` of a client id, which is `<namespace>.<name>`."""
    return client_id.replace(".", "/", 1)


def _chunks(items: list[str]) -> Iterable[list[str]]:
    return (items[first : first + MAX_HANDLES] for first in range(0, len(items), MAX_HANDLES))
