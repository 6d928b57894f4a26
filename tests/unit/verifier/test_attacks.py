"""The list of attacks on JWTs: each one refused, and for the right reason."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scopewright.verifier import KeySet, Policy, Reason
from tests.unit.verifier.support import (
    AUDIENCE,
    ISSUER,
    KEY,
    KEYS,
    NOW,
    OTHER,
    POLICY,
    SigningKey,
    b64,
    claims,
    raw_token,
    refusal,
    token,
)


def test_the_token_that_the_others_are_made_from_is_accepted() -> None:
    assert refusal(token()) is None


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ["ES256"], 7])
def test_a_token_without_a_signature_algorithm_is_refused(alg: Any) -> None:
    head, body, _ = token(header={"alg": alg}).split(".")
    for signature in ("", b64(b"\0" * 64), b64(KEY.sign(f"{head}.{body}".encode()))):
        assert refusal(f"{head}.{body}.{signature}") is Reason.ALGORITHM


def test_a_stripped_signature_is_refused() -> None:
    head, body, _ = token().split(".")
    assert refusal(f"{head}.{body}.") is Reason.SIGNATURE
    assert refusal(f"{head}.{body}") is Reason.MALFORMED


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_hmac_secret(alg: str) -> None:
    public = KEY.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, json.dumps(KEY.jwk).encode(), base64.urlsafe_b64decode(KEY.jwk["x"] + "=")):
        head = b64(json.dumps({"typ": "at+jwt", "alg": alg, "kid": KEY.kid}).encode())
        body = b64(json.dumps(claims()).encode())
        mac = hmac.new(secret, f"{head}.{body}".encode(), getattr(hashlib, "sha" + alg[2:])).digest()
        assert refusal(f"{head}.{body}.{b64(mac)}") is Reason.ALGORITHM


def test_hmac_cannot_be_allowed_by_configuration() -> None:
    for algorithm in ("HS256", "none"):
        with pytest.raises(ValueError, match="algorithms must be among"):
            Policy(ISSUER, AUDIENCE, algorithms=frozenset({algorithm}))


def test_the_algorithm_is_that_of_the_key_and_not_another_of_its_kind() -> None:
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


def test_an_algorithm_that_this_service_does_not_allow_is_refused() -> None:
    only_rsa = Policy(ISSUER, AUDIENCE, algorithms=frozenset({"RS256"}))
    assert refusal(token(), policy=only_rsa) is Reason.ALGORITHM


def test_a_token_cannot_bring_its_own_key() -> None:
    thief = SigningKey("key-1")
    brought = {"jwk": thief.jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["MIIB"]}
    for name, value in brought.items():
        assert refusal(token(thief, {name: value})) is Reason.SIGNATURE
        assert refusal(token(KEY, {name: value})) is None, "ignored, where the signature is the issuer's"


@pytest.mark.parametrize("kid", ["../../dev/null", "key-1' OR 1=1 --", "/proc/self/environ", "\0", "key-1 ", "KEY-1"])
def test_a_kid_is_looked_up_and_nothing_else(kid: str) -> None:
    assert refusal(token(header={"kid": kid})) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("kid", [None, "", 1, ["key-1"], {"key-1": 1}])
def test_a_token_without_a_usable_kid_is_refused(kid: Any) -> None:
    assert refusal(token(header={"kid": kid})) is Reason.MALFORMED


def test_another_key_of_the_same_set_does_not_verify() -> None:
    both = KeySet.parse({"keys": [KEY.jwk, OTHER.jwk]})
    assert refusal(token(OTHER, {"kid": KEY.kid}), keys=both) is Reason.SIGNATURE


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}])
def test_critical_extensions_are_refused(header: dict[str, Any]) -> None:
    assert refusal(token(header=header)) is Reason.MALFORMED


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at", "at+jwt ", "dpop+jwt", "logout+jwt", 1, ["at+jwt"]])
def test_what_is_not_typed_as_an_access_token_is_refused(kind: Any) -> None:
    assert refusal(token(header={"typ": kind})) is Reason.TYPE


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_the_type_is_compared_without_case_and_prefix(kind: str) -> None:
    assert refusal(token(header={"typ": kind})) is None


def test_an_id_token_is_no_access_token() -> None:
    assert refusal(token(header={"typ": "JWT"}, nonce="n", at_hash="h", aud=AUDIENCE)) is Reason.TYPE


@pytest.mark.parametrize("zero", ["r", "s", "both", "order"])
def test_psychic_signatures_are_refused(zero: str) -> None:
    """CVE-2022-21449: r = 0 or s = 0 (or the order of the curve) fit every message in a careless implementation."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    some = (1).to_bytes(32, "big")
    none = bytes(32)
    signature = {"r": none + some, "s": some + none, "both": none * 2, "order": order.to_bytes(32, "big") * 2}[zero]
    head, body, _ = token().split(".")
    assert refusal(f"{head}.{body}.{b64(signature)}") is Reason.SIGNATURE


