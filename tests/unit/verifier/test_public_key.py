"""Keys and signatures of every algorithm, as PyJWT makes them."""

import subprocess
import sys
from typing import Any

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scopewright.verifier.public_key import parse_public_key, signature_verifier

RSA = rsa.generate_private_key(65537, 2048)
PRIVATE: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
}
SIGNED = b"header.payload"


def jwk_of(algorithm: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    return found


def is_verified(algorithm: str, signature: bytes, signed: bytes = SIGNED, jwk: dict[str, Any] | None = None) -> bool:
    verify = signature_verifier(parse_public_key(jwk or jwk_of(algorithm)), algorithm)
    try:
        verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_signature_of_each_algorithm_is_verified(algorithm: str) -> None:
    signature = jwt.get_algorithm_by_name(algorithm).sign(SIGNED, PRIVATE[algorithm])
    assert is_verified(algorithm, signature)
    assert not is_verified(algorithm, signature, SIGNED + b".")
    for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature, bytes(len(signature)), b"\xff" * 64):
        assert not is_verified(algorithm, wrong)
    for place in (0, len(signature) // 2, len(signature) - 1):
        altered = bytearray(signature)
        altered[place] ^= 1
        assert not is_verified(algorithm, bytes(altered))


@pytest.mark.parametrize("algorithm", [name for name in PRIVATE if name[0] != "E"])
@pytest.mark.parametrize("other", [name for name in PRIVATE if name[0] != "E"])
def test_signature_of_another_algorithm_of_the_same_key_is_not_verified(algorithm: str, other: str) -> None:
    signature = jwt.get_algorithm_by_name(other).sign(SIGNED, RSA)
    assert is_verified(algorithm, signature) is (algorithm == other)


def test_der_signature_is_not_verified() -> None:
    private = PRIVATE["ES256"]
    der = private.sign(SIGNED, ec.ECDSA(jwt.get_algorithm_by_name("ES256").hash_alg()))  # type: ignore[attr-defined]
    assert not is_verified("ES256", der)


@pytest.mark.parametrize(
    ("of_key", "algorithm"),
    [("ES256", "RS256"), ("RS256", "ES256"), ("EdDSA", "ES256"), ("ES256", "EdDSA"), ("RS256", "")],
)
def test_algorithm_of_another_kind_of_key_is_refused(of_key: str, algorithm: str) -> None:
    with pytest.raises(ValueError, match="not of this kind of key"):
        signature_verifier(parse_public_key(jwk_of(of_key)), algorithm)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256"])
def test_padding_of_a_member_is_tolerated(algorithm: str) -> None:
    padded = {name: f"{value}==" if name in "xyne" else value for name, value in jwk_of(algorithm).items()}
    assert parse_public_key(padded) == parse_public_key(jwk_of(algorithm))


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "oct"},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": None},
        {"x": 5},
        {"x": b"AAAA"},
        {"x": "é"},
        {"x": "A" * 42},
        {"x": "A" * 43},  # not on the curve
        {"x": "A" * 44},
        {"y": jwk_of("ES256")["x"]},
    ],
)
def test_malformed_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_public_key(jwk_of("ES256") | changes)


@pytest.mark.parametrize("missing", ["kty", "crv", "x", "y"])
def test_key_without_a_member_is_refused(missing: str) -> None:
    with pytest.raises(KeyError):
        parse_public_key({name: value for name, value in jwk_of("ES256").items() if name != missing})


def test_verifying_imports_no_module() -> None:
    """A child that is forked while another thread imports a module can never import it."""
    program = """
import sys
from scopewright.verifier import KeySet
before = set(sys.modules)
for alg, jwk in %r.items():
    (key,) = KeySet.parse({"keys": [dict(jwk, kid="k", alg=alg)]}).of("k")
    assert key.verifies(b"signed", bytes(64)) is False
print(*sorted(set(sys.modules) - before))
"""
    jwks = ({algorithm: jwk_of(algorithm) for algorithm in PRIVATE},)
    done = subprocess.run([sys.executable, "-c", program % jwks], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
