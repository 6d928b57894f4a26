"""Thumbprints: the `kid` of keys in issuer, operator and verifier."""

import pytest

from scopewright.verifier.thumbprint import thumbprint
from tests.unit.verifier.support import HOLDER
from tests.unit.verifier.support import thumbprint as worked_out


def test_thumbprint_depends_on_the_key_only() -> None:
    assert thumbprint({**HOLDER.jwk, "kid": "a name", "use": "sig", "alg": "ES256"}) == worked_out(HOLDER)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["EC"]},
        {"kty": "EC", "crv": "P-256", "x": "AA"},
        {"kty": "RSA", "n": "", "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": 7},
    ],
)
def test_thumbprint_of_a_malformed_key_is_empty(jwk: dict[str, object]) -> None:
    assert thumbprint(jwk) == ""


def test_thumbprint_accepts_surrogates() -> None:
    assert thumbprint({"kty": "OKP", "crv": "Ed25519", "x": "\ud800"})
