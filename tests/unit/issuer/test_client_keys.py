"""The keys of clients, which are kept as DER, verify what the keys of their JWKs do."""

from typing import Any

import jwt
import pytest

from scopewright.issuer.state.entries import build_key
from scopewright.verifier.keyset import parse_key
from tests.unit.verifier.test_signatures import ALGORITHMS, DATA, private_key, signatures


def public_jwk(algorithm: str) -> dict[str, Any]:
    return jwt.get_algorithm_by_name(algorithm).to_jwk(private_key(algorithm).public_key(), as_dict=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("names_alg", [True, False])
def test_key_verifies_what_that_of_its_jwk_does(algorithm: str, names_alg: bool) -> None:
    jwk = {**public_jwk(algorithm), "kid": "1", **({"alg": algorithm} if names_alg else {})}
    key, slow = build_key(jwk, b"", 0.0), parse_key(jwk)
    assert slow is not None
    assert (key.kid, key.algorithms) == (slow.kid, slow.algorithms)
    results = [key.verifies(DATA, signature) for signature in signatures(algorithm)]
    assert results == [slow.verifies(DATA, signature) for signature in signatures(algorithm)]
    assert sum(results) == (names_alg or not algorithm.startswith(("PS", "RS3", "RS5")))


@pytest.mark.parametrize(
    "changed", [{"alg": "HS256"}, {"alg": "RS256"}, {"crv": "secp256k1"}, {"x": "AA"}, {"use": "enc"}, {"kty": "oct"}]
)
def test_key_that_cannot_be_used_has_no_algorithms(changed: dict[str, str]) -> None:
    jwk = {**public_jwk("ES256"), **changed}
    assert parse_key({**jwk, "kid": "1"}) is None
    assert build_key({**jwk, "kid": "1"}, b"", 0.0).algorithms == ()


def test_key_without_a_kid_gets_its_thumbprint() -> None:
    jwk = public_jwk("ES256")
    assert len(build_key(jwk, b"", 0.0).kid) == 43
