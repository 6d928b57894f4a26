"""Which entries of a JWKS are used as keys."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from scopewright.verifier import KeySet, Reason
from tests.unit.verifier.support import KEY, OTHER, b64, claims, key_of, refusal, token


def parse(*jwks: Any) -> KeySet:
    return KeySet.parse({"keys": list(jwks)})


def test_key_is_found_by_its_kid() -> None:
    keys = parse(KEY.jwk, OTHER.jwk)
    assert key_of(keys, "key-1").algorithms == ("ES256",)
    assert keys.get("key-3") is None


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": b64(b"secret" * 8), "kid": "h", "alg": "HS256"},
        KEY.jwk | {"d": b64(b"\1" * 32)},
        KEY.jwk | {"k": "x"},
        KEY.jwk | {"use": "enc"},
        KEY.jwk | {"key_ops": ["encrypt"]},
        KEY.jwk | {"key_ops": 5},
        KEY.jwk | {"alg": "ES384"},
        KEY.jwk | {"alg": "HS256"},
        KEY.jwk | {"alg": "none"},
        KEY.jwk | {"alg": ["ES256"]},
        KEY.jwk | {"crv": "P-384"},
        KEY.jwk | {"crv": "secp256k1", "alg": "ES256K"},
        KEY.jwk | {"crv": ["P-256"]},
        KEY.jwk | {"x": "AAAA"},
        KEY.jwk | {"x": b64(b"\1" * 32)},
        KEY.jwk | {"x": 1},
        KEY.jwk | {"kid": ""},
        KEY.jwk | {"kid": 1},
        {name: value for name, value in KEY.jwk.items() if name != "kid"},
        {"kid": "key-1"},
        None,
        "key-1",
        [],
    ],
)
def test_unusable_entry_of_a_jwks_is_ignored_and_the_others_are_kept(entry: Any) -> None:
    keys = parse(entry, OTHER.jwk)
    assert len(keys) == 1
    assert keys.get("key-2") is not None


@pytest.mark.parametrize(
    ("bits", "exponent", "count"),
    [
        (8192, 65537, 1),
        (8200, 65537, 0),
        (3072, (1 << 64) - 1, 1),
        (3072, (1 << 64) + 1, 0),
        (3072, (1 << 3070) + 1, 0),
    ],
)
def test_rsa_key_that_is_slow_to_verify_with_is_ignored(bits: int, exponent: int, count: int) -> None:
    """An exponent of the size of the modulus makes each verification as slow as a signature."""
    encoded = b64(exponent.to_bytes((exponent.bit_length() + 7) // 8))
    assert (
        len(parse({"kty": "RSA", "kid": "r", "alg": "RS256", "n": b64(b"\xff" * (bits // 8)), "e": encoded})) == count
    )


def test_weak_rsa_key_is_ignored() -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    assert len(parse(json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(weak)) | {"kid": "r", "alg": "RS256"})) == 0


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [KEY.jwk] * 101}])
def test_document_that_is_not_a_jwks_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a JWKS"):
        KeySet.parse(document)


RSA = rsa.generate_private_key(65537, 2048)
RSA_JWK = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key()))


def test_one_kid_may_name_keys_of_several_types() -> None:
    for entries in ((KEY.jwk, RSA_JWK | {"kid": KEY.kid}), (RSA_JWK | {"kid": KEY.kid}, KEY.jwk)):
        keys = parse(*entries)
        assert len(keys) == 2
        assert refusal(token(), keys=keys) is None
        signed = jwt.encode(claims(), RSA, "RS256", {"typ": "at+jwt", "kid": KEY.kid})
        assert refusal(signed, keys=keys) is None
        again = KeySet.parse({"keys": list(reversed(entries))}, keys)
        assert all(key in again for key in keys.of(KEY.kid)), "unchanged keys are the same objects"


def test_first_of_two_keys_with_one_kid_and_algorithm_is_used() -> None:
    keys = parse(KEY.jwk, OTHER.jwk | {"kid": KEY.kid})
    assert len(keys) == 1
    assert refusal(token(), keys=keys) is None
    assert refusal(token(OTHER, {"kid": KEY.kid}), keys=keys) is Reason.SIGNATURE


@pytest.mark.parametrize("more", [{"key_ops": ["verify"], "ext": True}, {"x5t": 5}, {"note": {"deep": [None]}}])
def test_unknown_members_of_a_key_are_ignored(more: dict[str, Any]) -> None:
    assert refusal(token(), keys=parse(KEY.jwk | more)) is None


@pytest.mark.parametrize("kty", ["EC", "RSA", "OKP", "oct", "AKP"])
@pytest.mark.parametrize("value", [None, 5, 1e999, "", "é", "=", "A" * 100_000, [], {}, [None], True])
def test_malformed_member_of_one_key_does_not_affect_the_others(kty: str, value: Any) -> None:
    for name in ("kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid"):
        base = RSA_JWK if kty == "RSA" else KEY.jwk
        assert parse(base | {"kty": kty, "kid": "odd", name: value}, OTHER.jwk).get("key-2") is not None


def test_unchanged_key_is_the_same_object_after_a_fetch() -> None:
    before = parse(KEY.jwk, OTHER.jwk)
    after = KeySet.parse({"keys": [KEY.jwk, OTHER.jwk | {"x": KEY.jwk["x"], "y": KEY.jwk["y"]}]}, before)
    assert key_of(before, "key-1") in after
    assert key_of(before, "key-2") not in after
