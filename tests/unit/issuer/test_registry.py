"""Which objects are records, and which version of a record is in force."""

import logging
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import orjson
import pytest

from scopewright.core.objects import Ref
from scopewright.core.records.client import Credential
from scopewright.core.records.codec import encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    ISSUER_NAME,
    PRIVATE_KEY_ENTRY,
    SIGNING_KEY_TYPE,
    key_record_name,
)
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.issuer.state.registry import Registry
from scopewright.stores import Change
from tests.cases.issuer_urls import BAD
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    ISSUER,
    NAMESPACE,
    client_record,
    key_record,
    pem,
    private_key,
    public_jwk,
    server_record,
    sha256,
)


async def kids(harness: IssuerHarness) -> list[str]:
    return [k["kid"] for k in (await harness.http.get("/jwks.json")).json()["keys"]]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {ENTRY: b"not json"},
        {ENTRY: b"{}"},
        {ENTRY: b"\xff\x00"},
        {"other": encode(client_record())},
        {ENTRY: encode(client_record(name="another"))},
        {ENTRY: encode(client_record(uid=""))},
        {ENTRY: encode(client_record(credentials=(Credential("abc", START),)))},
        {ENTRY: encode(client_record(credentials=(Credential("zz" * 32, START),)))},
    ],
)
async def test_malformed_client_record_is_ignored_and_the_last_valid_one_kept(
    harness: IssuerHarness, content: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        harness.put_object("Secret", "client.leave.leave-worker", content, type=CLIENT_TYPE)
        await settle()
    assert (await harness.token()).status_code == 200
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "client.leave.leave-worker" in warnings[0]
    assert "zz" not in warnings[0]


async def test_object_of_another_type_is_not_a_client_record(harness: IssuerHarness) -> None:
    harness.put_object("Secret", "client.leave.planted", {ENTRY: encode(client_record(name="planted"))}, type="Opaque")
    harness.put_object("ConfigMap", "client.leave.planted", {ENTRY: encode(client_record(name="planted"))})
    await settle()
    assert (await harness.token("leave.planted")).status_code == 401


async def test_object_of_another_namespace_is_not_a_record() -> None:
    registry = Registry("elsewhere")
    harness = IssuerHarness()
    harness.put(client_record())
    held = harness.stored("Secret", "client.leave.leave-worker")
    assert not registry.apply(Change(held.existing, held.entries), harness.clock())
    assert len(registry.clients) == 0


async def test_deleted_client_is_refused(harness: IssuerHarness) -> None:
    harness.delete_object("Secret", "client.leave.leave-worker")
    await settle()
    assert (await harness.token()).status_code == 401


async def test_record_that_a_new_list_lacks_is_deleted(harness: IssuerHarness) -> None:
    harness.delete_object("Secret", "client.leave.leave-worker", notify=False)
    harness.delete_object("ConfigMap", "resourceserver.payroll.payroll-api", notify=False)
    harness.store.relist()
    await settle()
    assert len(harness.issuer.registry.clients) == 0
    assert len(harness.issuer.registry.servers) == 0


async def test_successor_under_an_old_name_inherits_nothing(harness: IssuerHarness) -> None:
    before = await harness.claims(await harness.token())
    harness.put(client_record(uid="uid-of-another", credentials=(Credential(sha256("another"), START),)))
    await settle()
    assert (await harness.token()).status_code == 401
    after = await harness.claims(await harness.token(secret="another"))
    assert before["jti"][:12] != after["jti"][:12]


async def test_expired_credential_is_refused_without_a_change_of_its_record(harness: IssuerHarness) -> None:
    ends = START + timedelta(hours=1)
    harness.put(client_record(credentials=(Credential(sha256("old"), START, ends), Credential(sha256("new"), START))))
    await settle()
    assert (await harness.token(secret="old")).status_code == 200
    harness.clock.advance(hours=1)
    assert (await harness.token(secret="old")).status_code == 401
    assert (await harness.token(secret="new")).status_code == 200


# Resource servers


async def test_older_of_two_records_with_one_audience_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for ages in ((1, 2), (2, 1)):
        harness = IssuerHarness()
        harness.install_defaults()
        audience = "https://shared.example"
        for number, age in enumerate(ages):
            name = f"api-{number}"
            grants = (ResolvedGrant((f"scope-{age}",), everybody=True),)
            record = server_record(name=name, audience=audience, scopes=(f"scope-{age}",), grants=grants)
            harness.put(record, created=START + timedelta(hours=age))
        asked = client_record().access[0]
        both = tuple(type(asked)(f"payroll/api-{number}", (f"scope-{age}",)) for number, age in enumerate(ages))
        harness.put(client_record(access=both))
        async with harness.running():
            claims = await harness.claims(await harness.token(resource=audience), audience)
            assert claims["scope"] == "scope-1"
            loser = f"https://api-{ages.index(2)}.payroll.svc"
            assert (await harness.token(resource=loser)).json()["error"] == "invalid_target"
            harness.delete_object("ConfigMap", f"resourceserver.payroll.api-{ages.index(1)}")
            await settle()
            assert (await harness.claims(await harness.token(resource=audience), audience))["scope"] == "scope-2"
    assert "older" in caplog.text


async def test_resource_server_with_its_own_audience_is_found_by_its_default_audience_too(
    harness: IssuerHarness,
) -> None:
    harness.put(server_record(audience="https://payroll.hr.example"))
    await settle()
    for resource in ("https://payroll.hr.example", "https://payroll-api.payroll.svc"):
        claims = await harness.claims(await harness.token(resource=resource), "https://payroll.hr.example")
        assert claims["aud"] == "https://payroll.hr.example"


async def test_audience_takes_precedence_over_a_default_audience(harness: IssuerHarness) -> None:
    alias = "https://payroll-api.payroll.svc"
    harness.put(server_record(audience="https://payroll.hr.example"))
    harness.put(server_record(namespace="leave", name="mirror", audience=alias, scopes=("mirror",)))
    asked = (*client_record().access, type(client_record().access[0])("leave/mirror", ("mirror",)))
    harness.put(client_record(access=asked))
    await settle()
    claims = await harness.claims(await harness.token(resource=alias), alias)
    assert claims["scope"] == "mirror"


async def test_resource_server_without_an_audience_is_not_served(harness: IssuerHarness) -> None:
    harness.put(server_record(audience=""))
    await settle()
    assert (await harness.token()).json()["error"] == "invalid_target"


@pytest.mark.parametrize("changes", [{"lifetime": 0}, {"name": "other"}, {"uid": ""}])
async def test_malformed_server_record_is_ignored_and_the_last_valid_one_kept(
    harness: IssuerHarness, changes: dict[str, Any]
) -> None:
    content = {ENTRY: encode(server_record(**changes))}
    harness.put_object("ConfigMap", "resourceserver.payroll.payroll-api", content, label="resource-server")
    await settle()
    assert (await harness.token()).status_code == 200


# The issuer record


async def test_issuer_record_under_another_name_is_ignored(harness: IssuerHarness) -> None:
    content = {ENTRY: encode(IssuerRecord("https://evil.example"))}
    harness.put_object("ConfigMap", "scopewright-issuer-2", content, label="issuer")
    await settle()
    assert (await harness.http.get("/.well-known/oauth-authorization-server")).json()["issuer"] == ISSUER


async def test_deleted_issuer_record_stays_in_force(harness: IssuerHarness) -> None:
    harness.delete_object("ConfigMap", ISSUER_NAME)
    await settle()
    assert (await harness.token()).status_code == 200


@pytest.mark.parametrize(
    "record",
    [
        IssuerRecord("http://[::1"),
        IssuerRecord("issuer"),
        IssuerRecord("http://issuer.example.org"),
        IssuerRecord(ISSUER, max_token_lifetime=0),
        IssuerRecord(ISSUER, clock_skew=-1),
    ],
)
async def test_malformed_issuer_record_is_ignored_and_the_last_valid_one_kept(
    harness: IssuerHarness, record: IssuerRecord
) -> None:
    harness.put(record)
    await settle()
    assert (await harness.http.get("/.well-known/oauth-authorization-server")).json()["issuer"] == ISSUER
    assert await harness.claims(await harness.token())


async def test_record_with_a_timestamp_without_time_zone_is_malformed(harness: IssuerHarness) -> None:
    naive = START.replace(tzinfo=None)
    for content, name, label in (
        (encode(client_record()), "client.leave.leave-worker", ""),
        (
            encode(server_record(grants=(ResolvedGrant(("payroll.read",), everybody=True, not_after=START),))),
            "resourceserver.payroll.payroll-api",
            "resource-server",
        ),
    ):
        text = content.replace(b"00Z", b"00")
        assert naive.isoformat().encode() in text
        kind, of_type = ("ConfigMap", "") if label else ("Secret", CLIENT_TYPE)
        harness.put_object(kind, name, {ENTRY: text}, type=of_type, label=label)  # type: ignore[arg-type]
        await settle()
        assert (await harness.token()).status_code == 200


# Keys and the key set


async def test_key_planted_in_the_config_map_is_not_served(harness: IssuerHarness) -> None:
    planted = public_jwk(private_key("ES256", 66), "ES256")
    forged = {**planted, "kid": key_record().kid}
    harness.publish(planted, forged, key_record().jwk, {"kty": "oct", "k": "abc", "kid": "x"}, {})
    await settle()
    keys = (await harness.http.get("/jwks.json")).json()["keys"]
    assert [k["x"] for k in keys] == [key_record().jwk["x"]]


async def test_key_of_another_config_map_is_not_served(harness: IssuerHarness) -> None:
    elsewhere = harness.put_key("ES256", 5, config_map="other-jwks")
    harness.publish(key_record().jwk, elsewhere.jwk)
    await settle()
    assert await kids(harness) == [key_record().kid]


async def test_key_that_is_not_served_does_not_sign(harness: IssuerHarness) -> None:
    harness.publish()
    await settle()
    response = await harness.token()
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"keys": 1}', b'{"keys": [1]}'])
async def test_malformed_key_set_is_ignored_and_the_last_valid_one_kept(harness: IssuerHarness, content: bytes) -> None:
    harness.put_object("ConfigMap", "scopewright-jwks", {"jwks.json": content})
    await settle()
    assert (await harness.token()).status_code == 200


