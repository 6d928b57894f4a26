"""Attempts: pending authorization requests, each sealed in a cookie of the browser. Nothing is stored before login.

AES-256-GCM under a key derived (HKDF) for each attempt from the session keys. The id of the attempt, which is in the
cookie's name and in the path of its pages, is associated data.
"""

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import TypeAdapter, ValidationError

from scopewright import base64url
from scopewright.core.failures import Unavailable
from scopewright.issuer.protocol.request import Form
from scopewright.stores.sessions.sealed import SessionKeys

ATTEMPT_SECONDS: Final = 600
MAX_ATTEMPTS: Final = 5
"""Attempts of one browser at the same time."""
MAX_COOKIE_BYTES: Final = 3584
"""Of the value. Browsers drop cookies of more than 4,096 bytes with name and attributes."""

MAX_COOKIES_BYTES: Final = 7680
"""Of the cookies of all attempts of a browser, names and values. Many proxies refuse a header of more than 8 KiB, and
anybody who sends a browser here some times with long requests would keep its user out for ATTEMPT_SECONDS."""

_MAX_OPENED: Final = 3 * MAX_ATTEMPTS
"""Of one request: each takes up to 0.1 ms, in which nothing else runs. The others are forgotten unread."""
_MIN_COOKIE_BYTES: Final = 100
_ROOM_FOR_SID: Final = 64
"""Of the value: a request that begins must not become too large with its login."""
_INFO: Final = b"scopewright-attempt-v1:"
_NONCE_BYTES: Final = 12
_NAME_BYTES: Final = 50
"""Of the name of a cookie, with `=` and `; `."""
_ID_BYTES: Final = 12


def attempt_of_state(state: str) -> str:
    """Return the id of the attempt whose visit to a provider had this `state`. It is not verified."""
    return state.partition(".")[0]


class TooLarge(Exception):
    """The request does not fit into a cookie."""


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """An authorization request that waits for its user."""

    id: str
    parameters: Mapping[str, Sequence[str]]
    """Those of the request, with the subject in place of `id_token_hint`."""
    started: float
    """Seconds since the epoch."""
    secret: str = field(repr=False)
    sid: str = ""
    """The session that began with a login for this attempt; empty before."""
    pushed: str = ""
    """The handle of a pushed request, which has the parameters; empty: they are here."""

    def csrf_token(self, *bound_to: str) -> str:
        """Return the token of a form. It is bound to the attempt, and to everything that the form's page showed."""
        return self._derived("csrf", *bound_to)

    def accepts(self, token: str, *bound_to: str) -> bool:
        return hmac.compare_digest(token.encode(), self.csrf_token(*bound_to).encode())

    def state(self, provider: str) -> str:
        """Return the `state` of a visit to a provider (RFC 6749 §10.12): the callback finds the attempt by the part
        before the dot. `provider` is all that the visit is bound to. A login ends the visits before it, so no answer of
        a provider is of use twice.
        """
        return f"{self.id}.{self._derived('state', provider, self.sid)}"

    def accepts_state(self, state: str, provider: str) -> bool:
        return hmac.compare_digest(state.encode(), self.state(provider).encode())

    def nonce(self, provider: str) -> str:
        """Return the `nonce` of a visit, which the ID token must have (OpenID Connect Core §15.5.2)."""
        return self._derived("nonce", provider, self.sid)

    def code_verifier(self, provider: str) -> str:
        """Return the PKCE verifier of a visit (RFC 7636 §4.1): 43 characters."""
        return self._derived("code_verifier", provider, self.sid)

    def _derived(self, *parts: str) -> str:
        """An HMAC-SHA-256 over the length-prefixed parts, of which the first one is what the value is for."""
        message = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in (self.id, *parts))
        return base64url.encode(hmac.digest(self.secret.encode(), message, "sha256"))


_CONTENT: Final = TypeAdapter(PendingLogin)


class Attempts:
    """Seals and opens attempts. `keys` returns None until the issuer has read the Secret."""

    def __init__(self, keys: Callable[[], SessionKeys | None]) -> None:
        self._keys = keys

    @staticmethod
    def begin(parameters: Form, started: float, pushed: str = "") -> PendingLogin:
        attempt_id, secret = secrets.token_urlsafe(_ID_BYTES), secrets.token_urlsafe(32)
        return PendingLogin(attempt_id, dict(parameters), started, secret, pushed=pushed)

    def seal(self, attempt: PendingLogin, now: float) -> str:
        """Return the value of the cookie; raises TooLarge, or Unavailable without keys."""
        cipher = _cipher(self._require_keys().sealing_key(now), attempt.id)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = _CONTENT.dump_json(attempt)
        sealed = nonce + cipher.encrypt(nonce, content, attempt.id.encode())
        value = base64url.encode(sealed)
        if len(value) > (MAX_COOKIE_BYTES if attempt.sid else MAX_COOKIE_BYTES - _ROOM_FOR_SID):
            raise TooLarge
        return value

    def open(self, attempt_id: str, value: str, now: float) -> PendingLogin | None:
        """Return the attempt; None if it has expired, or the cookie is not one of this issuer for this attempt."""
        keys = self._require_keys()
        for key in (keys.current, *keys.previous):
            attempt = _opened(key, attempt_id, value)
            if attempt is not None:
                return attempt if attempt.id == attempt_id and now < attempt.started + ATTEMPT_SECONDS else None
        return None

    def excess(self, sent: Mapping[str, str], now: float, size: int, kept: str = "") -> list[str]:
        """Return the attempts to forget before another one begins: unreadable, expired, and the oldest.

        `size` is that of the cookie of the other one in bytes; `kept` is it, if its cookie has been sent already.
        """
        sent = {attempt_id: value for attempt_id, value in sent.items() if attempt_id != kept}
        opened: dict[str, PendingLogin | None] = dict.fromkeys(sent)
        for attempt_id in islice((each for each, value in sent.items() if _may_open(value)), _MAX_OPENED):
            opened[attempt_id] = self.open(attempt_id, sent[attempt_id], now)
        readable = sorted((a for a in opened.values() if a is not None), key=lambda attempt: attempt.started)
        while readable and (len(readable) >= MAX_ATTEMPTS or size + _bytes(sent, readable) > MAX_COOKIES_BYTES):
            readable.pop(0)
        return [attempt_id for attempt_id, attempt in opened.items() if attempt is None or attempt not in readable]

    def _require_keys(self) -> SessionKeys:
        keys = self._keys()
        if keys is None:
            raise Unavailable("the issuer has no session keys yet")
        return keys


def _bytes(sent: Mapping[str, str], attempts: Iterable[PendingLogin]) -> int:
    return sum(_NAME_BYTES + len(sent[attempt.id]) for attempt in attempts)


def _may_open(value: str) -> bool:
    return _MIN_COOKIE_BYTES < len(value) <= MAX_COOKIE_BYTES


def _opened(key: bytes, attempt_id: str, value: str) -> PendingLogin | None:
    if not _may_open(value):
        return None
    try:
        sealed = base64url.decode_canonical(value)
        content = _cipher(key, attempt_id).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], attempt_id.encode())
        return _CONTENT.validate_json(content)
    except (ValueError, InvalidTag, ValidationError):
        return None


def _cipher(key: bytes, attempt_id: str) -> AESGCM:
    """A key for each attempt: anybody can make the issuer seal, so random nonces under one key could repeat."""
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=_INFO + attempt_id.encode()).derive(key))
