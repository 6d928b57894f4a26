"""Token exchange (protocol.md, line 20): for the next API, on the caller's behalf, and no longer or wider than both."""

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


async def of_payroll(harness: IssuerHarness) -> str:
    return await harness.access_token(resource=PAYROLL)


async def for_the_bank(harness: IssuerHarness) -> str:
    return await exchanged(harness, await of_payroll(harness), PAYROLL_SERVICE, BANK)


async def for_the_vault(harness: IssuerHarness) -> str:
    return await exchanged(harness, await for_the_bank(harness), BANK_SERVICE, VAULT)


async def test_20_the_api_that_was_called_gets_a_token_for_the_next_one(returning: IssuerHarness) -> None:
    response = await returning.exchange(await of_payroll(returning), PAYROLL_SERVICE, BANK)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 600, "bank.pay")
    claims = await returning.claims(response, BANK)
    assert {
        "sub": LEAVE,
        "client_id": PAYROLL_SERVICE,
        "act": {"sub": PAYROLL_SERVICE},
        "aud": BANK,
    }.items() <= claims.items()
    told = await returning.introspect(answer["access_token"], BANK_SERVICE)
    assert (told["active"], told["act"], told["sub"]) == (True, {"sub": PAYROLL_SERVICE}, LEAVE)
    assert "scopewright_chain" not in told


async def test_20_the_chain_of_callers_is_nested(returning: IssuerHarness) -> None:
    claims = claims_of(await for_the_vault(returning))
    assert claims["act"] == {"sub": BANK_SERVICE, "act": {"sub": PAYROLL_SERVICE}}
    assert (claims["sub"], claims["client_id"]) == (LEAVE, BANK_SERVICE)
    assert [link["client_id"] for link in claims["scopewright_chain"]] == [LEAVE, PAYROLL_SERVICE]


async def test_20_the_scopes_are_those_that_both_have_there(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for asked in ("bank.look", "bank.close", "bank.pay bank.look", "nonsense"):
        assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK, scope=asked)) == (400, "invalid_scope")
    assert (await returning.exchange(token, PAYROLL_SERVICE, BANK, scope="bank.pay")).json()["scope"] == "bank.pay"
    returning.put(client_record(access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),)))
    await settle()
    assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_target")


async def test_20_at_the_same_api_it_is_never_wider_than_the_subject_token(returning: IssuerHarness) -> None:
    both = RequestedAccess("bank/bank-api", ("bank.pay", "bank.look"))
    returning.put(client_record(access=(both,)))
    returning.put(service_record("bank", both))
    await settle()
    returning.clock.advance(seconds=1)
    token = await returning.access_token(resource=BANK, scope="bank.look")
    assert (await returning.exchange(token, BANK_SERVICE, BANK)).json()["scope"] == "bank.look"
    assert refusal(await returning.exchange(token, BANK_SERVICE, BANK, scope="bank.pay")) == (400, "invalid_scope")


async def test_20_nor_by_a_detour(returning: IssuerHarness) -> None:
    both = RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write"))
    there = RequestedAccess("bank/bank-api", ("bank.pay",))
    returning.put(client_record(access=(both, there)))
    returning.put(service_record("payroll", both, there))
    returning.put(service_record("bank", both, there))
    returning.put(server_record(grants=(ResolvedGrant(both.scopes, everybody=True),), served_by=(PAYROLL_SERVICE,)))
    await settle()
    returning.clock.advance(seconds=1)
    token = await returning.access_token(resource=PAYROLL, scope="payroll.read")
    away = await exchanged(returning, token, PAYROLL_SERVICE, BANK)
    assert (await returning.exchange(away, BANK_SERVICE, PAYROLL)).json()["scope"] == "payroll.read"


