"""private_key_jwt: rules 13 to 15 of protocol.md, and other errors of assertions."""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scopewright.core.records.client import Credential
from scopewright.issuer.state.entries import ClientKey
from scopewright.verifier.keyset import Key
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, SECRET, client_record, private_key, sha256
from tests.unit.issuer.assertions import (
    WORKER,
    assertion,
    generated_credential,
    jwk,
    present,
    signed,
    with_account,
    with_keys,
    with_pair,
)

PEM: Final = Encoding.PEM
SPKI: Final = PublicFormat.SubjectPublicKeyInfo


@pytest.fixture
async def holder(harness: IssuerHarness) -> IssuerHarness:
    """A harness whose client has a key pair."""
    harness.put(with_pair())
    await settle()
    return harness


async def refused(harness: IssuerHarness, token: str, **parameters: str) -> dict[str, Any]:
    status, body = await present(harness, token, **parameters)
    assert (status, body["error"]) == (401, "invalid_client"), body
    assert set(body) == {"error", "error_description"}
    return json.loads(harness.audit_lines[-1])  # type: ignore[no-any-return]


async def accepted(harness: IssuerHarness, token: str, **parameters: str) -> bool:
    status, body = await present(harness, token, **parameters)
    return status == 200 and bool(body["access_token"])


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def test_13_valid_assertion_gets_a_token(holder: IssuerHarness) -> None:
    assert await accepted(holder, assertion(holder))
    assert await accepted(holder, assertion(holder, aud=[ISSUER]))
    assert await accepted(holder, assertion(holder), client_id=WORKER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "leave.other"}, "assertion_client"),
        ({"aud": "https://other.example"}, "assertion_audience"),
        ({"aud": [ISSUER, "https://other.example"]}, "assertion_audience"),
        ({"aud": f"{ISSUER}/token"}, "assertion_audience"),
        ({"aud": None}, "assertion_audience"),
        ({"exp": None}, "assertion_expired"),
        ({"exp": START.timestamp() - 60}, "assertion_expired"),
        ({"exp": START.timestamp() + 3661}, "assertion_life"),
        ({"exp": "soon"}, "assertion_malformed"),
        ({"exp": True}, "assertion_malformed"),
        ({"exp": -1}, "assertion_malformed"),
        ({"iat": START.timestamp() + 61}, "assertion_early"),
        ({"nbf": START.timestamp() + 61}, "assertion_early"),
        ({"jti": None}, "assertion_jti"),
        ({"jti": ""}, "assertion_jti"),
        ({"jti": 7}, "assertion_jti"),
        ({"jti": "x" * 257}, "assertion_jti"),
    ],
)
async def test_13_each_claim_is_checked(holder: IssuerHarness, changes: dict[str, Any], reason: str) -> None:
    line = await refused(holder, assertion(holder, **changes))
    assert line["reason"] == reason


async def test_13_clocks_may_differ_by_a_minute(holder: IssuerHarness) -> None:
    now = START.timestamp()
    assert await accepted(holder, assertion(holder, exp=now - 59))
    assert await accepted(holder, assertion(holder, iat=now + 60, nbf=now + 60))


async def test_13_assertion_is_accepted_once(holder: IssuerHarness) -> None:
    token = assertion(holder)
    assert await accepted(holder, token)
    line = await refused(holder, token)
    assert line["reason"] == "assertion_replayed"
    holder.clock.advance(seconds=119)
    assert (await refused(holder, token))["reason"] == "assertion_replayed", "until it has expired, with the skew"


async def test_13_refused_assertion_does_not_use_up_its_jti(holder: IssuerHarness) -> None:
    await refused(holder, assertion(holder, jti="mine", aud="https://other.example"))
    assert await accepted(holder, assertion(holder, jti="mine"))


async def test_13_clients_may_use_the_same_jti(holder: IssuerHarness) -> None:
    holder.put(with_pair(name="other", uid="uid-9"))
    await settle()
    assert await accepted(holder, assertion(holder, jti="same"))
    other = assertion(holder, jti="same", iss="leave.other", sub="leave.other")
    assert await accepted(holder, other)


async def test_14_the_key_is_the_registered_one(holder: IssuerHarness) -> None:
    kid = {"kid": jwk()["kid"]}
    assert (await refused(holder, assertion(holder, number=8, header=kid)))["reason"] == "assertion_signature"
    assert (await refused(holder, assertion(holder, number=8)))["reason"] == "assertion_signature"


async def test_14_without_kid_an_assertion_is_accepted_where_one_key_fits_its_algorithm(holder: IssuerHarness) -> None:
    holder.put(with_keys(jwk(8, "ES384"), jwk(7)))
    await settle()
    assert await accepted(holder, assertion(holder, header={}))


