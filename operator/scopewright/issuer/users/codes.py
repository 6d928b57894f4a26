"""Authorization codes (RFC 6749 §4.1.2): issued by the pages, redeemed once at the token endpoint.

A code is `<sid>.<256 random bits>`, so that code and session are read in one round trip. Client, redirect URI,
verifier and DPoP key are checked before the code is used up: a caller that has only seen a code can neither redeem it
nor make it unusable. The last redeemed codes of a user are remembered as long as their tokens live. A second redemption
ends them only if it passes the same checks.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from typing import Final

from scopewright import base64url
from scopewright.issuer.users.compare_and_set import save_or_lose
from scopewright.issuer.users.sessions import live_session
from scopewright.issuer.users.stored import Code, Redemption, Session, decode_stored, encode_stored
from scopewright.issuer.users.user_record import VersionedUser, code_handle, session_handle, with_code
from scopewright.stores.sessions.sealed import Forget, Save, SealedSessions

CODE_SECONDS: Final = 60

_SECRET_BYTES: Final = 32
_HANDLE: Final = re.compile(r"([A-Za-z0-9_-]{16,64})\.[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""RFC 7636 §4.1."""
_GRANT_ID_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class FoundCode:
    """A code as it was read, with its session, if that has not ended; `store_now` is the clock of the store."""

    handle: str
    version: int
    code: Code
    session: Session | None
    store_now: float


class Codes:
    """All methods raise `Unavailable` while the store is away."""

    def __init__(self, store: SealedSessions) -> None:
        self._store = store

    async def issue(self, code: Code, *together: Save) -> str:
        """Store it, with other changes or not at all, and return the code: 256 random bits. Raises LostWrite."""
        handle = f"{code.delegated.sid}.{base64url.encode(secrets.token_bytes(_SECRET_BYTES))}"
        await save_or_lose(self._store, Save(_key(handle), encode_stored(code), CODE_SECONDS, 0), *together)
        return handle

    async def find(self, handle: str) -> FoundCode | None:
        """The code and its session; None if it is unknown or has expired."""
        sid = sid_of(handle)
        if sid is None:
            return None
        read = await self._store.read(_key(handle), session_handle(sid))
        stored, session = read.values
        code = decode_stored(Code, stored)
        if stored is None or code is None:
            return None
        return FoundCode(handle, stored.version, code, live_session(session, read.now), read.now)


def redeemed(found: FoundCode, redemption: Redemption, seconds: float) -> Save:
    """The write that uses the code up, remembered for `seconds`. It fails if the code was used in the meantime.

    The nonce may be long and is not needed any more, so it is not kept.
    """
    code = replace(found.code, redemption=redemption, nonce="")
    return Save(_key(found.handle), encode_stored(code), seconds, found.version)


def with_redeemed(user: VersionedUser, found: FoundCode) -> tuple[VersionedUser, tuple[Forget, ...]]:
    """The user with the code among those that are remembered, and the deletion of those that are too many."""
    record, forgotten = with_code(user.record, code_id_of(found.handle))
    return replace(user, record=record), forgotten


def sid_of(handle: str) -> str | None:
    """The session of a code; None if it cannot be one."""
    match = _HANDLE.fullmatch(handle)
    return match[1] if match else None


def grant_id_of(handle: str) -> str:
    """Stands for the grant of a code, in the `jti` of each of its access tokens: 12 characters of base64url."""
    return base64url.encode(hashlib.sha256(handle.encode()).digest()[:_GRANT_ID_BYTES])


def proves_challenge(challenge: str, verifier: str) -> bool:
    """Whether the verifier is that of the code challenge, S256 (RFC 7636 §4.6), compared in constant time.

    Without a challenge there must be no verifier: an attacker may have removed the challenge (RFC 9700 §4.8.2).
    """
    if not challenge:
        return not verifier
    if not _VERIFIER.fullmatch(verifier):
        return False
    computed = base64url.encode(hashlib.sha256(verifier.encode()).digest())
    return hmac.compare_digest(computed.encode(), challenge.encode())


def code_id_of(handle: str) -> str:
    """Stands for the code in the record of its user, and in the store: neither shows the code."""
    return base64url.encode(hashlib.sha256(handle.encode()).digest())


def _key(handle: str) -> str:
    return code_handle(code_id_of(handle))
