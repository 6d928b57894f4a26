"""Rule 21 of protocol.md at the token endpoint: a valid proof binds the token to its key."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN
from scopewright.serving.replay import LocalReplay
from scopewright.verifier.nonces import LIFETIME, Nonces
from scopewright.verifier.proof import MAX_BYTES
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    BANK,
    BANK_SERVICE,
    ISSUER,
    NONCE_KEY,
    PAYROLL,
    PAYROLL_SERVICE,
    SECRET,
    api_record,
    client_record,
    server_record,
)
from tests.unit.verifier.support import HOLDER, OTHER, SigningKey, proof, thumbprint

ENDPOINT = f"{ISSUER}/token"
FORM = {"grant_type": "client_credentials"}


def make_proof(
    harness: IssuerHarness, key: SigningKey = HOLDER, header: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A valid proof for the token endpoint, made now. A claim that is None is omitted."""
    now = int(harness.clock())
    good = {"htm": "POST", "htu": ENDPOINT, "iat": now, "nonce": nonce(harness)}
    return proof(None, key, header, **good | changes)


def nonce(harness: IssuerHarness) -> str:
    return Nonces(NONCE_KEY, "token endpoint").current(harness.clock())


async def request_token(harness: IssuerHarness, *proofs: str | bytes, **form: str) -> httpx.Response:
    headers = [(b"DPoP", sent.encode() if isinstance(sent, str) else sent) for sent in proofs]
    return await harness.http.post("/token", data=FORM | form, auth=("leave.leave-worker", SECRET), headers=headers)


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def audit_line(harness: IssuerHarness) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(harness.audit_lines[-1])
    return content


async def test_21_a_proof_binds_the_token_to_its_key(harness: IssuerHarness) -> None:
    response = await request_token(harness, make_proof(harness))
    assert response.json()["token_type"] == "DPoP"
    assert (await harness.claims(response))["cnf"] == {"jkt": thumbprint(HOLDER)}
    assert audit_line(harness)["jkt"] == thumbprint(HOLDER)


async def test_21_without_a_proof_the_token_is_a_bearer_token(harness: IssuerHarness) -> None:
    response = await request_token(harness)
    assert response.json()["token_type"] == "Bearer"
    assert "cnf" not in await harness.claims(response)
    assert "dpop-nonce" not in response.headers


async def test_21_cached_claims_do_not_carry_the_key_of_another_request(harness: IssuerHarness) -> None:
    """The claims that are cached for a client and a resource server do not depend on the request."""
    bound, other = [await request_token(harness, make_proof(harness, key)) for key in (HOLDER, OTHER)]
    assert (await harness.claims(other))["cnf"] == {"jkt": thumbprint(OTHER)}
    assert (await harness.claims(bound))["cnf"] == {"jkt": thumbprint(HOLDER)}
    assert "cnf" not in await harness.claims(await request_token(harness))


async def test_21_resource_server_that_requires_dpop_gets_only_bound_tokens(harness: IssuerHarness) -> None:
    harness.put(server_record(dpop_required=True))
    await settle()
    response = await request_token(harness)
    assert refusal(response) == (400, "invalid_request")
    assert "DPoP proof" in response.json()["error_description"]
    assert audit_line(harness)["reason"] == "proof_missing"
    assert (await request_token(harness, make_proof(harness))).json()["token_type"] == "DPoP"


async def test_21_other_resource_servers_still_get_bearer_tokens(harness: IssuerHarness) -> None:
    harness.put(server_record(name="other", audience="https://other", dpop_required=True))
    asked = (
        RequestedAccess("payroll/payroll-api", ("payroll.read",)),
        RequestedAccess("payroll/other", ("payroll.read",)),
    )
    harness.put(client_record(access=asked))
    await settle()
    assert (await request_token(harness, resource="https://payroll-api.payroll.svc")).status_code == 200
    assert (await request_token(harness, resource="https://other")).status_code == 400


