"""Verifiers of access tokens in Python, each as its documentation shows it, with the issuer's keys at hand.

Every one checks signature, issuer, audience and expiry of each token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet, KeySetSerialization
from joserfc.jwt import JWTClaimsRegistry
from joserfc.jwt import decode as joserfc_decode
from jwt.types import Options

from scopewright.verifier import Verifier

AUDIENCE: Final = "https://payroll-api.payroll.svc"

Verify = Callable[[str], object]
"""Returns for a valid token, and raises for any other."""


@dataclass(frozen=True, slots=True)
class IssuerOfTokens:
    """What a verifier has to know. `jwks_uri` serves `jwks`."""

    issuer: str
    algorithm: str
    jwks_uri: str
    jwks: KeySetSerialization


Peer = Callable[[IssuerOfTokens], Callable[[], Verify]]
"""Prepares a verifier. The result returns one that has seen no token yet."""


def scopewright(source: IssuerOfTokens) -> Callable[[], Verify]:
    verifier = Verifier(source.issuer, AUDIENCE, jwks_uri=source.jwks_uri)
    verifier.ready_sync()
    return lambda: verifier.for_audience(AUDIENCE).verify_sync


def pyjwt(source: IssuerOfTokens) -> Callable[[], Verify]:
    """`jwt.decode` alone, with a key that is parsed already."""
    key = jwt.PyJWK(source.jwks["keys"][0])

    def verify(token: str) -> object:
        return _decoded(token, key, source)

    return lambda: verify


def pyjwt_with_client(source: IssuerOfTokens) -> Callable[[], Verify]:
    client = jwt.PyJWKClient(source.jwks_uri, cache_keys=True)

    def verify(token: str) -> object:
        return _decoded(token, client.get_signing_key_from_jwt(token), source)

    return lambda: verify


def _decoded(token: str, key: jwt.PyJWK, source: IssuerOfTokens) -> object:
    required: Options = {"require": ["exp", "iss", "aud"]}
    return jwt.decode(token, key, [source.algorithm], required, audience=AUDIENCE, issuer=source.issuer, leeway=60)


def authlib(source: IssuerOfTokens) -> Callable[[], Verify]:
    keys = KeySet.import_key_set(source.jwks)

    class Validator(JWTBearerTokenValidator):
        def get_jwks(self) -> KeySet:
            return keys

    untyped: Any = Validator
    validator = untyped(source.issuer, AUDIENCE)

    def verify(token: str) -> object:
        claims = validator.authenticate_token(token)
        validator.validate_token(claims, [], None)
        return claims

    return lambda: verify


def joserfc(source: IssuerOfTokens) -> Callable[[], Verify]:
    keys = KeySet.import_key_set(source.jwks)
    registry = JWTClaimsRegistry(
        leeway=60,
        iss={"essential": True, "value": source.issuer},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
    )

    def verify(token: str) -> object:
        claims = joserfc_decode(token, keys, [source.algorithm]).claims
        registry.validate(claims)
        return claims

    return lambda: verify


PEERS: Final[Mapping[str, Peer]] = {
    "scopewright.verifier": scopewright,
    "PyJWT": pyjwt,
    "PyJWT with PyJWKClient": pyjwt_with_client,
    "Authlib": authlib,
    "joserfc": joserfc,
}
