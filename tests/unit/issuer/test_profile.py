"""The profile FAPI2 at the endpoints: private_key_jwt only, bound tokens, allowed algorithms."""

import pytest

from scopewright.core.records.issuer import IssuerRecord
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, SECRET, private_key, server_record
from tests.unit.issuer.assertions import assertion, present, with_account, with_pair
from tests.unit.issuer.test_dpop import make_proof

FAPI2 = IssuerRecord(ISSUER, profile="FAPI2")
WORKER = "leave.leave-worker"


@pytest.fixture
async def fapi2(harness: IssuerHarness) -> IssuerHarness:
    harness.put(FAPI2)
    await settle()
    return harness


async def test_correct_wrong_and_unknown_secrets_get_the_same_refusal(fapi2: IssuerHarness) -> None:
    for path in ("/token", "/introspect"):
        form = {"grant_type": "client_credentials", "token": "x"}
        basic = [(WORKER, SECRET), (WORKER, "wrong"), ("leave.unknown", "wrong"), ("impossible", "x")]
        answers = [await fapi2.http.post(path, data=form, auth=pair) for pair in basic]
        answers += [
            await fapi2.http.post(path, data=form | {"client_id": name, "client_secret": secret})
            for name, secret in basic
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
        assert "private_key_jwt" in answers[0].json()["error_description"]
        assert not any("www-authenticate" in answer.headers for answer in answers)
    assert fapi2.store.reads == []


async def test_client_of_another_method_is_refused_even_with_a_key(fapi2: IssuerHarness) -> None:
    fapi2.put(with_account())
    await settle()
    assert (await present(fapi2, assertion(fapi2)))[0] == 401


async def test_token_needs_a_proof_and_an_allowed_signing_algorithm(fapi2: IssuerHarness) -> None:
    fapi2.put(with_pair())
    await settle()
    status, body = await present(fapi2, assertion(fapi2))
    assert (status, body["error"]) == (400, "invalid_request")
    form = {"grant_type": "client_credentials", "client_assertion": assertion(fapi2)}
    form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    answer = await fapi2.http.post("/token", data=form, headers={"DPoP": make_proof(fapi2)})
    assert answer.json()["token_type"] == "DPoP"
    fapi2.put_key("RS256", 3, signing_key="old")
    fapi2.publish(fapi2.put_key("RS256", 3, signing_key="old").jwk)
    fapi2.put(server_record(signing_key="old"))
    await settle()
    form["client_assertion"] = assertion(fapi2)
    answer = await fapi2.http.post("/token", data=form, headers={"DPoP": make_proof(fapi2)})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert '"reason":"profile_algorithm"' in fapi2.audit_lines[-1]
    assert private_key("RS256", 3)


async def test_metadata_omits_a_forbidden_algorithm_whose_key_is_published(
    fapi2: IssuerHarness,
) -> None:
    fapi2.publish(fapi2.put_key("RS256", 3, signing_key="old", config_map="old-jwks").jwk, name="old-jwks")
    await settle()
    document = (await fapi2.http.get("/.well-known/openid-configuration")).json()
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    keys = (await fapi2.http.get("/jwks.json")).json()["keys"]
    assert {key["alg"] for key in keys} == {"ES256", "RS256"}


async def test_assertion_lives_at_most_five_minutes(fapi2: IssuerHarness) -> None:
    fapi2.put(with_pair())
    await settle()
    now = int(fapi2.clock())
    status, body = await present(fapi2, assertion(fapi2, exp=now + 301 + 60))
    assert (status, body["error"]) == (401, "invalid_client")
    assert "at most 300 s" in body["error_description"]


@pytest.mark.parametrize("profile", ["Default", "FAPI2"])
async def test_refusal_without_authentication_lists_the_methods_of_the_issuer_for_every_client_id(
    harness: IssuerHarness, profile: str
) -> None:
    """The client's own method would show that the client exists."""
    if profile == "FAPI2":
        harness.put(FAPI2)
        await settle()
    answers = [
        await harness.http.post("/token", data={"grant_type": "client_credentials"} | named)
        for named in ({}, {"client_id": WORKER}, {"client_id": "leave.unknown"})
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    text = answers[0].json()["error_description"]
    assert ("ClientSecret" in text) is (profile == "Default")
    assert "client_assertion" in text
    assert ("www-authenticate" in answers[0].headers) is (profile == "Default")
