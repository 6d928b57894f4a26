"""Sessions of users: begun by a login, found by the cookie of a browser or by `sid`, ended by a logout."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from scopewright import base64url
from scopewright.core.failures import Unavailable
from scopewright.issuer.observability.user_events import EndReason
from scopewright.issuer.protocol.errors import PROVIDER_UNAVAILABLE
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.stored import Session, decode_stored, encode_stored
from scopewright.issuer.users.upstream_logins import new_login, save_login
from scopewright.issuer.users.user_record import (
    MAX_SESSIONS,
    ListedSession,
    UserRecord,
    forget_families,
    read_user,
    session_handle,
    with_session,
    without_sessions,
)
from scopewright.stores.sessions.sealed import Opened, Save, SealedSessions

SEEN_INTERVAL_SECONDS: Final = 300
"""`seen_time` is written when it is older than this."""

_SID_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_COOKIE: Final = re.compile(r"(?P<sid>[A-Za-z0-9_-]{22})\.(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_MAX_SID: Final = 64


ReportEnd = Callable[[str, str, EndReason], None]
"""Is called with `sub` and `sid` of a session that its user has not ended."""


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """In seconds: how long a browser stays logged in without use, and how long at most."""

    idle: int = 3600
    longest: int = 12 * 3600


class ProviderAway(Unavailable):
    """The provider has not confirmed the user of a session for longer than it may."""

    def __init__(self, provider: str, retry_after: float) -> None:
        super().__init__(
            f"the identity provider {provider} does not answer", retry_after=retry_after, reason=PROVIDER_UNAVAILABLE
        )


class SessionChecks(Protocol):
    """The user of a session as its provider has them. Both raise `ProviderAway` and return None if the session is
    over: its provider is not in force any more, or does not know the user.
    """

    def stored(self, session: Session, now: float) -> Session | None:
        """Return the session with the groups and claims that are known, without I/O."""
        ...

    async def confirmed(self, session: Session, now: float) -> Session | None:
        """As `stored`, after a question to the provider if one is due.

        Raises `LoginRefused` if the provider's answer is not acceptable, and `Unavailable` while the store is away.
        """
        ...


class _NoChecks:
    def stored(self, session: Session, now: float) -> Session | None:
        return session

    async def confirmed(self, session: Session, now: float) -> Session | None:
        return session


class UserSessions:
    """All methods raise `Unavailable` while the store is away.

    `on_ended` ends the tokens of sessions of a user, given by `sub` and `sid`. Without `checks`, sessions are as they
    are stored. `report` is called with each session that a new login ends.
    """

    def __init__(
        self,
        store: SealedSessions,
        on_ended: Callable[[str, Iterable[str]], None] = lambda subject, sids: None,
        times: Callable[[], SessionTimes] = SessionTimes,
        checks: SessionChecks | None = None,
        report: ReportEnd = lambda subject, sid, reason: None,
    ) -> None:
        self._store = store
        self._report = report
        self._on_ended = on_ended
        self._times = times
        self.checks: Final = checks or _NoChecks()

    async def begin(self, user: AuthenticatedUser, before: Session | None = None) -> tuple[str, Session]:
        """Store a session for the user, who has just logged in. Return the value of the cookie, `sid.secret`, and it.

        `before` is the one that the browser had. That of the same user goes on, for its refresh tokens, and ends with
        the new one; that of another user ends now. If the user has too many sessions, the oldest one ends.
        """
        earlier: tuple[str, ...] = ()
        if before is not None and before.subject == user.subject:
            earlier = before.sids[:MAX_SESSIONS]
        sid = base64url.encode(secrets.token_bytes(_SID_BYTES))
        secret = base64url.encode(secrets.token_bytes(_SECRET_BYTES))
        session, dropped, revoked = await retry_lost(lambda: self._try_begin(user, sid, secret, earlier))
        self._revoke(user.subject, revoked)
        for ended in dropped:
            self._report(user.subject, ended, "too_many")
        if before is not None and before.subject != user.subject and await self.end(before.sid):
            self._report(before.subject, before.sid, "other_user")
        return f"{sid}.{secret}", session

    async def of_cookie(self, cookie: str, *, idle_too: bool = False) -> Session | None:
        """Return the session of the browser; None if it has ended, is idle, or the cookie is wrong. None too if the
        provider does not confirm the user: a new login shows why.

        `idle_too`: for a logout. An idle session counts, because its refresh tokens are valid, and so does that of a
        user whom the provider does not confirm.
        """
        match = _COOKIE.fullmatch(cookie)
        if match is None:
            return None
        read = await self._store.read(session_handle(match["sid"]))
        opened, now = read.values[0], read.now
        session = live_session(opened, now)
        if session is None or not hmac.compare_digest(session.secret_sha256, _sha256(match["secret"])):
            return None
        if now >= session.seen_time + self._times().idle:
            return session if idle_too else None
        if opened is not None and now >= session.seen_time + SEEN_INTERVAL_SECONDS:
            session = replace(session, seen_time=int(now))
            with suppress(Unavailable):  # a store that is full still has the session
                if not await self._store.write(save_session(session, opened.version, now)):
                    stored = await self._live(session.sid)  # another request has written it, or ended it
                    if stored is None:
                        return None
                    session = stored
        if idle_too:
            return session
        try:
            return await self.checks.confirmed(session, now)
        except (ProviderAway, LoginRefused):
            return None

    async def of_sid(self, sid: str) -> Session | None:
        """Return the session, by one read of the store and no other I/O; None if it has ended. An idle one is found:
        its refresh tokens stay valid. Raises `ProviderAway`.
        """
        if len(sid) > _MAX_SID:
            return None
        read = await self._store.read(session_handle(sid))
        session = live_session(read.values[0], read.now)
        return self.checks.stored(session, read.now) if session is not None else None

    async def of_user(self, subject: str) -> tuple[Session, ...]:
        """Return the sessions of the user, the oldest first."""
        user = await read_user(self._store, subject)
        if not user.record.sessions:
            return ()
        read = await self._store.read(*(session_handle(listed.sid) for listed in user.record.sessions))
        sessions = (live_session(opened, read.now) for opened in read.values)
        return tuple(session for session in sessions if session is not None)

    async def end(self, sid: str, subject: str = "") -> bool:
        """End the session, with those of earlier logins in its browser, and all their codes, refresh tokens and tokens.

        `subject` names the user of a session that may have expired: refresh tokens with `offline_access` outlive it.
        Return whether anything ended.
        """
        if len(sid) > _MAX_SID:
            return False
        session = await self._live(sid)
        if session is not None:
            subject = session.subject
        earlier = session.earlier if session is not None else ()
        if not subject:
            return False
        return await self._end(
            subject,
            lambda record: (sid, *(each for each in earlier if each in record.sids)),
            always=session is not None,
        )

    async def end_user(self, subject: str) -> None:
        """End all sessions of the user, and all refresh tokens with `offline_access`."""
        await self._end(subject, lambda record: record.sids)

    async def _live(self, sid: str) -> Session | None:
        if len(sid) > _MAX_SID:
            return None
        read = await self._store.read(session_handle(sid))
        return live_session(read.values[0], read.now)

    async def _try_begin(
        self, user: AuthenticatedUser, sid: str, secret: str, earlier: tuple[str, ...]
    ) -> tuple[Session, tuple[str, ...], tuple[str, ...]]:
        """Return the session, those that ended for it, and those of them that may have tokens."""
        stored = await read_user(self._store, user.subject)
        now = int(stored.now)
        session = Session(
            sid=sid,
            secret_sha256=_sha256(secret),
            subject=user.subject,
            provider=user.provider,
            provider_uid=user.provider_uid,
            groups=user.groups,
            auth_time=user.auth_time,
            end_time=now + self._times().longest,
            seen_time=now,
            checked_time=now,
            claims=user.claims,
            acr=user.acr,
            amr=user.amr,
            login=sid if user.upstream else "",
            earlier=earlier,
            begun_time=now,
        )
        logins = [save_login(new_login(session, user.upstream), 0, stored.now)] if user.upstream else []
        record, dropped = with_session(stored.record, ListedSession(sid, now, session.end_time))
        record, families = without_sessions(record, (listed.sid for listed in dropped))
        await save_or_lose(
            self._store,
            save_session(session, 0, stored.now),
            *logins,
            stored.save(record),
            *forget_families(families, record, (listed.sid for listed in dropped)),
        )
        ended = tuple(listed.sid for listed in dropped)
        return session, ended, tuple(sid for sid in ended if stored.record.may_have_tokens(sid, stored.now))

    async def _end(
        self, subject: str, choose: Callable[[UserRecord], tuple[str, ...]], *, always: bool = False
    ) -> bool:
        """Tokens end first: if the store fails then, the user sees an error and repeats the logout.

        A session that has none takes no room in the revocation record. If it gets one at this moment, the write fails.
        """
        revoked: set[str] = set()

        async def attempt() -> bool:
            stored = await read_user(self._store, subject)
            sids = choose(stored.record)
            record, families = without_sessions(stored.record, sids)
            if record == stored.record and not always:
                return False
            ended = {sid for sid in sids if stored.record.may_have_tokens(sid, stored.now)} - revoked
            self._revoke(subject, sorted(ended))
            revoked.update(ended)
            await save_or_lose(
                self._store,
                stored.save(record),
                *forget_families(families, record, sids),
            )
            return True

        return await retry_lost(attempt)

    def _revoke(self, subject: str, sids: Iterable[str]) -> None:
        if ended := tuple(sids):
            self._on_ended(subject, ended)


def live_session(opened: Opened | None, now: float) -> Session | None:
    """The session that was read under `session_handle(sid)`; None if it has ended."""
    session = decode_stored(Session, opened)
    return session if session is not None and now < session.end_time else None


def save_session(session: Session, version: int, now: float) -> Save:
    """The write of a session in place of `version`."""
    return Save(session_handle(session.sid), encode_stored(session), session.end_time - now, version)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
