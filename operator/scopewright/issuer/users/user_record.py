"""The record of a user: their sessions, families of refresh tokens, redeemed codes and consents. All of it is bounded.

It is written in one step with what it lists. So everything that is stored for a user is found, and can be ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from scopewright.issuer.users.stored import decode_stored, encode_stored
from scopewright.stores.sessions.sealed import Forget, Opened, Save, SealedSessions

MAX_SESSIONS: Final = 20
MAX_FAMILIES: Final = 50
MAX_FAMILIES_PER_CLIENT: Final = 20
MAX_REDEEMED_CODES: Final = 50
"""Redeemed codes that are remembered, so that a replay ends their tokens. The bound is against a user with a script."""
MAX_CONSENTS: Final = 100
MAX_CONSENT_BYTES: Final = 128 * 1024
"""Of all consents together, as stored."""
CONSENT_SECONDS: Final = 180 * 86400
"""A consent ends this long after its last use."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    sid: str
    begin_time: int
    end_time: int
    tokens_until: int = 0
    """Until then, a service may accept an access token of the session."""


@dataclass(frozen=True, slots=True)
class ListedFamily:
    """A family of refresh tokens, stored under `family:<family>`. `family` alone is not a refresh token."""

    family: str
    sid: str
    client_uid_hash: str
    begin_time: int
    end_time: int
    login: str = ""
    """The `UpstreamLogin` of its session, if the session is its own: that of `offline_access`."""

    @property
    def handle(self) -> str:
        return family_handle(self.family)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user has allowed a client at one API, or of the scopes of OpenID Connect.

    Names are for display. Hashes of UIDs and `application` decide: a successor under the same name has no consent.
    """

    client_id: str
    client_uid_hash: str
    application: str
    """Digest of the origins of the client's redirect URIs and of its authentication method."""
    scopes: tuple[str, ...]
    used_time: int
    resource_server: str = ""
    """`<namespace>/<name>`; empty for scopes of OpenID Connect."""
    api_uid_hash: str = ""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """Under `user:<sub>`. Sessions and families are in the order of their begin, consents in that of their last use."""

    sessions: tuple[ListedSession, ...] = ()
    families: tuple[ListedFamily, ...] = ()
    consents: tuple[Consent, ...] = ()
    codes: tuple[str, ...] = ()
    """Ids of redeemed codes, the last one at the end. `code_handle` leads to what was stored; it may have expired."""

    @property
    def sids(self) -> tuple[str, ...]:
        """Of all sessions, also of those that have expired and have families left."""
        listed = [*(session.sid for session in self.sessions), *(family.sid for family in self.families)]
        return tuple(dict.fromkeys(listed))

    def sids_of_login(self, login: str) -> tuple[str, ...]:
        """Of the sessions that share an `UpstreamLogin`: that of the browser, and those with `offline_access`."""
        browser = (session.sid for session in self.sessions if session.sid == login)
        return (*browser, *(family.sid for family in self.families if family.login == login))

    def lists_session(self, sid: str) -> bool:
        return any(session.sid == sid for session in self.sessions)

    def may_have_tokens(self, sid: str, now: float) -> bool:
        """Whether a session may have access tokens: not if it is listed without."""
        has_family = any(family.sid == sid for family in self.families)
        return has_family or not any(s.sid == sid and now >= s.tokens_until for s in self.sessions)


@dataclass(frozen=True, slots=True)
class VersionedUser:
    """The record of a user as it was read; an empty one if none is stored."""

    subject: str
    version: int
    record: UserRecord
    now: float
    """By the clock of the store."""

    def save(self, record: UserRecord) -> Save:
        """The write of `record` in place of the version that was read."""
        ends = [*(session.end_time for session in record.sessions), *(family.end_time for family in record.families)]
        ttl = max(CONSENT_SECONDS, max(ends, default=0) - self.now)
        return Save(user_handle(self.subject), encode_stored(record), ttl, self.version)


def session_handle(sid: str) -> str:
    return f"session:{sid}"


def family_handle(family: str) -> str:
    return f"family:{family}"


def code_handle(code_id: str) -> str:
    """`code_id` is the SHA-256 of the code, in base64url."""
    return f"code:{code_id}"


def login_handle(sid: str) -> str:
    """Of the `UpstreamLogin` that began with a session."""
    return f"login:{sid}"


def user_handle(subject: str) -> str:
    return f"user:{subject}"


async def read_user(store: SealedSessions, subject: str) -> VersionedUser:
    """Read the record of a user; raises `Unavailable` while the store is away."""
    read = await store.read(user_handle(subject))
    return user_of(subject, read.values[0], read.now)


def user_of(subject: str, opened: Opened | None, now: float) -> VersionedUser:
    """The record that was read under `user_handle(subject)`, without what has ended."""
    stored = decode_stored(UserRecord, opened) or UserRecord()
    current = UserRecord(
        tuple(session for session in stored.sessions if now < session.end_time),
        tuple(family for family in stored.families if now < family.end_time),
        tuple(consent for consent in stored.consents if now < consent.used_time + CONSENT_SECONDS),
        stored.codes,
    )
    return VersionedUser(subject, opened.version if opened else 0, current, now)


