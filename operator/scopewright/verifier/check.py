"""Checks one access token (RFC 9068 §4, RFC 8725 §3). Pure functions: no I/O, no clock."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from scopewright.verifier.jws import is_numeric_date, parse
from scopewright.verifier.keyset import Key, KeySet
from scopewright.verifier.refusals import Reason, TokenRejected, quotable
from scopewright.verifier.token import Actor, Token

ALGORITHMS = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "Ed25519"}
)
_MAX_ACTORS = 10
ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3


@dataclass(frozen=True, slots=True)
class Policy:
    """The tokens that this service accepts. Of several audiences, a token needs one. `leeway` is the tolerated clock
    difference in seconds, on both sides.
    """

    issuer: str
    audience: str | Collection[str]
    scopes: frozenset[str] = frozenset()
    leeway: float = 60.0
    algorithms: frozenset[str] = ALGORITHMS
    max_token_bytes: int = 16 * 1024
    audiences: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        require_text("issuer", self.issuer)
        object.__setattr__(self, "audiences", _audiences(self.audience))
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ValueError(f"algorithms must be among {', '.join(sorted(ALGORITHMS))}")
        if not 0 <= self.leeway <= 600:
            raise ValueError("leeway must be between 0 and 600 seconds")
        required_scopes(self.scopes)


def _audiences(audience: str | Collection[str]) -> tuple[str, ...]:
    if audience is None or not isinstance(audience, Collection):
        raise TypeError(f"audience must be a string, or a collection of strings, not {type(audience).__name__}")
    audiences = (audience,) if isinstance(audience, str) else tuple(audience)
    if not audiences:
        raise ValueError("audience must name at least one audience")
    for name in audiences:
        require_text("audience", name)
    return audiences


def require_text(name: str, value: object) -> None:
    """Raises TypeError or ValueError, which names the argument, for a text that a challenge cannot contain."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value or quotable(value) != value:
        raise ValueError(f"{name} must be printable ASCII without quotes and backslashes: {value!r}")


