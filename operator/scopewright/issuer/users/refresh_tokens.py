"""Refresh tokens (RFC 6749 §6), in families: one for each redeemed code.

A family of a confidential client, or of a client whose tokens are bound to a key, keeps its token: the token is of no
use without the client's credential or key (FAPI 2.0 §5.3.2.1, RFC 9700 §4.14.2). It is `<sid>.<handle>`. That of other
public clients rotates: `<sid>.<handle>.<generation>.<HMAC>`. The store holds neither the handle nor a token.

Rotation is a compare-and-set of the generation. If an answer is lost, or two tabs refresh at once, the token before the
current one gives the same successor again, for a while and until the successor is used. An HMAC of a generation that
the store does not know yet shows that the store went back to an earlier state. Any older token was stolen, or its
successor was: the family ends.
"""

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from scopewright import base64url
from scopewright.core.records.client import Login
from scopewright.core.users import OFFLINE_ACCESS
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.sessions import live_session, save_session
from scopewright.issuer.users.stored import DelegatedAccess, Family, Session, decode_stored, encode_stored
from scopewright.issuer.users.upstream_logins import VersionedLogin
from scopewright.issuer.users.user_record import (
    ListedFamily,
    VersionedUser,
    family_handle,
    forget_families,
    read_user,
    session_handle,
    with_family,
    without_family,
)
from scopewright.stores.sessions.sealed import Forget, Save, SealedSessions

log: Final = logging.getLogger(__name__)

REUSE_SECONDS: Final = 30
"""For this long after a rotation, the token before the current one gives the current one."""
MAX_USE_INTERVAL_SECONDS: Final = 300
"""The last use is written again after this time, or a tenth of the idle timeout."""

_SID_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(
    r"(?P<sid>[A-Za-z0-9_-]{16,64})\.(?P<handle>[A-Za-z0-9_-]{43})"
    r"(?:\.(?P<generation>[1-9][0-9]{0,8})\.(?P<mac>[A-Za-z0-9_-]{43}))?"
)


class Use(Enum):
    """What the use of a refresh token does to its family."""

    KEEP = "keep"
    WRITE = "write"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The parts of a token as it was sent; `generation` is 0 and `mac` empty if the family does not rotate."""

    sid: str
    family_id: str
    handle: str
    generation: int
    mac: str


@dataclass(frozen=True, slots=True)
class FoundFamily:
    """A family as it was read, with its session, if that has not ended; `store_now` is the clock of the store."""

    token: RefreshToken
    version: int
    family: Family
    session: Session | None
    store_now: float


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The next state of a family and the token to return. `use` says whether the state must be written."""

    use: Use
    family: Family
    token: str


@dataclass(frozen=True, slots=True)
class NewFamily:
    """A family to begin: `session` is that of the browser."""

    delegated: DelegatedAccess
    session: Session
    grant_id: str
    redirect_uri: str
    rotates: bool
    login: VersionedLogin | None = None
    """With `offline_access`: the login of the session, if it is one at an OpenID provider."""


@dataclass(frozen=True, slots=True)
class BegunFamily:
    """Its id, the session of its tokens, its first token, and the writes that store it."""

    family_id: str
    session: Session
    token: str
    writes: tuple[Save | Forget, ...]


