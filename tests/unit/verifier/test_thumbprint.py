"""Thumbprints, which name keys in the issuer, the operator and the verifier alike."""

import pytest

from scopewright.verifier.thumbprint import thumbprint
from tests.unit.verifier.support import HOLDER
from tests.unit.verifier.support import thumbprint as worked_out


def test_nothing_but_the_key_itself_counts() -> None:
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
def test_what_is_no_public_key_has_none(jwk: dict[str, object]) -> None:
    assert thumbprint(jwk) == ""


def test_characters_that_utf_8_has_not_are_no_exception() -> None:
    assert thumbprint({"kty": "OKP", "crv": "Ed25519", "x": "\ud800"})