def required_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes as a set. One string is space-delimited (RFC 6749 §3.3): `"a b"` is the same as `("a", "b")`."""
    names = tuple(scopes.split() if isinstance(scopes, str) else scopes)
    for name in names:
        if callable(name):
            raise TypeError(f"a scope is a string, not {name!r}: write @require(...) with parentheses")
        if not isinstance(name, str) or not _SCOPE.fullmatch(name):
            raise ValueError(f"not a scope (RFC 6749 §3.3): {name!r}; pass each scope as a string of its own")
    return frozenset(names)


def check(token: str, keys: KeySet, policy: Policy, now: float) -> Token:
    """Returns the verified token. `now` is in seconds since 1970.

    Raises `TokenRejected`, also for a token that is bound to a key: this function checks no DPoP proof.
    """
    verified, _ = check_with_key(token, keys, policy, now)
    if verified.jkt is not None:
        raise TokenRejected(Reason.SENDER_CONSTRAINED)
    require_scopes(verified, policy.scopes)
    return verified


def check_with_key(token: str, keys: KeySet, policy: Policy, now: float) -> tuple[Token, Key]:
    """Like `check`, without the scopes and the key binding (`Token.jkt`). Also returns the signing key."""
    signed = parse(token, policy.max_token_bytes)
    algorithm, kid = _check_header(signed.header, policy)
    # Safe before the signature: it can only refuse. A token of another issuer gets its own reason, and causes no fetch.
    if signed.claims.get("iss") != policy.issuer:
        raise TokenRejected(Reason.ISSUER, expected=policy.issuer)
    key = keys.get(kid, algorithm)
    if key is None:
        raise TokenRejected(Reason.UNKNOWN_KEY)
    if algorithm not in key.algorithms:
        raise TokenRejected(Reason.ALGORITHM)
    if not key.verifies(signed.signing_input, signed.signature):
        raise TokenRejected(Reason.SIGNATURE)
    return check_claims(signed.claims, policy, now, token), key


def require_scopes(token: Token, scopes: Iterable[str]) -> None:
    """Raises `TokenRejected` with status 403, naming all required scopes (RFC 6750 §3)."""
    if not token.scopes.issuperset(scopes):
        raise insufficient(token, Reason.SCOPE, scopes=sorted(scopes))


def insufficient(token: Token, reason: Reason, scopes: Iterable[str] = (), expected: str = "") -> TokenRejected:
    """The refusal of a verified token that lacks a scope or a role."""
    scheme = "Bearer" if token.jkt is None else "DPoP"
    refusal = TokenRejected(reason, scopes=scopes, expected=expected, scheme=scheme)
    refusal.client_id = token.client_id
    return refusal


def _check_header(header: Mapping[str, Any], policy: Policy) -> tuple[str, str]:
    """`jku`, `x5u`, `jwk` and `x5c` are not read: a token cannot bring its own key (RFC 8725 §3.10)."""
    kind, algorithm, kid = header.get("typ"), header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in policy.algorithms:
        raise TokenRejected(Reason.ALGORITHM)
    if not isinstance(kind, str) or kind.lower() not in ACCESS_TOKEN_TYPES:
        raise TokenRejected(Reason.TYPE)
    # Critical extensions must be understood, and none is supported (RFC 7515 §4.1.11; b64: RFC 7797 §6).
    if "crit" in header or "b64" in header or not isinstance(kid, str) or not kid:
        raise TokenRejected(Reason.MALFORMED)
    return algorithm, kid


def check_claims(claims: dict[str, Any], policy: Policy, now: float, token: str) -> Token:
    """All claims but `iss`, which the caller has checked."""
    audience = _strings(_required(claims, "aud"))
    if not any(name in audience for name in policy.audiences):
        raise TokenRejected(Reason.AUDIENCE, expected=" or ".join(policy.audiences))
    expires_at = _instant(_required(claims, "exp"))
    if now >= expires_at + policy.leeway:
        raise TokenRejected(Reason.EXPIRED)
    for name in ("nbf", "iat"):
        if name in claims and _instant(claims[name]) > now + policy.leeway:
            raise TokenRejected(Reason.NOT_YET_VALID)
    return Token(
        subject=_name(_required(claims, "sub")),
        client_id=_name(_required(claims, "client_id")),
        scopes=_scopes(claims),
        issuer=policy.issuer,
        audience=audience,
        expires_at=expires_at,
        claims=MappingProxyType(claims),
        value=token,
        jkt=_confirmation(claims) if "cnf" in claims else None,
        roles=_roles(claims) if "roles" in claims else frozenset(),
        actor=_actor(claims["act"], _MAX_ACTORS) if "act" in claims else None,
        sid=_sid(claims) if "sid" in claims else None,
    )


def _confirmation(claims: Mapping[str, Any]) -> str:
    """The `jkt` of a token that is bound by DPoP alone. Other confirmation methods are refused (RFC 7800 §3.1)."""
    cnf = claims["cnf"]
    jkt = cnf.get("jkt") if isinstance(cnf, dict) and len(cnf) == 1 else None
    if not isinstance(jkt, str) or not jkt:
        raise TokenRejected(Reason.SENDER_CONSTRAINED)
    return jkt


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    """Roles as a list of strings. Other forms, such as the objects of RFC 7643 §4.1.2, give no role."""
    names = claims["roles"]
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return frozenset(names) if is_list else frozenset()


def _sid(claims: Mapping[str, Any]) -> str | None:
    sid = claims["sid"]
    return sid if isinstance(sid, str) else None


def _actor(act: Any, remaining: int) -> Actor:
    """A token with an `act` that cannot be read is refused: without it, the actor would pass for the subject."""
    if not isinstance(act, dict) or remaining == 0:
        raise TokenRejected(Reason.MALFORMED)
    client_id = _name(act["client_id"]) if "client_id" in act else None
    subject = client_id if client_id and "sub" not in act else _name(act.get("sub"))
    return Actor(subject, client_id, _actor(act["act"], remaining - 1) if "act" in act else None)


def _instant(value: Any) -> float:
    """A NumericDate (RFC 7519 §2)."""
    if not is_numeric_date(value):
        raise TokenRejected(Reason.MALFORMED)
    return float(value)


def _required(claims: Mapping[str, Any], name: str) -> Any:
    if name not in claims:
        raise TokenRejected(Reason.MISSING_CLAIM, expected=name)
    return claims[name]


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TokenRejected(Reason.MALFORMED)
    return value


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in values):
        raise TokenRejected(Reason.MALFORMED)
    return tuple(values)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope`, a space-delimited string (RFC 8693 §4.2); the older list claim `scopes` only where it is absent."""
    if "scope" in claims:
        scope = claims["scope"]
        names = scope.split(" ") if isinstance(scope, str) and scope else []
        wrong = not isinstance(scope, str)
    else:
        names = claims.get("scopes", [])
        wrong = not isinstance(names, list)
    if wrong or not all(isinstance(name, str) and _SCOPE.fullmatch(name) for name in names):
        raise TokenRejected(Reason.MALFORMED)
    return frozenset(names)
