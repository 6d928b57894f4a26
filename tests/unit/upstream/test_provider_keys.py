"""Keys of a provider without key ids."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.upstream.provider_keys import ProviderKeys

JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))


def test_key_without_a_kid() -> None:
    keys = ProviderKeys.parse({"keys": [JWK]})
    key = keys.sole("ES256")
    assert key is not None
    assert keys.sole("ES384") is None
    assert ProviderKeys.parse({"keys": [JWK]}, keys).sole("ES256") is key


def test_two_keys_that_fit() -> None:
    assert ProviderKeys.parse({"keys": [JWK, JWK]}).sole("ES256") is None
    assert ProviderKeys.parse({"keys": [JWK | {"kid": "a"}, JWK | {"kid": "a"}]}).sole("ES256") is None


@pytest.mark.parametrize("kid", ["", 7, None])
def test_malformed_kid_is_not_an_absent_one(kid: object) -> None:
    assert len(ProviderKeys.parse({"keys": [JWK | {"kid": kid}, None, "a"]})) == 0


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": [JWK] * 101}])
def test_document_that_is_not_a_jwks(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a JWKS"):
        ProviderKeys.parse(document)
