"""Scopes and lifetime of tokens."""

from datetime import timedelta

import jwt
import pytest

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.resource_server import ResolvedGrant
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, client_record, key_record, private_key, server_record

BOTH = (RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write")),)


def granted(scope: str, **ends_in: float) -> ResolvedGrant:
    return ResolvedGrant((scope,), namespaces=("leave",), not_after=START + timedelta(**ends_in) if ends_in else None)


async def expires_in(harness: IssuerHarness, **parameters: str) -> int:
    claims = await harness.claims(await harness.token(**parameters))
    return int(claims["exp"] - claims["iat"])


async def test_token_lives_at_most_the_maximum_lifetime(harness: IssuerHarness) -> None:
    harness.put(server_record(lifetime=86400))
    harness.put(IssuerRecord(ISSUER, max_token_lifetime=900))
    await settle()
    assert await expires_in(harness) == 900


async def test_token_expires_with_the_first_grant_of_its_scopes(harness: IssuerHarness) -> None:
    harness.put(server_record(grants=(granted("payroll.read"), granted("payroll.write", seconds=90))))
    harness.put(client_record(access=BOTH))
    await settle()
    assert await expires_in(harness) == 90
    assert await expires_in(harness, scope="payroll.read") == 600


async def test_ended_grant_gives_no_scope_without_a_change_of_its_record(harness: IssuerHarness) -> None:
    harness.put(server_record(grants=(granted("payroll.read"), granted("payroll.write", seconds=90))))
    harness.put(client_record(access=BOTH))
    await settle()
    assert (await harness.token()).json()["scope"] == "payroll.read payroll.write"
    harness.clock.advance(seconds=90)
    assert (await harness.token()).json()["scope"] == "payroll.read"
    assert (await harness.token(scope="payroll.write")).json()["error"] == "invalid_scope"


async def test_grant_with_less_than_a_second_left_has_ended(harness: IssuerHarness) -> None:
    harness.put(server_record(grants=(granted("payroll.read", seconds=90),)))
    await settle()
    harness.clock.advance(seconds=89.5)
    assert (await harness.token()).json()["error"] == "invalid_target"


async def test_withdrawn_grant_is_not_in_the_next_token(harness: IssuerHarness) -> None:
    assert (await harness.token()).status_code == 200
    harness.put(server_record(grants=()))
    await settle()
    assert (await harness.token()).json()["error"] == "invalid_target"


async def test_token_expires_before_its_key_leaves_the_jwks(harness: IssuerHarness) -> None:
    end = START + timedelta(seconds=400)
    harness.put(key_record(signing_end_time=end, verification_end_time=end), private=private_key("ES256"))
    await settle()
    assert await expires_in(harness) == 400 - 60 - 300
    harness.clock.advance(seconds=39)
    assert (await harness.token()).status_code == 503


async def test_client_in_the_namespace_of_the_api_needs_no_grant(harness: IssuerHarness) -> None:
    harness.put(client_record(namespace="payroll", access=BOTH))
    harness.put(server_record(grants=()))
    await settle()
    assert (await harness.token("payroll.leave-worker")).json()["scope"] == "payroll.read payroll.write"


async def test_granted_scope_without_an_access_entry_is_not_given(harness: IssuerHarness) -> None:
    harness.put(server_record(grants=(ResolvedGrant(("payroll.read", "payroll.write"), everybody=True),)))
    await settle()
    assert (await harness.token()).json()["scope"] == "payroll.read"
    assert (await harness.token(scope="payroll.write")).json()["error"] == "invalid_scope"


async def test_client_without_access_entries_gets_no_token(harness: IssuerHarness) -> None:
    harness.put(client_record(access=()))
    await settle()
    assert (await harness.token()).json()["error"] == "invalid_target"


async def test_jti_is_unique_and_begins_with_the_hash_of_the_client(harness: IssuerHarness) -> None:
    jtis = [(await harness.claims(await harness.token()))["jti"] for _ in range(20)]
    assert len(set(jtis)) == 20
    assert {len(j) for j in jtis} == {12 + 22}
    assert len({j[:12] for j in jtis}) == 1


async def test_new_issuer_url_is_in_the_next_token(harness: IssuerHarness) -> None:
    await harness.token()
    harness.put(IssuerRecord("https://issuer.example.org/v2"))
    await settle()
    form = {"grant_type": "client_credentials"}
    response = await harness.http.post("/v2/token", data=form, auth=("leave.leave-worker", "A" * 43))
    claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
    assert claims["iss"] == "https://issuer.example.org/v2"


@pytest.mark.parametrize("action", ["operator", "store"])
async def test_tokens_are_issued_while_the_store_is_unavailable(harness: IssuerHarness, action: str) -> None:
    harness.store.unavailable = True
    harness.clock.advance(days=7)
    assert (await harness.token()).status_code == 200