class RefreshTokenFamilies:
    """All methods raise `Unavailable` while the store is away."""

    def __init__(self, store: SealedSessions) -> None:
        self._store = store

    async def find(self, sent: str) -> FoundFamily | None:
        """The family of a token and its session; None if the token is malformed or forged, or the family has ended."""
        token = parse_refresh_token(sent)
        if token is None:
            return None
        read = await self._store.read(family_handle(token.family_id), session_handle(token.sid))
        stored, session = read.values
        family = decode_stored(Family, stored)
        if stored is None or family is None or family.delegated.sid != token.sid or not _is_issued(family, token):
            return None
        return FoundFamily(token, stored.version, family, live_session(session, read.now), read.now)

    def next_state(self, found: FoundFamily, family: Family, login: Login) -> Save:
        """The write of the next state, which fails if the family has changed since it was read."""
        return _save(found.token.family_id, family, login, found.store_now, found.version)

    def begin(self, new: NewFamily, login: Login, user: VersionedUser) -> BegunFamily:
        """A new family and the writes that store it, in one step with the user's record, which lists the session.

        The writes fail if the record of the user is another one than `user` by then. The oldest families end if the
        user has too many.
        """
        delegated, session = new.delegated, new.session
        now = int(user.now)
        writes: list[Save | Forget] = []
        if OFFLINE_ACCESS in delegated.scopes:
            end = now + login.refresh_max_lifetime
            sid = base64url.encode(secrets.token_bytes(_SID_BYTES))
            session = replace(session, sid=sid, end_time=end, secret_sha256="", earlier=())
            delegated = replace(delegated, sid=session.sid)
            writes.append(save_session(session, 0, user.now))
            if new.login is not None:
                writes.append(new.login.extended(end))
        handle = base64url.encode(secrets.token_bytes(_SECRET_BYTES))
        family = Family(
            delegated=delegated,
            grant_id=new.grant_id,
            login_sid=new.session.sid,
            redirect_uri=new.redirect_uri,
            created_time=now,
            used_time=now,
            secret=base64url.encode(secrets.token_bytes(_SECRET_BYTES)) if new.rotates else "",
            generation=1 if new.rotates else 0,
            rotated_time=now,
        )
        family_id = _family_id(handle)
        end_time = min(session.end_time, now + login.refresh_max_lifetime)
        login_sid = session.login if session is not new.session else ""
        listed = ListedFamily(family_id, delegated.sid, delegated.client_uid_hash, now, end_time, login_sid)
        record, dropped = with_family(user.record, listed)
        writes += [_save(family_id, family, login, now, 0), user.save(record)]
        writes += forget_families(dropped, record)
        return BegunFamily(family_id, session, _token(family, handle), tuple(writes))

    async def end(self, family_id: str, subject: str) -> None:
        """End a family: its token is refused from now on."""

        async def attempt() -> None:
            user = await read_user(self._store, subject)
            record, ended = without_family(user.record, family_id)
            writes: tuple[Save | Forget, ...] = (user.save(record), *forget_families(ended, record)) if ended else ()
            await save_or_lose(self._store, Forget(family_handle(family_id)), *writes)

        await retry_lost(attempt)


def parse_refresh_token(sent: str) -> RefreshToken | None:
    """None if it cannot be a refresh token."""
    match = _TOKEN.fullmatch(sent)
    if match is None:
        return None
    handle = match["handle"]
    return RefreshToken(match["sid"], _family_id(handle), handle, int(match["generation"] or 0), match["mac"] or "")


def has_expired(family: Family, login: Login, now: float) -> bool:
    """By the idle timeout and the maximum lifetime that the client has now."""
    return now >= _end_time(family, login)


def use_token(found: FoundFamily, login: Login) -> Refreshed:
    """What the use of this token gives. Only a family that rotates can find a replay."""
    family, token, now = found.family, found.token, int(found.store_now)
    if not family.secret:
        interval = min(MAX_USE_INTERVAL_SECONDS, login.refresh_idle_timeout // 10)
        use = Use.WRITE if now >= family.used_time + interval else Use.KEEP
        return Refreshed(use, replace(family, used_time=now), _token(family, token.handle))
    if token.generation > family.generation:
        log.warning("the session store went back to an earlier state: a refresh token is ahead of it")
    if token.generation >= family.generation:
        rotated = replace(family, generation=token.generation + 1, rotated_time=now, used_time=now)
        return Refreshed(Use.WRITE, rotated, _token(rotated, token.handle))
    if token.generation == family.generation - 1 and now <= family.rotated_time + REUSE_SECONDS:
        return Refreshed(Use.KEEP, family, _token(family, token.handle))
    return Refreshed(Use.REPLAYED, family, "")


def _is_issued(family: Family, token: RefreshToken) -> bool:
    """Whether the token is of this family: by its handle, and by its HMAC if the family rotates."""
    if not family.secret:
        return not token.mac
    return hmac.compare_digest(_mac(family, token.generation), token.mac)


def _token(family: Family, handle: str) -> str:
    token = f"{family.delegated.sid}.{handle}"
    return f"{token}.{family.generation}.{_mac(family, family.generation)}" if family.secret else token


def _mac(family: Family, generation: int) -> str:
    content = f"{family.delegated.sid} {generation}".encode()
    return base64url.encode(hmac.digest(base64url.decode(family.secret), content, "sha256"))


def _save(family_id: str, family: Family, login: Login, now: float, version: int) -> Save:
    """Stored until it expires, if it is not used again."""
    seconds = max(1.0, _end_time(family, login) - now)
    return Save(family_handle(family_id), encode_stored(family), seconds, version)


def _end_time(family: Family, login: Login) -> int:
    return min(family.created_time + login.refresh_max_lifetime, family.used_time + login.refresh_idle_timeout)


def _family_id(handle: str) -> str:
    return base64url.encode(hashlib.sha256(handle.encode()).digest())