async def test_20_it_lives_no_longer_than_the_subject_token(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.clock.advance(seconds=400)
    response = await returning.exchange(token, PAYROLL_SERVICE, BANK)
    assert response.json()["expires_in"] == 200
    assert claims_of(response.json()["access_token"])["exp"] == NOW + 600


async def test_20_a_bad_subject_token_is_an_invalid_request(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for sent in ("x", token + "A", await returning.access_token(BANK_SERVICE, resource=VAULT)):
        assert refusal(await returning.exchange(sent, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
    for missing in ("subject_token", "subject_token_type"):
        assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK, **{missing: ""})) == (
            400,
            "invalid_request",
        )
    await returning.revoke(token)
    assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")


async def test_20_an_expired_subject_token_is_an_invalid_request(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.clock.advance(seconds=600)
    assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")


async def test_20_only_the_api_that_it_was_for_may_exchange_a_token(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    assert refusal(await returning.exchange(token, BANK_SERVICE, VAULT)) == (400, "invalid_request")
    returning.put(client_record(grant_types=("client_credentials", TOKEN_EXCHANGE)))
    await settle()
    assert refusal(await returning.exchange(token, LEAVE, PAYROLL)) == (400, "invalid_request")


async def test_20_the_grant_type_must_be_allowed(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.put(replace(service_record("payroll"), grant_types=("client_credentials",)))
    await settle()
    assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "unauthorized_client")


async def test_20_exactly_one_target(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for resource, audience in (("", ""), (BANK, VAULT), ("https://nowhere.example", ""), (PAYROLL, "")):
        response = await returning.exchange(token, PAYROLL_SERVICE, resource, audience=audience)
        assert refusal(response) == (400, "invalid_target"), (resource, audience)
    several = await returning.exchange(token, PAYROLL_SERVICE, BANK, audience=[BANK, VAULT])
    assert refusal(several) == (400, "invalid_target")
    assert (await returning.exchange(token, PAYROLL_SERVICE, BANK, audience=BANK)).status_code == 200
    assert (await returning.exchange(token, PAYROLL_SERVICE, "", audience=BANK)).status_code == 200


async def test_20_token_types(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for name in ("subject_token_type", "requested_token_type"):
        assert (await returning.exchange(token, PAYROLL_SERVICE, BANK, **{name: JWT})).status_code == 200
        wrong = {name: "urn:ietf:params:oauth:token-type:refresh_token"}
        assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK, **wrong)) == (400, "invalid_request")


@pytest.mark.parametrize(
    "actor", [{"actor_token_type": JWT}, {"actor_token": "x"}, {"actor_token": "x", "actor_token_type": JWT}]
)
async def test_20_an_actor_token_is_not_taken(returning: IssuerHarness, actor: dict[str, str]) -> None:
    token = await of_payroll(returning)
    assert refusal(await returning.exchange(token, PAYROLL_SERVICE, BANK, **actor)) == (400, "invalid_request")


async def test_20_the_chain_is_bounded(returning: IssuerHarness) -> None:
    """A token that is exchanged for itself, again and again."""
    everything = RequestedAccess("bank/bank-api", ("bank.pay",))
    returning.put(service_record("bank", everything))
    await settle()
    returning.clock.advance(seconds=1)
    token = await for_the_bank(returning)
    for _ in range(MAX_EXCHANGES - 1):
        token = await exchanged(returning, token, BANK_SERVICE, BANK)
    assert refusal(await returning.exchange(token, BANK_SERVICE, BANK)) == (400, "invalid_request")
    assert len(token) < 4096


async def test_20_withdrawing_any_party_ends_it(returning: IssuerHarness) -> None:
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
        token = await for_the_vault(returning)
        assert (await returning.introspect(token, VAULT_SERVICE))["active"]
        returning.put(change)
        await settle()
        assert not (await returning.introspect(token, VAULT_SERVICE))["active"], change
        returning.install_services()
        await settle()
        returning.clock.advance(seconds=1)


async def test_20_revoking_a_token_ends_what_was_exchanged_from_it(returning: IssuerHarness) -> None:
    first = await of_payroll(returning)
    second = await exchanged(returning, first, PAYROLL_SERVICE, BANK)
    third = await exchanged(returning, second, BANK_SERVICE, VAULT)
    await returning.revoke(second, PAYROLL_SERVICE)
    assert not (await returning.introspect(third, VAULT_SERVICE))["active"]
    assert (await returning.introspect(first))["active"]
    again = await exchanged(returning, first, PAYROLL_SERVICE, BANK)
    await returning.revoke(first)
    assert not (await returning.introspect(again, BANK_SERVICE))["active"]


async def test_20_an_exchanged_token_is_audited_with_whom_it_speaks_for(returning: IssuerHarness) -> None:
    token = await for_the_bank(returning)
    assert f'"subject":"{LEAVE}"' in returning.audit_lines[-1]
    assert not any(token in line for line in returning.audit_lines)