async def test_deleted_key_set_stays_in_force_while_its_key_records_exist(harness: IssuerHarness) -> None:
    harness.delete_object("ConfigMap", "scopewright-jwks")
    await settle()
    assert (await harness.token()).status_code == 200
    harness.put(key_record(revoked_time=START))
    await settle()
    assert await kids(harness) == []


async def test_key_record_with_the_private_key_of_another_is_ignored(
    harness: IssuerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    record = key_record("ES256", 8)
    harness.publish(key_record().jwk, record.jwk)
    harness.put(record, private=private_key("ES256", 9))
    await settle()
    assert await kids(harness) == [key_record().kid]
    assert "keeping its last valid version" in caplog.text
    assert "PRIVATE" not in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"jwk": {**key_record().jwk, "x": key_record("ES256", 1).jwk["x"]}},
        {"algorithm": "RS256"},
        {"algorithm": "HS256"},
        {"algorithm": "ES384"},
        {"jwk": {**key_record().jwk, "alg": "none"}},
        {"jwk": {"kid": key_record().kid, "kty": "oct"}},
        {"jwk": {"kty": "oct"}, "kid": ""},
        {"jwk": {"kty": "EC"}, "kid": ""},
    ],
)
async def test_malformed_key_record_is_ignored_and_the_last_valid_one_kept(
    harness: IssuerHarness, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    record = key_record(**changes)
    entries = {ENTRY: encode(record), PRIVATE_KEY_ENTRY: pem(private_key("ES256"))}
    harness.put_object("Secret", key_record_name(record.kid), entries, type=SIGNING_KEY_TYPE)
    await settle()
    assert (await harness.token()).status_code == 200
    assert "keeping its last valid version" in caplog.text


async def test_key_record_with_a_malformed_private_key_is_ignored(harness: IssuerHarness) -> None:
    record = key_record("ES256", 8)
    entries = {ENTRY: encode(record), PRIVATE_KEY_ENTRY: b"-----BEGIN nonsense"}
    harness.put_object("Secret", key_record_name(record.kid), entries, type=SIGNING_KEY_TYPE)
    harness.publish(key_record().jwk, record.jwk)
    await settle()
    assert await kids(harness) == [key_record().kid]


async def test_private_members_of_a_key_record_are_not_served(harness: IssuerHarness) -> None:
    harness.put_key(jwk={**key_record().jwk, "d": "private"})
    await settle()
    assert b"private" not in (await harness.http.get("/jwks.json")).content


async def test_key_with_the_latest_signing_start_signs(harness: IssuerHarness) -> None:
    later = harness.put_key("ES256", 2, signing_start_time=START + timedelta(days=1))
    harness.publish(key_record().jwk, later.jwk)
    await settle()
    assert await harness.claims(await harness.token())
    assert header_kid(await harness.token()) == key_record().kid
    harness.clock.advance(days=1)
    assert header_kid(await harness.token()) == later.kid
    assert await kids(harness) == [key_record().kid, later.kid]


async def test_key_signs_until_signing_end_and_is_served_until_verification_end(
    harness: IssuerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.clock.advance(days=37)
    for _ in range(3):
        response = await harness.token()
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert sum("SigningKey default" in r.getMessage() for r in caplog.records) == 1
    assert await kids(harness) == [key_record().kid]
    harness.clock.advance(days=1)
    assert await kids(harness) == []


async def test_revoked_key_neither_signs_nor_is_served(harness: IssuerHarness) -> None:
    newer = harness.put_key("ES256", 4)
    harness.publish(key_record().jwk, newer.jwk)
    harness.put(key_record(revoked_time=START))
    await settle()
    assert await kids(harness) == [newer.kid]
    assert header_kid(await harness.token()) == newer.kid


async def test_key_without_its_private_key_is_served_and_does_not_sign(harness: IssuerHarness) -> None:
    newer = key_record("ES256", 4, signing_start_time=START - timedelta(minutes=1))
    harness.put(newer)
    harness.publish(key_record().jwk, newer.jwk)
    await settle()
    assert set(await kids(harness)) == {key_record().kid, newer.kid}
    assert header_kid(await harness.token()) == key_record().kid


def header_kid(response: Any) -> str:
    return str(jwt.get_unverified_header(response.json()["access_token"])["kid"])


async def test_client_record_takes_at_most_2000_bytes() -> None:
    harness = IssuerHarness()
    harness.put(client_record())
    existing = harness.stored("Secret", "client.leave.leave-worker").existing
    registry = Registry(NAMESPACE)
    tracemalloc.start()
    for number in range(2000):
        record = client_record(namespace=f"team-{number % 50}", name=f"client-{number}")
        ref = Ref("Secret", NAMESPACE, f"client.{record.client_id}")
        assert registry.apply(Change(replace(existing, ref=ref), {ENTRY: encode(record)}), harness.clock())
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 2000 < 2000
    assert orjson.loads(encode(client_record()))["namespace"] == "leave"


async def test_issuer_record_with_a_url_that_verifiers_refuse_is_ignored(harness: IssuerHarness) -> None:
    before = harness.issuer.registry.issuer
    for url in BAD:
        harness.put(IssuerRecord(url))
        await settle()
        assert harness.issuer.registry.issuer is before, url
