"""Generated keys and secrets: thumbprints are those of the RFCs, and a private key matches only its own JWK."""

import base64
import json
import math
import re

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from scopewright.controller.key_generation import client_pair, generate_secret, make_key, matches
from scopewright.verifier.thumbprint import thumbprint

RFC_7638_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
    "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn"
    "1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)


def test_the_thumbprint_of_rfc_7638() -> None:
    members = {"n": RFC_7638_N, "kty": "RSA", "e": "AQAB"}
    assert thumbprint(members) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_thumbprint_of_rfc_8037() -> None:
    members = {"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kty": "OKP", "crv": "Ed25519"}
    assert thumbprint(members) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_a_key_matches_its_own_jwk_and_no_other(algorithm: str) -> None:
    key, other = make_key(algorithm), make_key("ES256")
    assert key.jwk["alg"] == algorithm
    assert key.jwk["use"] == "sig"
    assert matches(key.pem, key.jwk)
    assert not matches(key.pem, other.jwk)
    assert not matches(key.pem, {**key.jwk, "kid": other.jwk["kid"]})
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key.jwk)
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_malformed_private_keys_match_no_jwk(pem: bytes) -> None:
    assert not matches(pem, make_key("ES256").jwk)


def test_unsupported_private_keys_match_no_jwk() -> None:
    foreign = (ec.generate_private_key(ec.SECP521R1()), x25519.X25519PrivateKey.generate())
    for key in foreign:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        assert not matches(pem, make_key("ES256").jwk)


def test_coordinates_keep_their_leading_zeros() -> None:
    for _ in range(300):
        jwk = make_key("ES256").jwk
        assert all(len(base64.urlsafe_b64decode(jwk[c] + "=")) == 32 for c in "xy")


def test_secrets_are_long_enough_and_need_no_encoding() -> None:
    secrets = {generate_secret() for _ in range(500)}
    assert len(secrets) == 500
    assert all(re.fullmatch("[A-Za-z0-9]+", s) and len(s) * math.log2(62) >= 256 for s in secrets)
    assert len(set("".join(secrets))) == 62


def test_a_clients_pair_is_a_private_jwk_and_its_public_members() -> None:
    pair = client_pair(make_key("ES256"))
    private = json.loads(pair.private)
    assert {name: value for name, value in private.items() if name != "d"} == pair.jwk
    assert len(private["d"]) == 43
    assert pair.jwk["kid"] == thumbprint({name: pair.jwk[name] for name in ("kty", "crv", "x", "y")})
    assert (pair.jwk["alg"], pair.jwk["use"]) == ("ES256", "sig")
    assert private["d"] not in repr(pair)
    signed = jwt.encode({"iss": "leave.worker"}, jwt.PyJWK(private).key, "ES256")
    assert jwt.decode(signed, jwt.PyJWK(pair.jwk).key, ["ES256"]) == {"iss": "leave.worker"}


def test_a_clients_pair_is_only_made_of_an_es256_key() -> None:
    with pytest.raises(TypeError):
        client_pair(make_key("EdDSA"))
