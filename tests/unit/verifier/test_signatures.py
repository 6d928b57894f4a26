"""`verifier.signatures` accepts and refuses the signatures that PyJWT's algorithms do."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from scopewright.verifier.keyset import parse_key
from scopewright.verifier.signatures import prepare, verify_with

DATA: Final = b"header.payload"
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
_CURVES: Final = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    if algorithm in _CURVES:
        return ec.derive_private_key(number + 7, _CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))
    return rsa.generate_private_key(65537, 2048)


def signatures(algorithm: str) -> Iterator[bytes]:
    """Good and bad ones."""
    signing = jwt.get_algorithm_by_name(algorithm)
    good = signing.sign(DATA, private_key(algorithm))
    yield good
    yield signing.sign(DATA + b"x", private_key(algorithm))
    yield signing.sign(DATA, private_key(algorithm, 1))
    yield from (b"", good[:-1], good + b"\0", b"\0" + good, bytes(len(good)), b"\xff" * len(good), good[::-1])
    random = Random(1)
    for _ in range(24):
        changed = bytearray(good)
        changed[random.randrange(len(good))] ^= 1 << random.randrange(8)
        yield bytes(changed)
    half = len(good) // 2
    yield encode_dss_signature(int.from_bytes(good[:half]), int.from_bytes(good[half:]))
    yield good[:half] + bytes(half)
    yield bytes(half) + good[half:]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_are_verified_as_by_pyjwt(algorithm: str) -> None:
    other, public = jwt.get_algorithm_by_name(algorithm), private_key(algorithm).public_key()
    verify = verify_with(public, algorithm)
    results = [(verify(DATA, s), other.verify(DATA, public, s)) for s in signatures(algorithm)]
    assert results[0] == (True, True)
    assert [one for one, _ in results] == [two for _, two in results]
    assert sum(one for one, _ in results) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_are_parsed_as_by_pyjwt(algorithm: str) -> None:
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(private_key(algorithm).public_key(), as_dict=True)
    assert prepare(jwk, algorithm).key == jwt.PyJWK(jwk, algorithm).key
    key = parse_key({**jwk, "kid": "1", "alg": algorithm})
    assert key is not None
    assert key.verifies(DATA, next(signatures(algorithm)))


def test_a_private_key_verifies_nothing() -> None:
    with pytest.raises(TypeError, match="public key"):
        verify_with(private_key("ES256"), "ES256")
