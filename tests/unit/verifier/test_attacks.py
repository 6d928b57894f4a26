"""The table of attacks on JWTs: each is refused for its reason."""

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scopewright.verifier import KeySet, Policy, Reason
from tests.cases.attacks import Attack, Forge, attacks
from tests.harness.clock import Clock
from tests.unit.verifier.support import (
    AUDIENCE,
    ISSUER,
    KEY,
    KEYS,
    NOW,
    OTHER,
    POLICY,
    FakeIssuer,
    SigningKey,
    b64,
    claims,
    raw_token,
    reason_of,
    refusal,
    token,
    verifier_of,
)

FORGE = Forge(KEY, claims(), int(NOW))
ATTACKS = attacks(FORGE)


def test_token_without_an_attack_is_accepted() -> None:
    assert refusal(token()) is None


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_attack_is_refused_for_its_reason(attack: Attack) -> None:
    assert refusal(attack.token) is attack.reason


async def test_every_attack_is_refused_after_the_valid_token_was_cached() -> None:
    verifier = verifier_of(FakeIssuer(KEY), Clock())
    assert await reason_of(verifier, FORGE.token()) is None
    for attack in ATTACKS:
        assert await reason_of(verifier, attack.token) is attack.reason, attack.name


@pytest.mark.parametrize("times", [{"exp": NOW - 59}, {"nbf": NOW + 60}, {"iat": NOW + 60}, {"nbf": 0, "iat": 0}])
def test_token_is_accepted_within_the_clock_skew(times: dict[str, float]) -> None:
    assert refusal(FORGE.claiming(**times)) is None


def test_hmac_cannot_be_allowed_by_configuration() -> None:
    for algorithm in ("HS256", "none"):
        with pytest.raises(ValueError, match="algorithms must be among"):
            Policy(ISSUER, AUDIENCE, algorithms=frozenset({algorithm}))


def test_algorithm_must_be_the_one_of_the_key() -> None:
    private = rsa.generate_private_key(65537, 2048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())) | {"kid": "r", "use": "sig"}
    keys = KeySet.parse({"keys": [jwk | {"alg": "PS256"}]})
    headers = {"typ": "at+jwt", "kid": "r"}
    assert refusal(jwt.encode(claims(), private, "PS256", headers), keys=keys) is None
    assert refusal(jwt.encode(claims(), private, "RS256", headers), keys=keys) is Reason.ALGORITHM
    assert refusal(jwt.encode(claims(), private, "RS256", headers), keys=KeySet.parse({"keys": [jwk]})) is None
    assert refusal(jwt.encode(claims(), private, "RS512", headers), keys=KeySet.parse({"keys": [jwk]})) is (
        Reason.ALGORITHM
    )


def test_rsa_key_is_not_accepted_as_hmac_secret_and_its_signatures_have_one_form() -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key()
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public)) | {"kid": "r", "alg": "RS256"}
    keys = KeySet.parse({"keys": [jwk]})
    formats = (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    spellings = [public.public_bytes(encoding, form) for encoding in (Encoding.PEM, Encoding.DER) for form in formats]
    for secret in (*spellings, json.dumps(jwk).encode(), jwk["n"].encode()):
        halves = FORGE.halves(alg="HS256", kid="r")
        mac = hmac.new(secret, halves.encode(), "sha256").digest()
        assert refusal(f"{halves}.{b64(mac)}", keys=keys) is Reason.ALGORITHM
    halves = FORGE.halves(alg="RS256", kid="r")
    right = private.sign(halves.encode(), PKCS1v15(), SHA256())
    assert refusal(f"{halves}.{b64(right)}", keys=keys) is None
    pss = private.sign(halves.encode(), PSS(MGF1(SHA256()), 32), SHA256())
    other_hash = private.sign(halves.encode(), PKCS1v15(), SHA1())
    wrapped = (int.from_bytes(right) + public.public_numbers().n).to_bytes(257)
    for wrong in (
        b"",
        bytes(256),
        bytes(255) + b"\1",
        b"\0" + right,
        right + b"\0",
        right[1:],
        wrapped,
        pss,
        other_hash,
    ):
        assert refusal(f"{halves}.{b64(wrong)}", keys=keys) is Reason.SIGNATURE


def test_algorithm_that_the_service_does_not_allow_is_refused() -> None:
    only_rsa = Policy(ISSUER, AUDIENCE, algorithms=frozenset({"RS256"}))
    assert refusal(token(), policy=only_rsa) is Reason.ALGORITHM


def test_key_in_the_token_header_is_ignored() -> None:
    thief = SigningKey("key-1")
    members = {"jwk": thief.jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["MIIB"]}
    for name, value in members.items():
        assert refusal(token(thief, {name: value})) is Reason.SIGNATURE
        assert refusal(token(KEY, {name: value})) is None, "ignored if the signature is that of the issuer"


def test_another_key_of_the_same_set_does_not_verify() -> None:
    both = KeySet.parse({"keys": [KEY.jwk, OTHER.jwk]})
    assert refusal(token(OTHER, {"kid": KEY.kid}), keys=both) is Reason.SIGNATURE


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_typ_is_compared_without_case_and_prefix(kind: str) -> None:
    assert refusal(token(header={"typ": kind})) is None


def test_id_token_is_refused() -> None:
    assert refusal(token(header={"typ": "JWT"}, nonce="n", at_hash="h", aud=AUDIENCE)) is Reason.TYPE


def test_an_audience_in_a_list_is_accepted() -> None:
    assert refusal(token(aud=["https://leave.hr.example", AUDIENCE])) is None


@pytest.mark.parametrize("bound", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None])
def test_a_bound_token_is_not_usable_as_bearer(bound: Any) -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    assert refusal(raw_token(header, json.dumps(claims() | {"cnf": bound}))) is Reason.SENDER_CONSTRAINED


def test_valid_token_is_accepted_after_all_attacks() -> None:
    assert refusal(token(), keys=KEYS, policy=POLICY, now=NOW) is None
