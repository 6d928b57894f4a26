"""Introspection (RFC 7662): how to ask the issuer about a token, and what its answer must say. No I/O, no clock."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from scopewright.verifier.check import Policy, check_claims
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.token import Token

NO_ANSWER: Final = "The issuer cannot be asked about the access token at present; try again"
_OPAQUE: Final = re.compile(r"[\x21-\x7e]+")


class Introspector(Protocol):
    """Asks the issuer about a token; `scopewright.client.ClientCredentials` does.

    Both methods return the members of the answer, within a time limit of their own. An exception means that there is no
    answer. If it has a `description`, its text is logged and must contain no secret.
    """

    async def introspect(self, token: str) -> Mapping[str, Any]: ...

    def introspect_sync(self, token: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Introspection:
    """How to ask the issuer about tokens. A positive answer is used for `max_age` seconds, and never beyond the token's
    `exp`. At most `concurrency` requests are made at a time; further tokens are then answered with `KeysUnavailable`
    (503). Raises ValueError for values out of range.
    """

    introspector: Introspector
    max_age: float = 5.0
    concurrency: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.max_age <= 300:
            raise ValueError("max_age must be between 0 and 300 seconds")
        if not 1 <= self.concurrency <= 10_000:
            raise ValueError("concurrency must be between 1 and 10000 requests")


def introspection_of(argument: Introspector | Introspection | None) -> Introspection | None:
    """The value of `introspection=`. Raises TypeError for an object that cannot introspect."""
    if argument is None or isinstance(argument, Introspection):
        return argument
    if not all(callable(getattr(argument, name, None)) for name in ("introspect", "introspect_sync")):
        raise TypeError(f"introspection= takes ClientCredentials, or an Introspection, not {type(argument).__name__}")
    return Introspection(argument)


def is_opaque(token: str) -> bool:
    """Whether it cannot be a signed JWT, which has three parts."""
    return token.count(".") != 2


def check_opaque(token: str, max_bytes: int) -> None:
    """Raises `TokenRejected` for a text that no issuer gives as a token (RFC 6749 §A.12)."""
    if len(token) > max_bytes:
        raise TokenRejected(Reason.TOO_LARGE)
    if not _OPAQUE.fullmatch(token):
        raise TokenRejected(Reason.MALFORMED)


def check_answer(answer: Mapping[str, Any], policy: Policy, now: float, token: str, signed: Token | None) -> Token:
    """The token that the issuer describes, whose members are checked like claims (RFC 7662 §2.2, RFC 9701 §5).

    `signed` is the same token as its signature says, or None for an opaque one. The answer may reduce its scopes, its
    roles and its lifetime. Raises `TokenRejected`, and `KeysUnavailable` for an answer that cannot be used.
    """
    _require_active(answer)
    if answer.get("iss", policy.issuer) != policy.issuer:
        raise TokenRejected(Reason.ISSUER, expected=policy.issuer)
    members = {**(signed.claims if signed is not None else {}), **answer}
    _check_kind(members)
    described = _checked(members, policy, now, token)
    if signed is None:
        return described
    if _identity(described) != _identity(signed):
        raise unavailable("the answer of the issuer describes another token than the one that was sent")
    return dataclasses.replace(
        signed,
        scopes=signed.scopes & described.scopes,
        roles=signed.roles & described.roles,
        expires_at=min(signed.expires_at, described.expires_at),
    )


def unavailable(reason: str, retry_after: float = 1.0) -> KeysUnavailable:
    return KeysUnavailable(retry_after, NO_ANSWER, reason)


def _require_active(answer: Mapping[str, Any]) -> None:
    active = answer.get("active")
    if active is False:
        raise TokenRejected(Reason.REVOKED)
    if active is not True:
        raise unavailable("the answer of the issuer has no member `active` that is true or false")


def _check_kind(members: Mapping[str, Any]) -> None:
    """Refuses refresh tokens, which some issuers report as active, and tokens whose binding cannot be checked."""
    kind = members.get("token_type", "Bearer")
    if members.get("token_use", "access_token") not in ("access_token", "access"):
        raise TokenRejected(Reason.TYPE)
    if not isinstance(kind, str) or kind.lower() not in ("bearer", "dpop"):
        raise TokenRejected(Reason.TYPE)
    if kind.lower() == "dpop" and "cnf" not in members:
        raise TokenRejected(Reason.SENDER_CONSTRAINED)


def _checked(members: dict[str, Any], policy: Policy, now: float, token: str) -> Token:
    try:
        return check_claims(members, policy, now, token)
    except TokenRejected as refusal:
        if refusal.reason is not Reason.MALFORMED:
            raise
    raise unavailable("the answer of the issuer has a member of another type than RFC 7662 requires")


def _identity(token: Token) -> tuple[object, ...]:
    return token.subject, token.client_id, token.jkt, token.actor