async def test_21_exchanged_token_is_bound_to_the_key_of_the_client_that_exchanges(services: IssuerHarness) -> None:
    services.put(api_record("bank", "bank.pay", "bank.look", "bank.close", dpop_required=True))
    await settle()
    services.clock.advance(seconds=1)  # tokens issued in the second of the change have ended
    subject = await services.access_token(resource=PAYROLL)
    assert refusal(await services.exchange(subject, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
    form = FORM | {"grant_type": TOKEN_EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS_TOKEN}
    response = await services.http.post(
        "/token", data=form | {"resource": BANK}, auth=(PAYROLL_SERVICE, SECRET), headers={"DPoP": make_proof(services)}
    )
    assert response.json()["token_type"] == "DPoP"
    claims = await services.claims(response, BANK)
    assert (claims["cnf"], claims["act"]) == ({"jkt": thumbprint(HOLDER)}, {"sub": PAYROLL_SERVICE})
    content = await services.introspect(response.json()["access_token"], BANK_SERVICE)
    assert (content["active"], content["token_type"], content["cnf"]) == (True, "DPoP", claims["cnf"])


# Nonces


async def test_21_proof_without_nonce_is_refused_with_a_nonce(harness: IssuerHarness) -> None:
    response = await request_token(harness, make_proof(harness, nonce=None))
    assert refusal(response) == (400, "use_dpop_nonce")
    assert response.headers["cache-control"] == "no-store"
    given = response.headers["dpop-nonce"]
    assert (await request_token(harness, make_proof(harness, nonce=given))).status_code == 200


async def test_21_every_response_to_a_proof_has_the_next_nonce(harness: IssuerHarness) -> None:
    answers = [
        await request_token(harness, make_proof(harness)),
        await request_token(harness, make_proof(harness, htm="GET")),
        await request_token(harness, make_proof(harness), scope="payroll.write"),
        await request_token(harness, make_proof(harness), resource="https://nowhere"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 400]
    assert {answer.headers["dpop-nonce"] for answer in answers} == {nonce(harness)}


async def test_21_nonce_expires_after_its_lifetime(harness: IssuerHarness) -> None:
    given = nonce(harness)
    harness.clock.advance(seconds=LIFETIME - 60)
    assert (await request_token(harness, make_proof(harness, nonce=given))).status_code == 200
    harness.clock.advance(seconds=60 + 60)
    response = await request_token(harness, make_proof(harness, nonce=given))
    assert refusal(response) == (400, "use_dpop_nonce")
    assert response.headers["dpop-nonce"] != given


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "é", "A" * 28, Nonces(b"x" * 32, "token endpoint").current(1_795_000_000), Nonces(NONCE_KEY, "payroll")],
)
async def test_21_nonce_made_with_another_key_or_for_another_purpose_is_refused(
    harness: IssuerHarness, wrong: Any
) -> None:
    sent = wrong.current(harness.clock()) if isinstance(wrong, Nonces) else wrong
    assert refusal(await request_token(harness, make_proof(harness, nonce=sent))) == (400, "use_dpop_nonce")


async def test_21_nonce_of_another_issuer_is_refused(harness: IssuerHarness) -> None:
    foreign = Nonces(b"another installation's key, 32 by", "token endpoint").current(harness.clock())
    assert refusal(await request_token(harness, make_proof(harness, nonce=foreign))) == (400, "use_dpop_nonce")


async def test_21_replicas_accept_the_nonces_of_each_other(harness: IssuerHarness) -> None:
    other = IssuerHarness(store=harness.store, clock=harness.clock)
    given = (await request_token(harness, make_proof(harness, nonce=None))).headers["dpop-nonce"]
    async with other.running():
        assert (await request_token(other, make_proof(other, nonce=given))).status_code == 200


async def test_21_optional_nonce_may_be_missing_but_not_wrong(harness: IssuerHarness) -> None:
    harness.put(IssuerRecord(ISSUER, dpop_nonce="Optional"))
    await settle()
    response = await request_token(harness, make_proof(harness, nonce=None))
    assert response.status_code == 200
    assert response.headers["dpop-nonce"] == nonce(harness)
    assert refusal(await request_token(harness, make_proof(harness, nonce="x"))) == (400, "use_dpop_nonce")
    assert (await request_token(harness, make_proof(harness))).status_code == 200


async def test_21_without_the_nonce_key_bearer_tokens_are_still_issued(harness: IssuerHarness) -> None:
    bare = IssuerHarness(clock=harness.clock)
    bare.install_defaults()
    bare.delete_object("Secret", "scopewright-nonce")
    bare.put_nonce_key(b"short")
    bare.put_nonce_key(name="scopewright-nonce-2")
    async with bare.running():
        response = await request_token(bare, make_proof(bare))
        assert refusal(response) == (503, "temporarily_unavailable")
        assert (await request_token(bare)).status_code == 200
        bare.put(IssuerRecord(ISSUER, dpop_nonce="Optional"))
        await settle()
        assert (await request_token(bare, make_proof(bare, nonce=None))).status_code == 200
        bare.put_nonce_key()
        await settle()
        assert refusal(await request_token(bare, make_proof(bare, nonce="x"))) == (400, "use_dpop_nonce")


async def test_21_deleted_or_malformed_nonce_key_stays_in_force(harness: IssuerHarness) -> None:
    harness.put_nonce_key(b"short")
    await settle()
    assert (await request_token(harness, make_proof(harness))).status_code == 200
    harness.delete_object("Secret", "scopewright-nonce")
    await settle()
    assert (await request_token(harness, make_proof(harness))).status_code == 200


async def test_21_nonce_key_is_restored_from_the_snapshot(tmp_path: Path) -> None:
    harness = IssuerHarness(snapshot=tmp_path / "snapshot")
    harness.install_defaults()
    async with harness.running():
        pass
    harness.store.unavailable = True
    async with harness.running():
        await asyncio.sleep(0.01)
        assert (await request_token(harness, make_proof(harness))).status_code == 200


# Attacks


async def test_21_a_replayed_proof_is_refused(harness: IssuerHarness) -> None:
    sent = make_proof(harness)
    assert (await request_token(harness, sent)).status_code == 200
    harness.clock.advance(seconds=59)
    assert refusal(await request_token(harness, sent)) == (400, "invalid_dpop_proof")
    assert audit_line(harness)["reason"] == "proof_replayed"
    harness.clock.advance(seconds=10)
    assert refusal(await request_token(harness, sent)) == (400, "invalid_dpop_proof")
    assert audit_line(harness)["reason"] == "proof_iat"


async def test_21_one_of_many_concurrent_requests_with_the_same_proof_gets_a_token(harness: IssuerHarness) -> None:
    sent = make_proof(harness)
    answers = await asyncio.gather(*(request_token(harness, sent) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"htm": "GET"}, "proof_htm"),
        ({"htm": None}, "proof_htm"),
        ({"htu": "https://evil.example/token"}, "proof_htu"),
        ({"htu": "http://issuer/token"}, "proof_htu"),
        ({"htu": ISSUER}, "proof_htu"),
        ({"htu": None}, "proof_htu"),
        ({"iat": None}, "proof_iat"),
        ({"jti": None}, "proof_jti"),
        ({"jti": "x" * 257}, "proof_jti"),
        ({"padding": "x" * MAX_BYTES}, "proof_size"),
    ],
)
async def test_21_wrong_claim_of_a_proof_is_refused(
    harness: IssuerHarness, changes: dict[str, Any], reason: str
) -> None:
    assert refusal(await request_token(harness, make_proof(harness, **changes))) == (400, "invalid_dpop_proof")
    assert audit_line(harness)["reason"] == reason


