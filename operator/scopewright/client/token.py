"""An access token, parsed from the response of the token endpoint (RFC 6749 §5.1)."""

import json
from dataclasses import dataclass, field
from typing import Protocol

from scopewright.client.endpoints import TOKEN
from scopewright.client.errors import invalid_response

_DEFAULT_LIFETIME_SECONDS = 300.0  # if the response has no expires_in
_MAX_LIFETIME_SECONDS = 86400.0 * 366


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Send `value` after `Bearer `, or after `DPoP ` with a proof for each request. The repr does not contain it.

    `expires_at` and `issued_at` are in seconds since 1970, by the local clock.
    """

    value: str = field(repr=False)
    scopes: frozenset[str]
    expires_at: float
    issued_at: float


class TokenHolder(Protocol):
    """An `AccessToken`, or another object with the text of a token, such as a `Token` of `scopewright.verifier`."""

    @property
    def value(self) -> str: ...


def token_text(name: str, token: TokenHolder | str) -> str:
    """The text of a token. Raises TypeError for an object that has none, and ValueError for no token.

    `name` is that of the method, for errors. A token is not shown.
    """
    text = token if isinstance(token, str) else getattr(token, "value", None)
    if token is None or text == "":
        raise ValueError(f"{name} needs a token, and it is {'None' if token is None else 'empty'}")
    if not isinstance(text, str):
        raise TypeError(
            f"{name} takes a token as a string, or an object with such a value, such as an AccessToken or the verified "
            f"token of a caller, not {type(token).__name__}"
        )
    return text


def token_from(body: bytes, requested_at: float, scope: str | None, expected: str) -> AccessToken:
    """Parses a response. Raises `TokenError` `invalid_response`.

    `requested_at` is when the request was sent, so that `expires_at` is never too late. `expected` is the token_type
    that was requested: a Bearer token instead of a bound one is refused.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise invalid_response(TOKEN, "is not a JSON object")
    value, kind, granted = answer.get("access_token"), answer.get("token_type"), answer.get("scope", scope or "")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        raise invalid_response(TOKEN, "has no usable access_token")
    if not isinstance(kind, str) or kind.lower() != expected.lower():
        raise invalid_response(TOKEN, f"has a token_type other than {expected}, which this client asked for")
    lifetime = answer.get("expires_in", _DEFAULT_LIFETIME_SECONDS)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime <= _MAX_LIFETIME_SECONDS:
        raise invalid_response(TOKEN, "has an expires_in that is not a positive number of seconds")
    if not isinstance(granted, str):
        raise invalid_response(TOKEN, "has a scope that is not a string")
    return AccessToken(value, frozenset(granted.split()), requested_at + lifetime, requested_at)
