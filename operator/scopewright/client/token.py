"""An access token, and the answer of the token endpoint that it comes in (RFC 6749 §5.1)."""

import json
from dataclasses import dataclass, field

from scopewright.client.errors import TokenError

_DEFAULT_LIFETIME = 300.0  # seconds, where the answer has no expires_in
_LONGEST_LIFETIME = 86400.0 * 366


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`value` goes after `Bearer `, or after `DPoP ` and with a proof in each request; it is in no repr.

    `expires_at` is in seconds since 1970, by the local clock.
    """

    value: str = field(repr=False)
    scopes: frozenset[str]
    expires_at: float
    issued_at: float


def token_from(body: bytes, asked_at: float, scope: str | None, expected: str) -> AccessToken:
    """`asked_at` is when the request was sent: the token is never thought to live longer than it does.

    `expected` is the token_type that was asked for: a Bearer token in the place of a bound one is not taken in silence.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise invalid("is not a JSON object")
    value, kind, granted = answer.get("access_token"), answer.get("token_type"), answer.get("scope", scope or "")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        raise invalid("has no usable access_token")
    if not isinstance(kind, str) or kind.lower() != expected.lower():
        raise invalid(f"has a token_type other than {expected}, which this client asked for")
    lifetime = answer.get("expires_in", _DEFAULT_LIFETIME)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime <= _LONGEST_LIFETIME:
        raise invalid("has an expires_in that is not a positive number of seconds")
    if not isinstance(granted, str):
        raise invalid("has a scope that is not a string")
    return AccessToken(value, frozenset(granted.split()), asked_at + lifetime, asked_at)


def invalid(what: str, status: int | None = 200) -> TokenError:
    return TokenError("invalid_response", f"the answer of the token endpoint {what}; is token_endpoint right?", status)
