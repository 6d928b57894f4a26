"""Token exchange (protocol.md, rule 20): a token for the next API, with the access of subject and actor."""

from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, JWT, MAX_EXCHANGES
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    BANK,
    BANK_SERVICE,
    PAYROLL,
    PAYROLL_SERVICE,
    VAULT,
    VAULT_SERVICE,
    api_record,
    client_record,
    server_record,
    service_record,
)

LEAVE = "leave.leave-worker"
NOW = int(START.timestamp())


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def exchanged(harness: IssuerHarness, token: str, client_id: str, resource: str, **more: str) -> str:
    response = await harness.exchange(token, client_id, resource, **more)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


async def payroll_token(harness: IssuerHarness) -> str:
    return await harness.access_token(resource=PAYROLL)


async def bank_token(harness: IssuerHarness) -> str:
    return await exchanged(harness, await payroll_token(harness), PAYROLL_SERVICE, BANK)


async def vault_token(harness: IssuerHarness) -> str:
    return await exchanged(harness, await bank_token(harness), BANK_SERVICE, VAULT)


async def test_20_called_api_gets_a_token_for_the_next_api(services: IssuerHarness) -> None:
    response = await services.exchange(await payroll_token(services), PAYROLL_SERVICE, BANK)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 600, "bank.pay")
    claims = await services.claims(response, BANK)
    assert {
        "sub": LEAVE,
        "client_id": PAYROLL_SERVICE,
        "act": {"sub": PAYROLL_SERVICE},
        "aud": BANK,
    }.items() <= claims.items()
    content = await services.introspect(answer["access_token"], BANK_SERVICE)
    assert (content["active"], content["act"], content["sub"]) == (True, {"sub": PAYROLL_SERVICE}, LEAVE)
    assert "scopewright_chain" not in content


async def test_20_the_chain_of_callers_is_nested(services: IssuerHarness) -> None:
    claims = claims_of(await vault_token(services))
    assert claims["act"] == {"sub": BANK_SERVICE, "act": {"sub": PAYROLL_SERVICE}}
    assert (claims["sub"], claims["client_id"]) == (LEAVE, BANK_SERVICE)
    assert [link["client_id"] for link in claims["scopewright_chain"]] == [LEAVE, PAYROLL_SERVICE]


async def test_20_scopes_are_those_that_subject_and_actor_both_have(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for asked in ("bank.look", "bank.close", "bank.pay bank.look", "nonsense"):
        assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK, scope=asked)) == (400, "invalid_scope")
    assert (await services.exchange(token, PAYROLL_SERVICE, BANK, scope="bank.pay")).json()["scope"] == "bank.pay"
    services.put(client_record(access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),)))
    await settle()
    assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_target")


async def test_20_exchange_at_the_same_api_does_not_widen_the_scopes(services: IssuerHarness) -> None:
    both = RequestedAccess("bank/bank-api", ("bank.pay", "bank.look"))
    services.put(client_record(access=(both,)))
    services.put(service_record("bank", both))
    await settle()
    services.clock.advance(seconds=1)
    token = await services.access_token(resource=BANK, scope="bank.look")
    assert (await services.exchange(token, BANK_SERVICE, BANK)).json()["scope"] == "bank.look"
    assert refusal(await services.exchange(token, BANK_SERVICE, BANK, scope="bank.pay")) == (400, "invalid_scope")


async def test_20_exchange_over_another_api_does_not_widen_the_scopes(services: IssuerHarness) -> None:
    both = RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write"))
    there = RequestedAccess("bank/bank-api", ("bank.pay",))
    services.put(client_record(access=(both, there)))
    services.put(service_record("payroll", both, there))
    services.put(service_record("bank", both, there))
    services.put(server_record(grants=(ResolvedGrant(both.scopes, everybody=True),), served_by=(PAYROLL_SERVICE,)))
    await settle()
    services.clock.advance(seconds=1)
    token = await services.access_token(resource=PAYROLL, scope="payroll.read")
    at_bank = await exchanged(services, token, PAYROLL_SERVICE, BANK)
    assert (await services.exchange(at_bank, BANK_SERVICE, PAYROLL)).json()["scope"] == "payroll.read"


