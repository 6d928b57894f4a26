"""The stored `UpstreamLogin` of a session: read, and written by compare-and-set."""

from dataclasses import dataclass, replace

from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.users.stored import Session, UpstreamLogin, decode_stored, encode_stored
from scopewright.issuer.users.user_record import login_handle
from scopewright.stores.sessions.sealed import Opened, Save, SealedSessions


@dataclass(frozen=True, slots=True)
class VersionedLogin:
    """A login as it was read; `now` is the clock of the store."""

    version: int
    login: UpstreamLogin
    now: float

    def save(self, login: UpstreamLogin) -> Save:
        """The write of `login` in place of the version that was read."""
        return save_login(login, self.version, self.now)

    def extended(self, end_time: int) -> Save:
        """The write that keeps it until `end_time` at least."""
        return self.save(replace(self.login, end_time=max(self.login.end_time, end_time)))


def is_recent(checked_time: int, seconds: int, now: float) -> bool:
    """Whether a check is less than `seconds` old. One that is as far in the future is not recent either: the clock was
    set back, and its age is unknown.
    """
    return abs(now - checked_time) < seconds


async def read_login(store: SealedSessions, sid: str) -> VersionedLogin | None:
    """None if it has ended. Raises `Unavailable` while the store is away."""
    read = await store.read(login_handle(sid))
    return login_of(read.values[0], read.now)


def login_of(opened: Opened | None, now: float) -> VersionedLogin | None:
    """The login that was read under `login_handle(sid)`; None if it has ended."""
    login = decode_stored(UpstreamLogin, opened)
    return VersionedLogin(opened.version, login, now) if opened is not None and login is not None else None


def new_login(session: Session, tokens: UpstreamTokens) -> UpstreamLogin:
    """The login of a session that begins."""
    return UpstreamLogin(
        sid=session.sid,
        subject=session.subject,
        tokens=tokens,
        groups=session.groups,
        claims=session.claims,
        checked_time=session.checked_time,
        end_time=session.end_time,
    )


def confirmed_login(login: UpstreamLogin, user: AuthenticatedUser, now: float) -> UpstreamLogin:
    """The login after a check that confirmed its user."""
    return replace(
        login,
        tokens=user.upstream or login.tokens,
        groups=user.groups,
        claims=user.claims,
        checked_time=int(now),
        pause_until=0,
        problem="",
    )


def with_login(session: Session, login: UpstreamLogin) -> Session:
    """The session with the groups and claims of its login."""
    return replace(session, groups=login.groups, claims=login.claims, checked_time=login.checked_time)


def save_login(login: UpstreamLogin, version: int, now: float) -> Save:
    """The write of a login in place of `version`."""
    return Save(login_handle(login.sid), encode_stored(login), max(1.0, login.end_time - now), version)