@pytest.mark.parametrize(("off", "good"), [(-64, True), (-65, False), (60, True), (61, False), (-3600, False)])
async def test_21_iat_of_a_proof_may_differ_by_the_clock_skew(harness: IssuerHarness, off: int, good: bool) -> None:
    response = await request_token(harness, make_proof(harness, iat=int(harness.clock()) + off))
    assert (response.status_code == 200) is good


@pytest.mark.parametrize(
    "htu", [f"{ENDPOINT}?x=1", f"{ENDPOINT}#x", "HTTPS://ISSUER.example.org:443/token", f"{ISSUER}/x/../%74oken"]
)
async def test_21_htu_is_normalised_and_not_compared_with_the_host_header(harness: IssuerHarness, htu: str) -> None:
    headers = {"DPoP": make_proof(harness, htu=htu), "Host": "evil.example"}
    response = await harness.http.post("/token", data=FORM, auth=("leave.leave-worker", SECRET), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "JWT"}, "proof_typ"),
        ({"alg": "none"}, "proof_alg"),
        ({"alg": "HS256"}, "proof_alg"),
        ({"alg": "RS256"}, "proof_jwk"),
        ({"jwk": None}, "proof_jwk"),
        ({"jwk": {**HOLDER.jwk, "d": "x"}}, "proof_private_key"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "proof_private_key"),
        ({"jwk": OTHER.jwk}, "proof_signature"),
        ({"crit": ["x"]}, "proof_crit"),
        ({"jwk": {**HOLDER.jwk, "alg": "RS256"}}, "proof_jwk_alg"),
        ({"jwk": {**HOLDER.jwk, "use": "enc"}}, "proof_jwk_use"),
        ({"jwk": {**HOLDER.jwk, "key_ops": ["sign"]}}, "proof_jwk_key_ops"),
    ],
)
async def test_21_wrong_header_of_a_proof_is_refused(
    harness: IssuerHarness, header: dict[str, Any], reason: str
) -> None:
    assert refusal(await request_token(harness, make_proof(harness, header=header))) == (400, "invalid_dpop_proof")
    assert audit_line(harness)["reason"] == reason


