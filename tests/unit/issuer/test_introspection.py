"""Introspection (protocol.md, lines 17 and 19): what a token is, for its own client and for the API it is for."""

from dataclasses import replace
from datetime import timedelta

import jwt
import orjson
import pytest

from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord, RequestedAccess
from scopewright.core.records.codec import decode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY, client_record_name, key_record_name, resource_server_record_name
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.inspect import Inspector
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    BANK,
    BANK_SERVICE,
    ISSUER,
    NAMESPACE,
    PAYROLL,
    PAYROLL_SERVICE,
    client_record,
    key_record,
    private_key,
    server_record,
    service_record,
)

INACTIVE = {"active": False}
WORKER = Ref("Secret", NAMESPACE, client_record_name("leave", "leave-worker"))
SERVED = server_record(served_by=(PAYROLL_SERVICE,))


async def of_payroll(harness: IssuerHarness) -> str:
    return await harness.access_token(resource=PAYROLL)


async def test_17_its_own_client_and_the_api_that_it_is_for_are_told(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for client_id in ("leave.leave-worker", PAYROLL_SERVICE):
        response = await returning.post_token("/introspect", token, client_id)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"
        claims = jwt.decode(token, options={"verify_signature": False})
        assert response.json() == {"active": True, "token_type": "Bearer", **claims}
        assert claims["scope"] == "payroll.read"


async def test_17_anybody_else_is_told_nothing(returning: IssuerHarness) -> None:
    response = await returning.post_token("/introspect", await of_payroll(returning), BANK_SERVICE)
    assert (response.status_code, response.content) == (200, b'{"active":false}')
    assert orjson.loads(returning.audit_lines[-1])["reason"] == "not_theirs"


async def test_17_without_authentication_it_is_401(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    assert (await returning.http.post("/introspect", data={"token": token})).status_code == 401
    response = await returning.http.post("/introspect", data={"token": token}, auth=("leave.leave-worker", "wrong"))
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_17_a_token_must_be_sent_and_a_hint_is_ignored(returning: IssuerHarness) -> None:
    assert (await returning.post_token("/introspect", "")).json()["error"] == "invalid_request"
    token = await of_payroll(returning)
    assert (await returning.post_token("/introspect", token, token_type_hint="refresh_token")).json()["active"]


async def test_17_what_is_no_token_of_ours_is_inactive(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    stranger = jwt.encode(claims, private_key("ES256", 7), "ES256", {"kid": kid, "typ": "at+jwt"})
    unsigned = jwt.encode(claims, "", "none", {"kid": kid, "typ": "at+jwt"})
    other = "B" if signature[0] != "B" else "C"
    for sent in (
        "x",
        "..",
        "é.é.é",
        f"{header}.{payload}.",
        f"{header}.{payload}.{other}{signature[1:]}",
        f"{header}.{payload}.{signature}=",
        f"{token}.{signature}",
        stranger,
        unsigned,
        token + "A",
    ):
        assert await returning.introspect(sent) == INACTIVE, sent
    assert (await returning.introspect(token))["active"]


async def test_17_an_expired_token_is_inactive(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.clock.advance(seconds=599)
    assert (await returning.introspect(token))["active"]
    returning.clock.advance(seconds=1)
    assert await returning.introspect(token) == INACTIVE


async def test_19_a_token_ends_with_its_client(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    record = client_record()
    for change in (replace(record, disabled=True), replace(record, uid="made again"), replace(record, access=())):
        returning.put(change)
        await settle()
        assert await returning.introspect(token, PAYROLL_SERVICE) == INACTIVE
        returning.put(record)
        await settle()
    returning.delete_object("Secret", "client.leave.leave-worker")
    await settle()
    assert await returning.introspect(token, PAYROLL_SERVICE) == INACTIVE


async def test_19_a_client_made_again_is_not_the_owner_of_the_tokens_of_its_predecessor(
    returning: IssuerHarness,
) -> None:
    token = await of_payroll(returning)
    returning.put(client_record(uid="made again"))
    await settle()
    assert await returning.introspect(token) == INACTIVE
    assert orjson.loads(returning.audit_lines[-1])["reason"] == "not_theirs"


async def test_19_a_token_ends_with_its_grant(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.put(replace(SERVED, grants=()))
    await settle()
    assert await returning.introspect(token) == INACTIVE
    assert orjson.loads(returning.audit_lines[-1])["reason"] == "scope_withdrawn"


async def test_19_a_token_ends_with_the_grant_type_that_it_came_by(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    exchanged = (await returning.exchange(token, PAYROLL_SERVICE, BANK)).json()["access_token"]
    returning.put(replace(service_record(), grant_types=("client_credentials",)))
    await settle()
    assert await returning.introspect(exchanged, PAYROLL_SERVICE) == INACTIVE
    assert reason(returning) == "grant_type_withdrawn"
    assert (await returning.introspect(token, PAYROLL_SERVICE))["active"]


async def test_19_an_exchanged_token_ends_with_the_grant_type_of_its_subject(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    exchanged = (await returning.exchange(token, PAYROLL_SERVICE, BANK)).json()["access_token"]
    worker = decode(ClientRecord, returning.store.entry(WORKER, ENTRY))
    returning.put(replace(worker, grant_types=(TOKEN_EXCHANGE,)))
    await settle()
    for ended in (token, exchanged):
        assert await returning.introspect(ended, PAYROLL_SERVICE) == INACTIVE
        assert reason(returning) == "grant_type_withdrawn"


async def test_19_a_token_that_is_bound_to_no_key_ends_where_only_bound_ones_are_taken(
    returning: IssuerHarness,
) -> None:
    token = await of_payroll(returning)
    returning.put(replace(SERVED, dpop_required=True))
    await settle()
    assert await returning.introspect(token, PAYROLL_SERVICE) == INACTIVE
    assert reason(returning) == "not_bound"
    refused = await returning.exchange(token, PAYROLL_SERVICE, BANK)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def reason(harness: IssuerHarness) -> str:
    return str(orjson.loads(harness.audit_lines[-1])["reason"])


async def test_19_a_token_ends_with_one_scope_of_several(returning: IssuerHarness) -> None:
    token = await returning.access_token("payroll.payroll-service", resource="https://bank-api.bank.svc")
    assert (await returning.introspect(token, PAYROLL_SERVICE))["scope"] == "bank.pay bank.look"
    returning.put(service_record("payroll", RequestedAccess("bank/bank-api", ("bank.pay",))))
    await settle()
    assert await returning.introspect(token, PAYROLL_SERVICE) == INACTIVE


async def test_19_a_grant_that_ends_by_itself_ends_the_token(returning: IssuerHarness) -> None:
    ends = START + timedelta(seconds=30)
    returning.put(replace(SERVED, grants=(ResolvedGrant(("payroll.read",), namespaces=("leave",), not_after=ends),)))
    await settle()
    token = await of_payroll(returning)
    returning.clock.advance(seconds=29)
    assert (await returning.introspect(token))["exp"] == int(ends.timestamp())
    returning.clock.advance(seconds=1)
    assert await returning.introspect(token) == INACTIVE


async def test_19_a_token_ends_with_its_resource_server(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.delete_object("ConfigMap", resource_server_record_name("payroll", "payroll-api"))
    await settle()
    assert await returning.introspect(token) == INACTIVE


@pytest.mark.parametrize("how", ["revoked", "gone"])
async def test_19_a_token_ends_with_its_key(returning: IssuerHarness, how: str) -> None:
    token = await of_payroll(returning)
    assert (await returning.introspect(token))["active"]
    if how == "revoked":
        returning.put(key_record(revoked_time=START), private=private_key("ES256"))
    else:
        returning.delete_object("Secret", key_record_name(key_record().kid))
    await settle()
    assert await returning.introspect(token) == INACTIVE


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "Ed25519", "ES384"])
async def test_tokens_of_every_algorithm_are_known_again(algorithm: str) -> None:
    harness = IssuerHarness()
    harness.put(IssuerRecord(ISSUER))
    harness.publish(harness.put_key(algorithm).jwk)
    harness.put(server_record())
    harness.put(client_record())
    async with harness.running():
        token = await of_payroll(harness)
        assert (await harness.introspect(token))["active"]
        head, _, signature = token.rpartition(".")
        assert await harness.introspect(f"{head}.{signature[:-8]}AAAAAAAA") == INACTIVE
        assert await harness.introspect(f"{head}.{signature[:-8]}") == INACTIVE


async def test_no_token_is_in_an_audit_line(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for client_id in ("leave.leave-worker", PAYROLL_SERVICE, BANK_SERVICE):
        await returning.introspect(token, client_id)
    await returning.revoke(token)
    assert not any(part in line for line in returning.audit_lines for part in token.split("."))


async def test_what_is_remembered_of_tokens_is_bounded_by_their_size(returning: IssuerHarness) -> None:
    tokens = [await of_payroll(returning) for _ in range(20)]
    registry = returning.issuer.registry
    assert registry.issuer is not None
    inspector = Inspector(registry.keys, max_characters=6 * len(tokens[0]))
    for token in tokens:
        assert inspector.inspect(token, registry.issuer, returning.clock()) is not None
        assert len(inspector._young) + len(inspector._old) <= 6
    assert len(inspector._young) + len(inspector._old) > 3
