"""Public keys that a client registers (RFC 7517), and the rules that reject private keys."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.meta import Model
from scopewright.api.rules import CelRule

Base64Url = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]+$", max_length=1024)]

_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

_Private = Annotated[str | None, Field(max_length=2048, repr=False, exclude=True)]
_AnyMapping = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]


class JWK(Model):
    """One public key of the client (RFC 7517 §4)."""

    RULES = (
        CelRule(
            "jwk-is-public",
            " && ".join(f"!has(self.{member})" for member in _PRIVATE_MEMBERS),
            "this is a private or secret key, and must be treated as leaked; register the public key of a new pair, "
            "without d, p, q, dp, dq, qi, oth and k",
        ),
        CelRule(
            "jwk-ec-complete",
            "self.kty != 'EC' || (has(self.crv) && has(self.x) && has(self.y)"
            " && (self.crv == 'P-256' && size(self.x) == 43 && size(self.y) == 43"
            " || self.crv == 'P-384' && size(self.x) == 64 && size(self.y) == 64))",
            "a key with kty EC must have crv P-256 or P-384, and x and y of 43 characters (P-256) or 64 (P-384); "
            "copy them from the public key",
        ),
        CelRule(
            "jwk-okp-complete",
            "self.kty != 'OKP' || (has(self.crv) && self.crv == 'Ed25519' && has(self.x) && size(self.x) == 43)",
            "a key with kty OKP must have crv Ed25519, and x of 43 characters; copy them from the public key",
        ),
        CelRule(
            "jwk-rsa-complete",
            "self.kty != 'RSA' || (has(self.n) && has(self.e))",
            "a key with kty RSA must have the modulus n and the exponent e; copy them from the public key",
        ),
        CelRule(
            "jwk-rsa-long-enough",
            "!has(self.n) || size(self.n) >= 342",
            "an RSA key must have at least 2048 bits (342 characters of n); generate a longer RSA key, or an EC key",
            "n",
        ),
        CelRule(
            "jwk-rsa-short-enough",
            "!has(self.n) || size(self.n) <= 683",
            "an RSA key must have at most 4096 bits (683 characters of n); generate a shorter RSA key, or an EC key",
            "n",
        ),
        CelRule(
            "jwk-rsa-exponent",
            "!has(self.e) || self.e == 'AQAB'",
            "an RSA key must have the exponent 65537 (e: AQAB), the default of most tools; generate another key",
            "e",
        ),
        CelRule(
            "jwk-alg-fits",
            "!has(self.alg) || self.alg in (self.kty == 'RSA' ? ['RS256', 'PS256'] : !has(self.crv) ? [] :"
            " self.crv == 'P-256' ? ['ES256'] : self.crv == 'P-384' ? ['ES384'] : ['EdDSA', 'Ed25519'])",
            "alg does not match the key type: RS256 or PS256 with RSA, ES256 with P-256, ES384 with P-384, "
            "Ed25519 or EdDSA with Ed25519; correct alg or remove it",
            "alg",
        ),
    )

    kty: Literal["EC", "RSA", "OKP"]
    """Key type: EC, RSA or OKP."""
    kid: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern="^[!-~]+$")] | None = None
    """Key id, as in the header of the client's assertions, which may omit it if only one key matches. Defaults to the
    RFC 7638 thumbprint of the key."""
    alg: Literal["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"] | None = None
    """Signature algorithm of the client. Defaults to the algorithm of the curve, and to RS256 for RSA."""
    use: Literal["sig"] | None = None
    """Use of the key; sig is the only value. Defaults to sig."""
    crv: Literal["P-256", "P-384", "Ed25519"] | None = None
    """Curve. Required for EC and OKP, unused for RSA. Defaults to none."""
    x: Base64Url | None = None
    """X coordinate of an EC key, or the public key of an OKP key. Required for EC and OKP. Defaults to none."""
    y: Base64Url | None = None
    """Y coordinate of an EC key. Required for EC. In YAML, quote the name "y": without quotes, it means true. Defaults
    to none."""
    n: Base64Url | None = None
    """Modulus of an RSA key. Required for RSA. In YAML, quote the name "n": without quotes, it means false. Defaults to
    none."""
    e: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]+$", max_length=16)] | None = None
    """Exponent of an RSA key. Required for RSA. Defaults to none."""
    key_ops: Annotated[
        list[Annotated[str, StringConstraints(max_length=32)]] | None,
        Field(alias="key_ops", max_length=16, exclude=True),
    ] = None
    """Ignored; some tools write it. Defaults to none."""
    ext: Annotated[bool | None, Field(exclude=True)] = None
    """Ignored; some tools write it. Defaults to none."""

    # Declared so that the rule jwk-is-public can reject them: undeclared members would be pruned without an error.
    d: _Private = None
    """Private key parameter; refused."""
    p: _Private = None
    """Private key parameter; refused."""
    q: _Private = None
    """Private key parameter; refused."""
    dp: _Private = None
    """Private key parameter; refused."""
    dq: _Private = None
    """Private key parameter; refused."""
    qi: _Private = None
    """Private key parameter; refused."""
    oth: Annotated[list[_AnyMapping] | None, Field(max_length=8, repr=False, exclude=True)] = None
    """Private key parameter; refused."""
    k: _Private = None
    """Shared secret; refused."""


class JWKSet(Model):
    """JWK Set with the client's public keys (RFC 7517 §5)."""

    RULES = (
        CelRule(
            "jwks-kids-unique",
            "self.keys.all(a, self.keys.exists_one(b, (has(b.kid) ? b.kid : '') == (has(a.kid) ? a.kid : '')))",
            "keys must have different values of kid; set kid of each key, for example to its RFC 7638 thumbprint",
            "keys",
        ),
    )

    keys: Annotated[list[JWK], Field(max_length=8)] = Field(default_factory=list)
    """Public keys, at most eight. Defaults to an empty list: the operator generates the key pair, as without jwks."""