async def test_14_without_kid_an_assertion_is_refused_where_several_keys_fit(holder: IssuerHarness) -> None:
    holder.put(with_keys(jwk(8), jwk(7)))
    await settle()
    for number in (7, 8):
        assert (await refused(holder, assertion(holder, number=number, header={})))["reason"] == "assertion_without_kid"
        assert await accepted(holder, assertion(holder, number=number))
    _, known = await present(holder, assertion(holder, header={}))
    _, unknown = await present(holder, assertion(holder, header={}, iss="leave.unknown", sub="leave.unknown"))
    assert known == unknown
    assert "has no kid" in known["error_description"]


class Counted:
    """Counts the signatures that keys of clients and of clusters verify."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for kind in (ClientKey, Key):
            monkeypatch.setattr(kind, "verifies", self._counting(kind.verifies))

    def _counting(self, real: Callable[[Any, bytes, bytes], bool]) -> Callable[[Any, bytes, bytes], bool]:
        def verifies(key: Any, signing_input: bytes, signature: bytes) -> bool:
            self.count += 1
            return real(key, signing_input, signature)

        return verifies


async def test_refused_assertion_is_verified_once(holder: IssuerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any caller can send an assertion, and the owner of the client chooses how expensive its keys are."""
    counted = Counted(monkeypatch)
    holder.put(with_keys(*(jwk(number) for number in range(7, 15))))
    await settle()
    headers: list[dict[str, Any]] = [{"kid": jwk(9)["kid"]}, {}]
    for header in headers:
        for _ in range(3):
            before = counted.count
            await refused(holder, assertion(holder, number=16, header=header))
            assert counted.count - before <= 1
    assert holder.store.reads, "the record was read nevertheless"