def test_a_der_signature_is_refused() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    head, body, _ = token().split(".")
    der = KEY.private.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    assert refusal(f"{head}.{body}.{b64(der)}") is Reason.SIGNATURE


def test_a_name_that_occurs_twice_is_refused() -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    body = json.dumps(claims())
    assert refusal(raw_token(header, body[:-1] + ', "scope": "payroll.write"}')) is Reason.MALFORMED
    assert refusal(raw_token(header[:-1] + ', "alg": "none"}', body)) is Reason.MALFORMED
    assert refusal(raw_token(header, body[:-1] + ', "x": {"a": 1, "a": 2}}')) is Reason.MALFORMED


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{", '"x"', "{} {}", '{"exp": NaN}', '{"exp": Infinity}', "[" * 5000, '{"sub": "\\ud800"}'],
)
def test_a_payload_that_is_not_a_plain_json_object_is_refused(body: str) -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    assert refusal(raw_token(header, body)) is Reason.MALFORMED


def test_huge_tokens_are_refused_before_they_are_read() -> None:
    assert refusal("." * 17_000) is Reason.TOO_LARGE
    assert refusal(token(x="y" * 20_000)) is Reason.TOO_LARGE
    assert refusal("a" * 10_000_000) is Reason.TOO_LARGE


@pytest.mark.parametrize("sent", ["", ".", "..", "...", "a.b.c", "é.é.é", "a.b.c.d.e", "\0.\0.\0", "null"])
def test_what_is_no_token_is_malformed(sent: str) -> None:
    assert refusal(sent) is Reason.MALFORMED


def test_a_respelled_signature_is_refused() -> None:
    """Unused bits, padding, the other alphabet: one token has one spelling."""
    sent = token()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(sent[-1])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for other in (sent[:-1] + alphabet[last ^ 1], sent + "=", sent + "==", sent + "\n", " " + sent, sent + "!"):
        assert refusal(other) is Reason.MALFORMED


@pytest.mark.parametrize(
    "issuer", [ISSUER + "/", ISSUER.upper(), "https://evil.example", "", None, [ISSUER], {"a": ISSUER}]
)
def test_a_token_of_another_issuer_is_refused(issuer: Any) -> None:
    assert refusal(token(iss=issuer)) is Reason.ISSUER


@pytest.mark.parametrize("audience", [AUDIENCE + "/", "https://leave.hr.example", [], ["x", AUDIENCE[:-1]], "", ISSUER])
def test_a_token_for_another_audience_is_refused(audience: Any) -> None:
    assert refusal(token(aud=audience)) is Reason.AUDIENCE


def test_an_audience_in_a_list_is_accepted() -> None:
    assert refusal(token(aud=["https://leave.hr.example", AUDIENCE])) is None


@pytest.mark.parametrize("bound", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None])
def test_a_bound_token_is_not_usable_as_bearer(bound: Any) -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    assert refusal(raw_token(header, json.dumps(claims() | {"cnf": bound}))) is Reason.SENDER_CONSTRAINED


def test_the_whole_list_leaves_the_good_token_good() -> None:
    assert refusal(token(), keys=KEYS, policy=POLICY, now=NOW) is None