async def test_21_proof_algorithms_can_be_restricted(harness: IssuerHarness) -> None:
    harness.put(IssuerRecord(ISSUER, dpop_algorithms=("PS256", "EdDSA")))
    await settle()
    assert refusal(await request_token(harness, make_proof(harness))) == (400, "invalid_dpop_proof")
    assert audit_line(harness)["reason"] == "proof_alg"
    metadata = (await harness.http.get("/.well-known/openid-configuration")).json()
    assert metadata["dpop_signing_alg_values_supported"] == ["PS256", "EdDSA"]


async def test_21_request_needs_exactly_one_proof(harness: IssuerHarness) -> None:
    one, two = make_proof(harness), make_proof(harness)
    for sent in ((one, two), (one, one), (f"{one},{two}",), ("",), ("x",), (b"\xff.\xff.\xff",)):
        assert refusal(await request_token(harness, *sent)) == (400, "invalid_dpop_proof")
    assert (await request_token(harness, one)).status_code == 200, "a refused proof is not used up"


async def test_21_proof_is_checked_only_after_client_authentication(harness: IssuerHarness) -> None:
    headers = {"DPoP": "nonsense"}
    response = await harness.http.post("/token", data=FORM, auth=("leave.leave-worker", "wrong"), headers=headers)
    assert refusal(response) == (401, "invalid_client")


async def test_21_proof_is_refused_while_the_replay_memory_is_unavailable(
    harness: IssuerHarness, monkeypatch: Any
) -> None:
    async def unavailable(*_: Any) -> bool:
        raise Unavailable("the replay memory is unavailable", retry_after=1.0)

    monkeypatch.setattr(LocalReplay, "first_use", unavailable)
    assert refusal(await request_token(harness, make_proof(harness))) == (503, "temporarily_unavailable")
    assert (await request_token(harness)).status_code == 200


async def test_21_no_part_of_a_proof_is_in_a_response_or_audit_line(harness: IssuerHarness) -> None:
    sent = make_proof(harness, jti="SENTINEL", htu="https://evil.example/SENTINEL")
    response = await request_token(harness, sent)
    await request_token(harness, make_proof(harness, nonce="SENTINEL"))
    assert "SENTINEL" not in response.text + "".join(harness.audit_lines)
    assert sent not in "".join(harness.audit_lines)


async def test_21_response_is_json_with_the_token_type_of_rfc_9449(harness: IssuerHarness) -> None:
    response = await request_token(harness, make_proof(harness))
    assert orjson.loads(response.content).keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert response.json()["expires_in"] == timedelta(minutes=10).total_seconds()