async def test_assertion_is_verified_again_after_a_read_changed_the_record(
    holder: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    holder.put(with_pair(generated_credential(8)), notify=False)
    assert await accepted(holder, assertion(holder, number=8))
    assert counted.count == 1, "the key of the previous record has another kid"


def rsa_jwk(bits: int, exponent: int) -> tuple[rsa.RSAPrivateKey, dict[str, str]]:
    private = rsa.generate_private_key(65537, bits)
    numbers = private.public_key().public_numbers()
    n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
    e = exponent.to_bytes((exponent.bit_length() + 7) // 8)
    members = {"kty": "RSA", "alg": "PS256", "kid": f"rsa-{bits}"}
    return private, members | {
        name: base64.urlsafe_b64encode(v).rstrip(b"=").decode() for name, v in (("n", n), ("e", e))
    }


@pytest.mark.parametrize(("bits", "exponent"), [(4104, 65537), (2048, 3), (2048, 2**64 + 13)])
async def test_rsa_key_that_is_too_large_or_too_weak_is_ignored_in_a_record_of_an_earlier_version(
    holder: IssuerHarness, bits: int, exponent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, key = rsa_jwk(bits, exponent)
    holder.put(with_keys(key, jwk(7)))
    await settle()
    counted = Counted(monkeypatch)
    now = int(holder.clock())
    claims = {"iss": WORKER, "sub": WORKER, "aud": ISSUER, "exp": now + 60, "jti": "1"}
    line = await refused(holder, jwt.encode(claims, private, "PS256", {"kid": key["kid"]}))
    assert line["reason"] == "assertion_signature"
    assert counted.count == 0
    assert await accepted(holder, assertion(holder)), "the record is read, and its other key works"


async def test_14_keys_of_the_owner_need_no_kid_and_may_have_any_algorithm(holder: IssuerHarness) -> None:
    for algorithm in ("ES256", "ES384", "RS256", "EdDSA"):
        made = "Ed25519" if algorithm == "EdDSA" else algorithm
        key = {n: v for n, v in jwk(7, made).items() if n not in ("kid", "use")}
        holder.put(with_keys(key))
        await settle()
        now = int(holder.clock())
        claims = {"iss": WORKER, "sub": WORKER, "aud": ISSUER, "exp": now + 60, "jti": algorithm}
        token = jwt.encode(claims, private_key(made, 7), algorithm)
        assert await accepted(holder, token), algorithm


async def test_14_alg_none_and_hmac_with_the_public_key_are_refused(holder: IssuerHarness) -> None:
    good = assertion(holder)
    claims = jwt.decode(good, options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", "none", headers={"kid": jwk()["kid"]})
    assert (await refused(holder, unsigned))["reason"] == "assertion_signature"
    signing_input = _part({"alg": "HS256", "kid": jwk()["kid"]}) + "." + _part(claims)
    for secret in (json.dumps(jwk()).encode(), private_key("ES256", 7).public_key().public_bytes(PEM, SPKI)):
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signing_input.encode(), "sha256")).rstrip(b"=").decode()
        assert (await refused(holder, f"{signing_input}.{mac}"))["reason"] == "assertion_signature"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
async def test_14_keys_in_the_assertion_header_are_ignored(holder: IssuerHarness, name: str) -> None:
    header = {"kid": jwk()["kid"], name: jwk(8)}
    assert await accepted(holder, assertion(holder, header=header))
    assert (await refused(holder, assertion(holder, number=8, header=header)))["reason"] == "assertion_signature"


async def test_14_a_critical_extension_and_another_type_are_refused(holder: IssuerHarness) -> None:
    kid = jwk()["kid"]
    line = await refused(holder, signed({"sub": WORKER}, header={"kid": kid, "crit": ["exp"]}))
    assert line["reason"] == "assertion_extension"
    line = await refused(holder, assertion(holder, header={"kid": kid, "typ": "at+jwt"}))
    assert line["reason"] == "assertion_type"
    assert await accepted(holder, assertion(holder, header={"kid": kid, "typ": "client-authentication+jwt"}))


async def test_15_client_id_parameter_must_equal_the_subject(holder: IssuerHarness) -> None:
    status, body = await present(holder, assertion(holder), client_id="leave.other")
    assert (status, body["error"]) == (400, "invalid_request")


async def test_credential_must_be_of_the_method_in_the_record(holder: IssuerHarness) -> None:
    holder.put(client_record())
    await settle()
    assert (await refused(holder, assertion(holder)))["reason"] == "other_method"
    holder.put(with_pair())
    await settle()
    answer = await holder.token(secret="private 7")
    assert answer.status_code == 401
    assert json.loads(holder.audit_lines[-1])["reason"] == "other_method"


async def test_previous_key_pair_is_accepted_until_its_end(holder: IssuerHarness) -> None:
    ends = START.replace(minute=30)
    holder.put(with_pair(generated_credential(7, expiration_time=ends), generated_credential(8)))
    await settle()
    assert await accepted(holder, assertion(holder))
    assert await accepted(holder, assertion(holder, number=8))
    holder.clock.now = ends
    assert (await refused(holder, assertion(holder)))["reason"] == "assertion_signature"


async def test_new_key_pair_is_accepted_before_the_watch_delivers_it(holder: IssuerHarness) -> None:
    holder.put(with_pair(generated_credential(8)), notify=False)
    assert await accepted(holder, assertion(holder, number=8))


async def test_refusal_has_details_only_for_the_holder_of_the_key(holder: IssuerHarness) -> None:
    """An unknown client, a disabled one and a wrong key get the same response."""
    unknown = assertion(holder, iss="leave.unknown", sub="leave.unknown")
    wrong = assertion(holder, number=8)
    answers = [await present(holder, token) for token in (unknown, wrong)]
    holder.put(with_pair(disabled=True))
    await settle()
    answers.append(await present(holder, assertion(holder)))
    assert answers[0] == answers[1] == answers[2]
    holder.put(with_pair())
    await settle()
    _, body = await present(holder, assertion(holder, aud="https://x"))
    assert "aud of the assertion must be the issuer" in body["error_description"]


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", "e30.e30.e30", "..", "e30.W10.e30"])
async def test_assertion_that_is_not_a_jwt_is_refused(holder: IssuerHarness, token: str) -> None:
    status, body = await present(holder, token)
    assert (status, body["error"]) == (401, "invalid_client")


async def test_assertion_and_its_type_are_both_required(holder: IssuerHarness) -> None:
    for changes in ({"client_assertion_type": ""}, {"client_assertion_type": "urn:other"}):
        status, body = await present(holder, assertion(holder), **changes)
        assert (status, body["error"]) == (400, "invalid_request")
    status, body = await present(holder, "")
    assert (status, body["error"]) == (400, "invalid_request")


async def test_no_audit_line_contains_an_assertion(holder: IssuerHarness) -> None:
    token = assertion(holder, jti="only-once")
    await present(holder, token)
    await present(holder, token)
    for line in holder.audit_lines:
        assert "only-once" not in line
        assert token.rpartition(".")[2] not in line


class Slow:
    """A replay memory that calls `meanwhile` before it answers."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        self._meanwhile()
        await settle()
        return True

    async def close(self) -> None:
        pass


async def test_client_disabled_while_its_assertion_is_checked_is_refused() -> None:
    harness = IssuerHarness(replay=Slow(lambda: harness.put(with_pair(disabled=True))))
    harness.install_defaults()
    harness.put(with_pair())
    async with harness.running():
        status, body = await present(harness, assertion(harness))
        assert (status, body["error"]) == (401, "invalid_client")


async def test_credential_of_the_previous_method_is_accepted_until_it_ends(harness: IssuerHarness) -> None:
    """A Pod that has not read its Secret again must not be refused because the method has changed."""
    end = START + timedelta(hours=24)
    secret = Credential(sha256(SECRET), START, expiration_time=end)
    for record in (
        with_pair(secret, generated_credential()),
        replace(with_account(), credentials=(secret,)),
        client_record(credentials=(generated_credential(expiration_time=end), Credential(sha256("new"), START))),
        replace(with_account(), credentials=(generated_credential(expiration_time=end),)),
    ):
        harness.put(record)
        await settle()
        pair = any(c.jwk for c in record.credentials)
        assert (await harness.token()).status_code == (200 if secret in record.credentials else 401)
        assert (await present(harness, assertion(harness), client_id=WORKER))[0] == (200 if pair else 401)
    harness.clock.advance(hours=24)
    assert (await present(harness, assertion(harness), client_id=WORKER))[0] == 401
