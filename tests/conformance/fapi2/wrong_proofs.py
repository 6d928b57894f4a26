"""DPoP proofs that a resource must refuse (RFC 9449 §4.3)."""

from typing import Any, Final

import jwt

from tests.conformance.fapi2.client import Client, Keys

CHANGED: Final[dict[str, dict[str, Any]]] = {
    "another method": {"htm": "POST"},
    "no method": {"htm": None},
    "another URL": {"htu": "https://payroll.hr.example/other"},
    "another host": {"htu": "https://evil.example/salaries"},
    "another scheme": {"htu": "http://payroll.hr.example/salaries"},
    "no URL": {"htu": None},
    "no iat": {"iat": None},
    "an old iat": {"iat": 1_700_000_000},
    "an iat far ahead": {"iat": 4_000_000_000},
    "an iat that is a text": {"iat": "now"},
    "no jti": {"jti": None},
    "a jti that is a number": {"jti": 7},
    "no ath": {"ath": None},
    "another ath": {"ath": "x" * 43},
    "no typ": {"header": {"typ": None}},
    "typ JWT": {"header": {"typ": "JWT"}},
    "no jwk": {"header": {"jwk": None}},
    "a jwk that is a text": {"header": {"jwk": "x"}},
    "an empty jwk": {"header": {"jwk": {}}},
    "a symmetric jwk": {"header": {"jwk": {"kty": "oct", "k": "AAAA"}}},
    "a private jwk": {"header": {"jwk": "private"}},
    "the jwk of another key": {"header": {"jwk": "another"}},
    "jwk.alg of another algorithm": {"header": {"jwk": {"alg": "ES512"}}},
    "jwk.use enc": {"header": {"jwk": {"use": "enc"}}},
    "jwk.key_ops without verify": {"header": {"jwk": {"key_ops": ["sign"]}}},
    "a critical extension": {"header": {"crit": ["x"]}},
}
"""Other claims, and other members of the header in `header`, by what is wrong; None removes one. A `jwk` of `private`
has the private part, and one of `another` is another client's.
"""


def changed_proof(what: str, client: Client, other: Client, method: str, url: str, token: str) -> str:
    """The proof `what` of CHANGED."""
    case = dict(CHANGED[what])
    header = dict(case.pop("header", {}))
    if header.get("jwk") == "private":
        header["jwk"] = client.holder.jwk | {"d": "AAAA"}
    elif header.get("jwk") == "another":
        header["jwk"] = other.holder.jwk
    elif header.get("jwk") and isinstance(header["jwk"], dict) and "kty" not in header["jwk"]:
        header["jwk"] = client.holder.jwk | header["jwk"]
    return client.proof(method, url, token, header=header, **case)


def malformed_proofs(client: Client, good: str) -> list[str]:
    """Unsigned, signed with HMAC or RS256, with a broken signature, no JWT, several in one header."""
    header, claims, signature = good.split(".")
    content = jwt.decode(good, options={"verify_signature": False})
    rsa = Keys.make("PS256")
    return [
        jwt.encode(content, "", "none", {"typ": "dpop+jwt"}),
        jwt.encode(content, "s" * 32, "HS256", {"typ": "dpop+jwt", "jwk": client.holder.jwk}),
        rsa.sign(content, "RS256", typ="dpop+jwt", jwk=rsa.jwk),
        f"{header}.{claims}.{signature[::-1]}",
        f"{header}.{claims}.",
        "x",
        f"{good}, {good}",
    ]