def forget_families(
    families: Iterable[ListedFamily], record: UserRecord, sids: Iterable[str] = ()
) -> tuple[Forget, ...]:
    """The deletion of families and sessions that `record`, the one after it, lists no longer.

    A session that had only these families ends too: that of a family with `offline_access`. So does what is known of
    a login that no other session shares.
    """
    ended = tuple(families)
    sessions = {*sids, *(family.sid for family in ended)}.difference(record.sids)
    shared = {*record.sids, *(family.login for family in record.families)}
    logins = {*sessions, *(family.login for family in ended if family.login)}.difference(shared)
    return (
        *(Forget(family.handle) for family in ended),
        *(Forget(session_handle(sid)) for sid in sorted(sessions)),
        *(Forget(login_handle(sid)) for sid in sorted(logins)),
    )


def with_session(record: UserRecord, session: ListedSession) -> tuple[UserRecord, tuple[ListedSession, ...]]:
    """Return the record with the session, and the sessions that end because there are too many: the oldest."""
    sessions = (*record.sessions, session)
    kept = sessions[-MAX_SESSIONS:]
    return replace(record, sessions=kept), sessions[: len(sessions) - len(kept)]


def with_tokens(record: UserRecord, sid: str, until: int) -> UserRecord:
    """Return the record with the time until which a session may have access tokens, unless it has a later one."""
    sessions = (replace(s, tokens_until=max(s.tokens_until, until)) if s.sid == sid else s for s in record.sessions)
    return replace(record, sessions=tuple(sessions))


def with_code(record: UserRecord, code_id: str) -> tuple[UserRecord, tuple[Forget, ...]]:
    """Return the record with a code that is redeemed, and the deletion of those that are too many: the oldest."""
    codes = (*record.codes, code_id)
    kept = codes[-MAX_REDEEMED_CODES:]
    forgotten = tuple(Forget(code_handle(dropped)) for dropped in codes[: len(codes) - len(kept)])
    return replace(record, codes=kept), forgotten


def without_sessions(record: UserRecord, sids: Iterable[str]) -> tuple[UserRecord, tuple[ListedFamily, ...]]:
    """Return the record without these sessions and their families, and the families."""
    ended = frozenset(sids)
    families = tuple(family for family in record.families if family.sid in ended)
    sessions = tuple(session for session in record.sessions if session.sid not in ended)
    return _without(replace(record, sessions=sessions), families), families


def with_family(record: UserRecord, family: ListedFamily) -> tuple[UserRecord, tuple[ListedFamily, ...]]:
    """Return the record with the family, and the families that end because there are too many: the oldest.

    The caller has checked `record.lists_session(family.sid)`: a session that is not listed has ended.
    """
    of_client = [f for f in record.families if f.client_uid_hash == family.client_uid_hash]
    dropped = of_client[: max(0, len(of_client) + 1 - MAX_FAMILIES_PER_CLIENT)]
    others = [f for f in record.families if f not in dropped]
    dropped += others[: max(0, len(others) + 1 - MAX_FAMILIES)]
    without = _without(record, dropped)
    return replace(without, families=(*without.families, family)), tuple(dropped)


def without_family(record: UserRecord, family: str) -> tuple[UserRecord, tuple[ListedFamily, ...]]:
    """Return the record without the family, and the family if the record listed it."""
    ended = tuple(f for f in record.families if f.family == family)
    return _without(record, ended), ended


def without_client(record: UserRecord, client_uid_hash: str) -> tuple[UserRecord, tuple[ListedFamily, ...]]:
    """Return the record without the consents and families of a client, and the families."""
    families = tuple(family for family in record.families if family.client_uid_hash == client_uid_hash)
    consents = tuple(consent for consent in record.consents if consent.client_uid_hash != client_uid_hash)
    return _without(replace(record, consents=consents), families), families


def with_consents(record: UserRecord, consents: Iterable[Consent]) -> UserRecord:
    """Return the record with these consents in place of those of the same client and API. Those that were not used for
    the longest time are dropped if there are too many.
    """
    new = tuple(consents)
    replaced = {(consent.client_uid_hash, consent.api_uid_hash) for consent in new}
    others = tuple(c for c in record.consents if (c.client_uid_hash, c.api_uid_hash) not in replaced)
    kept = (*others, *new)[-MAX_CONSENTS:]
    while len(kept) > 1 and len(encode_stored(UserRecord(consents=kept))) > MAX_CONSENT_BYTES:
        kept = kept[1:]
    return replace(record, consents=kept)


def _without(record: UserRecord, families: Iterable[ListedFamily]) -> UserRecord:
    ended = {family.family for family in families}
    return replace(record, families=tuple(family for family in record.families if family.family not in ended))
