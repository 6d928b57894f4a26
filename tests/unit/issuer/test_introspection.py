"""Introspection (protocol.md, rules 17 and 19), by the client and by the API of a token."""

from dataclasses import replace
from datetime import timedelta

import jwt
import orjson
import pytest

from scopewright.controller.key_generation import make_key
from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord, RequestedAccess
from scopewright.core.records.codec import decode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import ENTRY, client_record_name, key_record_name, resource_server_record_name
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.issuer.tokens import inspect
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.inspect import Inspector
from scopewright.verifier.signatures import PreparedKey, prepare
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


async def payroll_token(harness: IssuerHarness) -> str:
    return await harness.access_token(resource=PAYROLL)


async def test_17_client_and_api_of_a_token_get_its_claims(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for client_id in ("leave.leave-worker", PAYROLL_SERVICE):
        response = await services.post_token("/introspect", token, client_id)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"
        claims = jwt.decode(token, options={"verify_signature": False})
        assert response.json() == {"active": True, "token_type": "Bearer", **claims}
        assert claims["scope"] == "payroll.read"


async def test_17_other_clients_get_inactive(services: IssuerHarness) -> None:
    response = await services.post_token("/introspect", await payroll_token(services), BANK_SERVICE)
    assert (response.status_code, response.content) == (200, b'{"active":false}')
    assert orjson.loads(services.audit_lines[-1])["reason"] == "not_theirs"


async def test_17_request_without_authentication_is_401(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    assert (await services.http.post("/introspect", data={"token": token})).status_code == 401
    response = await services.http.post("/introspect", data={"token": token}, auth=("leave.leave-worker", "wrong"))
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_17_a_token_must_be_sent_and_a_hint_is_ignored(services: IssuerHarness) -> None:
    assert (await services.post_token("/introspect", "")).json()["error"] == "invalid_request"
    token = await payroll_token(services)
    assert (await services.post_token("/introspect", token, token_type_hint="refresh_token")).json()["active"]


async def test_17_malformed_and_foreign_tokens_are_inactive(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    foreign = jwt.encode(claims, private_key("ES256", 7), "ES256", {"kid": kid, "typ": "at+jwt"})
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
        foreign,
        unsigned,
        token + "A",
    ):
        assert await services.introspect(sent) == INACTIVE, sent
    assert (await services.introspect(token))["active"]


async def test_17_an_expired_token_is_inactive(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.clock.advance(seconds=599)
    assert (await services.introspect(token))["active"]
    services.clock.advance(seconds=1)
    assert await services.introspect(token) == INACTIVE


async def test_19_a_token_ends_with_its_client(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    record = client_record()
    for change in (replace(record, disabled=True), replace(record, uid="uid-of-another"), replace(record, access=())):
        services.put(change)
        await settle()
        assert await services.introspect(token, PAYROLL_SERVICE) == INACTIVE
        services.put(record)
        await settle()
    services.delete_object("Secret", "client.leave.leave-worker")
    await settle()
    assert await services.introspect(token, PAYROLL_SERVICE) == INACTIVE


async def test_19_recreated_client_cannot_introspect_tokens_of_its_predecessor(
    services: IssuerHarness,
) -> None:
    token = await payroll_token(services)
    services.put(client_record(uid="uid-of-another"))
    await settle()
    assert await services.introspect(token) == INACTIVE
    assert orjson.loads(services.audit_lines[-1])["reason"] == "not_theirs"


async def test_19_a_token_ends_with_its_grant(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.put(replace(SERVED, grants=()))
    await settle()
    assert await services.introspect(token) == INACTIVE
    assert orjson.loads(services.audit_lines[-1])["reason"] == "scope_withdrawn"


async def test_19_a_token_ends_with_its_grant_type(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    exchanged = (await services.exchange(token, PAYROLL_SERVICE, BANK)).json()["access_token"]
    services.put(replace(service_record(), grant_types=("client_credentials",)))
    await settle()
    assert await services.introspect(exchanged, PAYROLL_SERVICE) == INACTIVE
    assert reason(services) == "grant_type_withdrawn"
    assert (await services.introspect(token, PAYROLL_SERVICE))["active"]


async def test_19_an_exchanged_token_ends_with_the_grant_type_of_its_subject(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    exchanged = (await services.exchange(token, PAYROLL_SERVICE, BANK)).json()["access_token"]
    worker = decode(ClientRecord, services.store.entry(WORKER, ENTRY))
    services.put(replace(worker, grant_types=(TOKEN_EXCHANGE,)))
    await settle()
    for ended in (token, exchanged):
        assert await services.introspect(ended, PAYROLL_SERVICE) == INACTIVE
        assert reason(services) == "grant_type_withdrawn"


async def test_19_bearer_token_ends_when_its_resource_server_requires_dpop(
    services: IssuerHarness,
) -> None:
    token = await payroll_token(services)
    services.put(replace(SERVED, dpop_required=True))
    await settle()
    assert await services.introspect(token, PAYROLL_SERVICE) == INACTIVE
    assert reason(services) == "not_bound"
    refused = await services.exchange(token, PAYROLL_SERVICE, BANK)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def reason(harness: IssuerHarness) -> str:
    return str(orjson.loads(harness.audit_lines[-1])["reason"])


async def test_19_a_token_ends_with_one_scope_of_several(services: IssuerHarness) -> None:
    token = await services.access_token("payroll.payroll-service", resource="https://bank-api.bank.svc")
    assert (await services.introspect(token, PAYROLL_SERVICE))["scope"] == "bank.pay bank.look"
    services.put(service_record("payroll", RequestedAccess("bank/bank-api", ("bank.pay",))))
    await settle()
    assert await services.introspect(token, PAYROLL_SERVICE) == INACTIVE


async def test_19_a_token_ends_when_its_grant_expires(services: IssuerHarness) -> None:
    ends = START + timedelta(seconds=30)
    services.put(replace(SERVED, grants=(ResolvedGrant(("payroll.read",), namespaces=("leave",), not_after=ends),)))
    await settle()
    token = await payroll_token(services)
    services.clock.advance(seconds=29)
    assert (await services.introspect(token))["exp"] == int(ends.timestamp())
    services.clock.advance(seconds=1)
    assert await services.introspect(token) == INACTIVE


async def test_19_a_token_ends_with_its_resource_server(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.delete_object("ConfigMap", resource_server_record_name("payroll", "payroll-api"))
    await settle()
    assert await services.introspect(token) == INACTIVE


@pytest.mark.parametrize("how", ["revoked", "deleted"])
async def test_19_a_token_ends_with_its_key(services: IssuerHarness, how: str) -> None:
    token = await payroll_token(services)
    assert (await services.introspect(token))["active"]
    if how == "revoked":
        services.put(key_record(revoked_time=START), private=private_key("ES256"))
    else:
        services.delete_object("Secret", key_record_name(key_record().kid))
    await settle()
    assert await services.introspect(token) == INACTIVE


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "Ed25519", "ES384"])
async def test_tokens_of_every_algorithm_are_introspected(algorithm: str) -> None:
    harness = IssuerHarness()
    harness.put(IssuerRecord(ISSUER))
    harness.publish(harness.put_key(algorithm).jwk)
    harness.put(server_record())
    harness.put(client_record())
    async with harness.running():
        token = await payroll_token(harness)
        assert (await harness.introspect(token))["active"]
        head, _, signature = token.rpartition(".")
        assert await harness.introspect(f"{head}.{signature[:-8]}AAAAAAAA") == INACTIVE
        assert await harness.introspect(f"{head}.{signature[:-8]}") == INACTIVE


async def test_no_audit_line_contains_a_token(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for client_id in ("leave.leave-worker", PAYROLL_SERVICE, BANK_SERVICE):
        await services.introspect(token, client_id)
    await services.revoke(token)
    assert not any(part in line for line in services.audit_lines for part in token.split("."))


async def test_each_token_is_verified_once(services: IssuerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "_MAX_VERIFIED", 3)
    tokens = [await payroll_token(services) for _ in range(9)]
    registry, now = services.issuer.registry, services.clock()
    issuer, [key] = registry.require_issuer(), registry.keys.jwks(now).keys.values()
    verified: list[bytes] = []
    genuine = key.verification_key

    def verifies(data: bytes, signature: bytes) -> bool:
        verified.append(signature)
        return genuine.verifies(data, signature)

    monkeypatch.setattr(key, "verification_key", replace(genuine, _public=PreparedKey(genuine.public_key, verifies)))
    inspector = Inspector(registry.keys)
    for _ in range(2):
        assert inspector.inspect(tokens[0], issuer, now) == Inspector(registry.keys).inspect(tokens[0], issuer, now)
    assert len(verified) == 3  # once, and by each new inspector
    for token in tokens[1:]:
        assert inspector.inspect(token, issuer, now) is not None
    assert len(verified) == 11
    assert inspector.inspect(tokens[8], issuer, now) is not None
    assert len(verified) == 11
    assert inspector.inspect(tokens[0], issuer, now) is not None  # the others have displaced it
    assert len(verified) == 12


async def test_a_verified_token_is_verified_again_with_another_key(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    registry, now = services.issuer.registry, services.clock()
    issuer, inspector = registry.require_issuer(), Inspector(registry.keys)
    assert inspector.inspect(token, issuer, now) is not None
    jwks = registry.keys.jwks(now)
    [(header, key)] = jwks.by_header.items()
    other = replace(key.verification_key, _public=prepare(make_key("ES256").jwk, "ES256"))
    jwks.by_header[header] = replace(key, verification_key=other)
    assert inspector.inspect(token, issuer, now) is None
    jwks.by_header[header] = replace(key)
    assert inspector.inspect(token, issuer, now) is not None
