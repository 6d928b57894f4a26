"""Tokens that other libraries sign for the verifier, valid and invalid, with the expected result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.verifier import Reason

AUDIENCE: Final = "https://payroll.hr.example"
ALGORITHMS: Final = ("ES256", "ES384", "RS256", "PS256", "EdDSA")
_OTHER: Final = {"ES256": "ES384", "ES384": "ES256", "RS256": "PS256", "PS256": "RS256", "EdDSA": "ES256"}


@dataclass(frozen=True)
class Order:
    """A token to be signed. Header members and claims that are None are omitted; `reason` is None for a valid token."""

    name: str
    reason: Reason | None
    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    more: str = ""
    """Text of members that are appended to the payload."""
    key: str = "published"
    """`thief`: a key that is not in the JWKS; `other`: a published one of another algorithm; `secret`: for HMAC."""
    refused_by: frozenset[str] = frozenset()
    """Programs whose library refuses to sign such a token."""


def orders(now: float) -> list[Order]:
    second = int(now)
    return [
        Order("good", None),
        Order("typ_in_full", None, {"typ": "application/at+jwt"}),
        Order("several_audiences", None, claims={"aud": ["https://leave.hr.example", AUDIENCE]}),
        Order("expired_within_the_skew", None, claims={"exp": second - 30}),
        Order("typ_of_an_id_token", Reason.TYPE, {"typ": "JWT"}),
        Order("no_typ", Reason.TYPE, {"typ": None}),
        Order("unknown_kid", Reason.UNKNOWN_KEY, {"kid": "unknown"}),
        Order("no_kid", Reason.MALFORMED, {"kid": None}),
        Order("critical_extension", Reason.MALFORMED, {"crit": ["x"], "x": 1}, refused_by=frozenset({"python"})),
        Order("expired", Reason.EXPIRED, claims={"exp": second - 61}),
        Order("no_exp", Reason.MISSING_CLAIM, claims={"exp": None}),
        Order("exp_as_text", Reason.MALFORMED, claims={"exp": str(second + 600)}),
        Order("not_yet_valid", Reason.NOT_YET_VALID, claims={"nbf": second + 600}),
        Order("issued_tomorrow", Reason.NOT_YET_VALID, claims={"iat": second + 86400}),
        Order("another_audience", Reason.AUDIENCE, claims={"aud": "https://leave.hr.example"}),
        Order("another_issuer", Reason.ISSUER, claims={"iss": "https://evil.example"}),
        Order("bound", Reason.SENDER_CONSTRAINED, claims={"cnf": {"jkt": "x"}}),
        Order("no_client", Reason.MISSING_CLAIM, claims={"client_id": None}),
        Order("claim_twice", Reason.MALFORMED, more=', "scope": "payroll.write"'),
        Order("thief", Reason.SIGNATURE, key="thief"),
        Order("thief_with_its_key", Reason.SIGNATURE, {"jku": "https://evil.example/jwks"}, key="thief"),
        Order("key_of_another_algorithm", Reason.ALGORITHM, key="other"),
        Order("hmac", Reason.ALGORITHM, key="secret"),
    ]


def job(issuer: str, now: float) -> dict[str, Any]:
    """The input of a program: keys of every algorithm, and all tokens with each key, made at `now`."""
    keys: list[dict[str, Any]] = [{"name": "secret", "alg": "HS256"}]
    tokens = []
    for alg in ALGORITHMS:
        keys += [{"name": f"{alg}-published", "kid": alg, "alg": alg}, {"name": f"{alg}-thief", "alg": alg}]
        for order in orders(now):
            key, says = {
                "published": (f"{alg}-published", alg),
                "thief": (f"{alg}-thief", alg),
                "other": (f"{_OTHER[alg]}-published", _OTHER[alg]),
                "secret": ("secret", "HS256"),
            }[order.key]
            header = {"alg": says, "typ": "at+jwt", "kid": alg} | dict(order.header)
            payload = json.dumps(_present(_claims(issuer, now) | dict(order.claims)))
            tokens.append(
                {
                    "name": f"{alg}-{order.name}",
                    "key": key,
                    "header": _present(header),
                    "payload": payload[:-1] + order.more + "}",
                }
            )
    return {"sign": {"keys": keys, "tokens": tokens}}


def _claims(issuer: str, now: float) -> dict[str, Any]:
    return {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "leave.leave-worker",
        "client_id": "leave.leave-worker",
        "iat": int(now),
        "exp": int(now) + 600,
        "jti": "1",
        "scope": "payroll.read",
    }


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
