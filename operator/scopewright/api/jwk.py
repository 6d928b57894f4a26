"""The public keys that a client registers (RFC 7517), and the rules that keep private ones out."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from scopewright.api.meta import Model
from scopewright.api.rules import Rule

Base64Url = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]+$", max_length=1024)]

_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

Private = Annotated[str | None, Field(max_length=2048, repr=False, exclude=True)]
AnyMapping = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]


class JWK(Model):
    """One public key of the client."""

    RULES = (
        Rule(
            "jwk-is-public",
            " && ".join(f"!has(self.{member})" for member in _PRIVATE_MEMBERS),
            "this is a private or a secret key: register the public key alone (without d, p, q, dp, dq, qi, oth and k),"
            " and treat this one as leaked",
        ),
        Rule(
            "jwk-ec-complete",
            "self.kty != 'EC' || (has(self.crv) && has(self.x) && has(self.y)"
            " && (self.crv == 'P-256' && size(self.x) == 43 && size(self.y) == 43"
            " || self.crv == 'P-384' && size(self.x) == 64 && size(self.y) == 64))",
            "a key of kty EC needs crv P-256 or P-384 and the coordinates x and y in full length",
        ),
        Rule(
            "jwk-okp-complete",
            "self.kty != 'OKP' || (has(self.crv) && self.crv == 'Ed25519' && has(self.x) && size(self.x) == 43)",
            "a key of kty OKP needs crv Ed25519 and x in full length",
        ),
        Rule(
            "jwk-rsa-complete",
            "self.kty != 'RSA' || (has(self.n) && has(self.e))",
            "a key of kty RSA needs the modulus n and the exponent e",
        ),
        Rule(
            "jwk-rsa-long-enough",
            "!has(self.n) || size(self.n) >= 342",
            "an RSA key needs at least 2048 bits (342 characters of n): make a longer one, or an EC key",
            "n",
        ),
        Rule(
            "jwk-rsa-short-enough",
            "!has(self.n) || size(self.n) <= 683",
            "an RSA key has at most 4096 bits (683 characters of n): make a shorter one, or an EC key",
            "n",
        ),
        Rule(
            "jwk-rsa-exponent",
            "!has(self.e) || self.e == 'AQAB'",
            "an RSA key has the exponent 65537 (e: AQAB): make another one, as most tools do without being asked",
            "e",
        ),
        Rule(
            "jwk-alg-fits",
            "!has(self.alg) || self.alg in (self.kty == 'RSA' ? ['RS256', 'PS256'] : !has(self.crv) ? [] :"
            " self.crv == 'P-256' ? ['ES256'] : self.crv == 'P-384' ? ['ES384'] : ['EdDSA', 'Ed25519'])",
            "alg does not fit the key: RS256 or PS256 with RSA, ES256 with P-256, ES384 with P-384, "
            "Ed25519 (or EdDSA) with Ed25519; correct it or remove it",
            "alg",
        ),
    )

    kty: Literal["EC", "RSA", "OKP"]
    """Key type."""
    kid: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern="^[!-~]+$")] | None = None
    """Key id, as the client's assertions name it. Left out: the key is tried for assertions without one."""
    alg: Literal["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"] | None = None
    """The algorithm the client signs with. Left out: what fits the key, and RS256 with RSA."""
    use: Literal["sig"] | None = None
    """What the key is for: signatures. Left out: the same."""
    crv: Literal["P-256", "P-384", "Ed25519"] | None = None
    """Curve, with EC and OKP. Left out with RSA."""
    x: Base64Url | None = None
    """X coordinate, with EC, or the public key, with OKP. Left out with RSA."""
    y: Base64Url | None = None
    """Y coordinate, with EC. In YAML write "y" in quotes: bare, it means true. Left out with the others."""
    n: Base64Url | None = None
    """Modulus, with RSA. In YAML write "n" in quotes: bare, it means false. Left out with the others."""
    e: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]+$", max_length=16)] | None = None
    """Exponent, with RSA. Left out with the others."""
    key_ops: Annotated[
        list[Annotated[str, StringConstraints(max_length=32)]] | None,
        Field(alias="key_ops", max_length=16, exclude=True),
    ] = None
    """Ignored; tools write it, as they do ext. Left out: the same."""
    ext: Annotated[bool | None, Field(exclude=True)] = None
    """Ignored. Left out: the same."""

    # Declared only to be refused: an undeclared member would be pruned in silence, and the leak go unnoticed.
    d: Private = None
    """Private: refused."""
    p: Private = None
    """Private: refused."""
    q: Private = None
    """Private: refused."""
    dp: Private = None
    """Private: refused."""
    dq: Private = None
    """Private: refused."""
    qi: Private = None
    """Private: refused."""
    oth: Annotated[list[AnyMapping] | None, Field(max_length=8, repr=False, exclude=True)] = None
    """Private: refused."""
    k: Private = None
    """A shared secret: refused."""


class JWKSet(Model):
    """The client's public keys (RFC 7517 §5)."""

    RULES = (
        Rule(
            "jwks-kids-differ",
            "self.keys.all(a, self.keys.exists_one(b, (has(b.kid) ? b.kid : '') == (has(a.kid) ? a.kid : '')))",
            "every key needs a kid of its own where there are several: set it, for instance to the RFC 7638 thumbprint",
            "keys",
        ),
    )

    keys: Annotated[list[JWK], Field(max_length=8)] = Field(default_factory=list)
    """The keys, at most eight. Empty: the operator makes the pair, as if jwks were left out."""