async def test_20_exchanged_token_lives_at_most_as_long_as_the_subject_token(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.clock.advance(seconds=400)
    response = await services.exchange(token, PAYROLL_SERVICE, BANK)
    assert response.json()["expires_in"] == 200
    assert claims_of(response.json()["access_token"])["exp"] == NOW + 600


async def test_20_a_bad_subject_token_is_an_invalid_request(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for sent in ("x", token + "A", await services.access_token(BANK_SERVICE, resource=VAULT)):
        assert refusal(await services.exchange(sent, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
    for missing in ("subject_token", "subject_token_type"):
        assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK, **{missing: ""})) == (
            400,
            "invalid_request",
        )
    await services.revoke(token)
    assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")


async def test_20_an_expired_subject_token_is_an_invalid_request(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.clock.advance(seconds=600)
    assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")


async def test_20_only_the_audience_of_a_token_may_exchange_it(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    assert refusal(await services.exchange(token, BANK_SERVICE, VAULT)) == (400, "invalid_request")
    services.put(client_record(grant_types=("client_credentials", TOKEN_EXCHANGE)))
    await settle()
    assert refusal(await services.exchange(token, LEAVE, PAYROLL)) == (400, "invalid_request")


async def test_20_the_grant_type_must_be_allowed(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.put(replace(service_record("payroll"), grant_types=("client_credentials",)))
    await settle()
    assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "unauthorized_client")


async def test_20_request_needs_exactly_one_target(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for resource, audience in (("", ""), (BANK, VAULT), ("https://nowhere.example", ""), (PAYROLL, "")):
        response = await services.exchange(token, PAYROLL_SERVICE, resource, audience=audience)
        assert refusal(response) == (400, "invalid_target"), (resource, audience)
    several = await services.exchange(token, PAYROLL_SERVICE, BANK, audience=[BANK, VAULT])
    assert refusal(several) == (400, "invalid_target")
    assert (await services.exchange(token, PAYROLL_SERVICE, BANK, audience=BANK)).status_code == 200
    assert (await services.exchange(token, PAYROLL_SERVICE, "", audience=BANK)).status_code == 200


async def test_20_token_types_are_access_token_or_jwt(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for name in ("subject_token_type", "requested_token_type"):
        assert (await services.exchange(token, PAYROLL_SERVICE, BANK, **{name: JWT})).status_code == 200
        wrong = {name: "urn:ietf:params:oauth:token-type:refresh_token"}
        assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK, **wrong)) == (400, "invalid_request")


@pytest.mark.parametrize(
    "actor", [{"actor_token_type": JWT}, {"actor_token": "x"}, {"actor_token": "x", "actor_token_type": JWT}]
)
async def test_20_actor_token_is_refused(services: IssuerHarness, actor: dict[str, str]) -> None:
    token = await payroll_token(services)
    assert refusal(await services.exchange(token, PAYROLL_SERVICE, BANK, **actor)) == (400, "invalid_request")


async def test_20_the_chain_is_bounded(services: IssuerHarness) -> None:
    """A token that is exchanged repeatedly at the same API."""
    everything = RequestedAccess("bank/bank-api", ("bank.pay",))
    services.put(service_record("bank", everything))
    await settle()
    services.clock.advance(seconds=1)
    token = await bank_token(services)
    for _ in range(MAX_EXCHANGES - 1):
        token = await exchanged(services, token, BANK_SERVICE, BANK)
    assert refusal(await services.exchange(token, BANK_SERVICE, BANK)) == (400, "invalid_request")
    assert len(token) < 4096


async def test_20_exchanged_token_ends_with_the_access_of_any_party(services: IssuerHarness) -> None:
    changes = (
        client_record(disabled=True),
        service_record("payroll", disabled=True),
        replace(service_record("payroll"), uid="made again"),
        service_record("bank", disabled=True),
        api_record("vault", "vault.open", grants=(ResolvedGrant(("vault.open",), clients=(BANK_SERVICE,)),)),
        api_record("vault", "vault.open", grants=(ResolvedGrant(("vault.open",), clients=(LEAVE,)),)),
        api_record("bank", "bank.pay", "bank.look", grants=()),
        api_record("bank", "bank.pay", "bank.look", served_by=()),
    )
    for change in changes:
        token = await vault_token(services)
        assert (await services.introspect(token, VAULT_SERVICE))["active"]
        services.put(change)
        await settle()
        assert not (await services.introspect(token, VAULT_SERVICE))["active"], change
        services.install_services()
        await settle()
        services.clock.advance(seconds=1)


async def test_20_revoking_a_token_ends_the_tokens_exchanged_from_it(services: IssuerHarness) -> None:
    first = await payroll_token(services)
    second = await exchanged(services, first, PAYROLL_SERVICE, BANK)
    third = await exchanged(services, second, BANK_SERVICE, VAULT)
    await services.revoke(second, PAYROLL_SERVICE)
    assert not (await services.introspect(third, VAULT_SERVICE))["active"]
    assert (await services.introspect(first))["active"]
    again = await exchanged(services, first, PAYROLL_SERVICE, BANK)
    await services.revoke(first)
    assert not (await services.introspect(again, BANK_SERVICE))["active"]


async def test_20_audit_line_of_an_exchange_has_the_subject(services: IssuerHarness) -> None:
    token = await bank_token(services)
    assert f'"subject":"{LEAVE}"' in services.audit_lines[-1]
    assert not any(token in line for line in services.audit_lines)
