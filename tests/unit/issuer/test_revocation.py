"""Revocation (protocol.md, rules 18 and 19), the record that replicas share, and the feed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from scopewright.core.installation import plan_revocations
from scopewright.core.objects import Ref
from scopewright.core.records.codec import decode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    ENTRY,
    REVOCATIONS_NAME,
    client_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, namespace_key, token_key
from scopewright.core.revocations import MAX_ENTRIES_PER_CLIENT, has_ended
from scopewright.issuer import revocations as revocations_module
from scopewright.issuer.revocations import Revocations
from scopewright.stores import Change
from scopewright.stores.directory.store import DirectoryStore
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    BANK,
    ISSUER,
    PAYROLL,
    PAYROLL_SERVICE,
    client_record,
    key_record,
    private_key,
    server_record,
    service_record,
)

INACTIVE = {"active": False}
CONFIG = Config(issuer="http://127.0.0.1:8080")
NOW = int(START.timestamp())
SERVED = server_record(served_by=(PAYROLL_SERVICE,))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopewright.issuer.revocations.MAX_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("scopewright.issuer.revocations._RETRY_SECONDS", 0.01)


async def payroll_token(harness: IssuerHarness) -> str:
    return await harness.access_token(resource=PAYROLL)


async def written(harness: IssuerHarness) -> RevocationRecord:
    for _ in range(5):
        await settle()
    return harness.revocations()


async def feed(harness: IssuerHarness) -> dict[str, Any]:
    response = await harness.http.get("/revocations")
    assert response.status_code == 200
    content: dict[str, Any] = response.json()
    return content


def uid_hash(harness: IssuerHarness, client_id: str = "leave.leave-worker") -> str:
    client = harness.issuer.registry.clients.get(client_id)
    assert client is not None
    return client.uid_hash


# The endpoint


async def test_18_client_revokes_its_own_token(services: IssuerHarness) -> None:
    token, other = await payroll_token(services), await payroll_token(services)
    response = await services.post_token("/revoke", token)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert await services.introspect(token) == INACTIVE
    assert await services.introspect(token, PAYROLL_SERVICE) == INACTIVE
    assert (await services.introspect(other))["active"]
    assert list(services.revocations().tokens) == [uid_hash(services)]


async def test_18_unknown_token_is_200_and_a_wrong_hint_is_ignored(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    for unknown in ("x", "a.b.c", token[:-1] + ("A" if token[-1] != "A" else "B")):
        assert (await services.post_token("/revoke", unknown)).status_code == 200
    assert (await services.introspect(token))["active"]
    assert (await services.post_token("/revoke", token, token_type_hint="refresh_token")).status_code == 200
    assert await services.introspect(token) == INACTIVE
    assert (await services.post_token("/revoke", token)).status_code == 200
    assert (await services.post_token("/revoke", "")).json()["error"] == "invalid_request"


async def test_18_token_of_another_client_is_not_revoked_and_the_response_is_the_same(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    response = await services.post_token("/revoke", token, PAYROLL_SERVICE)
    assert (response.status_code, response.content) == (200, b"{}")
    assert (await services.introspect(token))["active"]
    assert (await services.http.post("/revoke", data={"token": token})).status_code == 401
    assert services.store.writes == []


async def test_18_response_is_200_only_after_the_revocation_is_written(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    services.store.refuse("ConfigMap", Unavailable("no connection", retry_after=3.0))
    response = await services.post_token("/revoke", token)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert await services.introspect(token) == INACTIVE, "the revocation is in force on this replica"


async def test_18_issuer_that_cannot_write_has_no_revocation_endpoint(harness: IssuerHarness) -> None:
    assert (await harness.post_token("/revoke", "x")).status_code == 404
    assert "revocation_endpoint" not in (await harness.http.get("/.well-known/oauth-authorization-server")).json()


async def test_19_a_revoked_token_stays_revoked_until_it_would_have_expired(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    await services.revoke(token)
    services.clock.advance(seconds=599)
    assert await services.introspect(token) == INACTIVE
    services.clock.advance(seconds=660)
    await services.revoke(await payroll_token(services))
    assert len((await feed(services))["tokens"][uid_hash(services)]) == 2, "a verifier's leeway may be ten minutes"
    services.clock.advance(seconds=1)
    await services.revoke(await payroll_token(services))
    assert len(services.revocations().tokens[uid_hash(services)]) == 2


async def test_concurrent_revocations_are_written_together(services: IssuerHarness) -> None:
    tokens = [await payroll_token(services) for _ in range(100)]
    await asyncio.gather(*map(services.revoke, tokens))
    assert len(services.store.writes) < 10
    assert [await services.introspect(token) for token in tokens] == [INACTIVE] * 100


async def test_client_beyond_its_quota_of_revocations_loses_all_of_its_own_tokens(services: IssuerHarness) -> None:
    kept = await services.access_token(PAYROLL_SERVICE, resource=BANK)
    tokens = [await payroll_token(services) for _ in range(MAX_ENTRIES_PER_CLIENT + 2)]
    services.clock.advance(seconds=5)
    await asyncio.gather(*map(services.revoke, tokens[:-1]))
    assert await services.introspect(tokens[-1]) == INACTIVE
    assert (await services.introspect(kept, PAYROLL_SERVICE))["active"]
    record = services.revocations()
    assert (record.tokens, record.clients) == ({}, {uid_hash(services): NOW + 5})
    services.clock.advance(seconds=1)
    assert (await services.introspect(await payroll_token(services)))["active"]


# What replicas share


async def test_token_revoked_by_another_replica_is_inactive(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    jti = (await services.introspect(token))["jti"]
    services.put(RevocationRecord(tokens={uid_hash(services): {token_key(jti): NOW + 600}}))
    await settle()
    assert await services.introspect(token) == INACTIVE


async def test_replicas_merge_concurrent_revocations(services: IssuerHarness) -> None:
    tokens = [await payroll_token(services), await payroll_token(services)]
    other = IssuerHarness(can_write=True, store=services.store, clock=services.clock)
    async with other.running():
        await asyncio.gather(services.revoke(tokens[0]), other.revoke(tokens[1]))
        assert len((await written(other)).tokens[uid_hash(other)]) == 2
        for harness in (services, other):
            assert [await harness.introspect(token) for token in tokens] == [INACTIVE] * 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tokens": 5}', b'{"version": 2}', b"{}"])
async def test_edited_revocation_record_is_restored(services: IssuerHarness, content: bytes) -> None:
    token = await payroll_token(services)
    await services.revoke(token)
    before = services.revocations()
    services.put_object("ConfigMap", REVOCATIONS_NAME, {ENTRY: content}, label="revocations")
    assert await written(services) == before
    assert await services.introspect(token) == INACTIVE


async def test_revocation_record_reset_to_an_earlier_content_is_restored(services: IssuerHarness) -> None:
    await services.revoke(await payroll_token(services))
    earlier = services.revocations()
    more = RevocationRecord(clients={"another": NOW})
    services.put(replace(earlier, clients=more.clients))
    await settle()
    services.put(earlier)
    assert (await written(services)).clients == more.clients


async def test_deleted_revocation_record_is_filled_again_after_the_operator_creates_it(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    await services.revoke(token)
    before = services.revocations()
    services.delete_object("ConfigMap", REVOCATIONS_NAME)
    await settle()
    assert await services.introspect(token) == INACTIVE
    assert (await services.post_token("/revoke", await payroll_token(services))).status_code == 503
    services.put(RevocationRecord())
    await asyncio.sleep(0.05)
    record = await written(services)
    assert before.tokens[uid_hash(services)].items() <= record.tokens[uid_hash(services)].items()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


@pytest.mark.parametrize("meanwhile", ["unavailable", "emptied", "deleted"])
async def test_revoked_token_stays_revoked_after_a_restart(snapshot: Path, meanwhile: str) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    async with harness.running():
        token = await payroll_token(harness)
        await harness.revoke(token)
    if meanwhile == "emptied":
        harness.put(RevocationRecord())
    elif meanwhile == "deleted":
        harness.delete_object("ConfigMap", REVOCATIONS_NAME)
    harness.store.unavailable = meanwhile == "unavailable"
    again = IssuerHarness(can_write=True, snapshot=snapshot, store=harness.store, clock=harness.clock)
    async with again.running():
        await again.issuer.ready()
        assert await again.introspect(token) == INACTIVE
        if meanwhile == "emptied":
            assert (await written(again)).tokens


async def test_revocations_are_written_to_a_directory_store(tmp_path: Path) -> None:
    """The store of `scopewright dev`, with the record that the operator creates."""
    store = DirectoryStore.open(tmp_path / "state", CONFIG.issuer)
    try:
        await store.write(plan_revocations(CONFIG))
        revocations = Revocations(store, CONFIG.namespace, lambda: float(NOW), CONFIG.issuer_record)
        running = asyncio.create_task(revocations.run())
        await revocations.revoke("client-hash1", "leave", "jti", NOW + 600)
        running.cancel()
        found = await store.read(revocations.ref)
        assert found is not None
        assert decode(RevocationRecord, found[1][ENTRY]) == revocations.record
    finally:
        store.close()


async def test_thousands_of_ended_clients_are_shrunk_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time would block the event loop for a time that grows with the square of their number."""
    done: list[str] = []

    def counted(name: str) -> None:
        original = getattr(revocations_module, name)

        def counting(*given: Any) -> Any:
            done.append(name)
            return original(*given)

        monkeypatch.setattr(revocations_module, name, counting)

    for name in ("shrink_to_limits", "merge", "encode"):
        counted(name)
    kept: dict[Ref, Callable[[], Change]] = {}
    revocations = Revocations(None, CONFIG.namespace, lambda: float(NOW), CONFIG.issuer_record, kept.__setitem__)
    for n in range(10_000):
        revocations.end(RevocationRecord(clients={f"client-{n}": NOW}))
    assert done == []
    assert has_ended(revocations.record, "client-0", "any", "any", NOW), "in force before it is written"
    assert len(revocations.record.clients) == 10_000
    assert done == ["merge", "shrink_to_limits"]
    change = kept[revocations.ref]()
    assert decode(RevocationRecord, change.entries[ENTRY]) == revocations.record
    assert done == ["merge", "shrink_to_limits", "encode"]


async def test_deletion_of_500_clients_is_in_force_at_once_and_written(snapshot: Path) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    for n in range(500):
        harness.put(client_record(name=f"worker-{n}", uid=f"uid-worker-{n}"))
    async with harness.running():
        for _ in range(20):
            await settle()
        assert len(harness.issuer.registry.clients) == 501
        for n in range(500):
            harness.delete_object("Secret", client_record_name("leave", f"worker-{n}"), notify=False)
        harness.store.relist()
        await settle()
        assert len((await feed(harness))["clients"]) == 500
        await asyncio.sleep(0.3)
        assert len(harness.revocations().clients) == 500
    harness.put(RevocationRecord())
    again = IssuerHarness(can_write=True, snapshot=snapshot, store=harness.store, clock=harness.clock)
    async with again.running():
        assert len((await feed(again))["clients"]) == 500


def with_long_lifetime() -> IssuerHarness:
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    harness.put(RevocationRecord(longest_lifetime=3600))
    return harness


async def test_client_that_ended_just_before_the_issuer_stops_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("MIN_PAUSE_SECONDS", "MAX_PAUSE_SECONDS"):
        monkeypatch.setattr(revocations_module, pause, 2.5)
    harness = with_long_lifetime()
    async with harness.running():
        await harness.revoke(await payroll_token(harness))
        uid = uid_hash(harness)
        harness.put(client_record(disabled=True))
        await settle()
        assert harness.revocations().clients == {}, "between two writes there is a pause"
    assert harness.revocations().clients == {uid: NOW}


async def test_write_interrupted_by_the_stop_of_the_issuer_is_retried() -> None:
    harness = with_long_lifetime()
    async with harness.running():
        uid = uid_hash(harness)
        harness.store.hold_reads()
        harness.put(client_record(disabled=True))
        await settle()
        asyncio.get_running_loop().call_later(0.05, harness.store.release_reads)
    assert harness.revocations().clients == {uid: NOW}


async def test_last_write_before_the_stop_times_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scopewright.issuer.merge_write.LAST_WRITE_TIMEOUT_SECONDS", 0.05)
    harness = with_long_lifetime()
    async with asyncio.timeout(30), harness.running():
        harness.store.hold_reads()
        harness.put(client_record(disabled=True))
        await settle()
        # The last report of usage must not read as well.
        monkeypatch.setattr(harness.issuer.background.usage, "_used", {})
    assert "the issuer stops" in caplog.text
    assert harness.store.writes == []


# The feed


async def test_feed_contains_hashes_only_and_supports_etags(services: IssuerHarness) -> None:
    token = await payroll_token(services)
    claims = await services.introspect(token)
    empty = await services.http.get("/revocations")
    await services.revoke(token)
    response = await services.http.get("/revocations", headers={"if-none-match": empty.headers["etag"]})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=1"
    assert response.json()["tokens"] == {uid_hash(services): {token_key(claims["jti"]): claims["exp"]}}
    assert not any(text in response.text for text in (claims["jti"], claims["client_id"], PAYROLL))
    etag = {"if-none-match": response.headers["etag"]}
    assert (await services.http.get("/revocations", headers=etag)).status_code == 304
    assert (await services.http.post("/revocations")).status_code == 405
    metadata = (await services.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["scopewright_revocation_feed_uri"].endswith("/revocations")


async def test_19_feed_contains_revoked_keys(services: IssuerHarness) -> None:
    services.put(key_record(revoked_time=START), private=private_key("ES256"))
    await settle()
    assert (await feed(services))["kids"] == [key_record().kid]
    services.delete_object("Secret", key_record_name(key_record().kid))
    await settle()
    assert (await feed(services))["kids"] == []


async def test_feed_contains_a_disabled_or_deleted_client(services: IssuerHarness) -> None:
    uid = uid_hash(services)
    services.put(client_record(disabled=True))
    await settle()
    assert (await feed(services))["clients"] == {uid: NOW}
    services.clock.advance(seconds=10)
    services.delete_object("Secret", "client.payroll.payroll-service")
    await settle()
    assert len((await feed(services))["clients"]) == 2
    assert (await written(services)).clients == (await feed(services))["clients"]


async def test_feed_contains_a_client_that_lost_a_grant_type(services: IssuerHarness) -> None:
    services.put(replace(service_record(), grant_types=("client_credentials",)))
    await settle()
    assert (await feed(services))["clients"] == {uid_hash(services, PAYROLL_SERVICE): NOW}
    services.put(service_record())
    await settle()
    assert (await feed(services))["clients"] == {uid_hash(services, PAYROLL_SERVICE): NOW}, (
        "an added grant type ends nothing"
    )


async def test_feed_contains_an_audience_that_requires_bound_tokens_from_now_on(services: IssuerHarness) -> None:
    services.put(replace(SERVED, dpop_required=True))
    await settle()
    assert (await feed(services))["audiences"] == {audience_key(PAYROLL): NOW}


async def test_namespace_that_deletes_all_its_objects_ends_no_token_of_another(
    services: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one turn of the event loop, as when a namespace is deleted: first clients, then APIs."""
    monkeypatch.setattr("scopewright.core.revocations.MAX_ENTRIES", 40)
    token = await payroll_token(services)
    clients = [client_record(namespace="greedy", name=f"c{n}", uid=f"uid-greedy-{n}") for n in range(60)]
    names = [f"api-{n}" for n in range(60)]
    servers = [
        server_record(namespace="greedy", name=n, uid=f"uid-{n}", audience=f"https://{n}.greedy.svc") for n in names
    ]
    for client in clients:
        services.put(client)
    for server in servers:
        services.put(server)
    await written(services)
    for client in clients:
        services.delete_object("Secret", client_record_name("greedy", client.name))
    await written(services)
    assert (await feed(services))["namespaces"] == {namespace_key("greedy"): NOW}
    services.clock.advance(seconds=1)
    for server in servers:
        services.delete_object("ConfigMap", resource_server_record_name("greedy", server.name))
    await written(services)
    content = await feed(services)
    assert (content["everybody"], content["namespaces"]) == (0, {namespace_key("greedy"): NOW + 1})
    assert (await written(services)).namespaces == content["namespaces"]
    assert (await services.introspect(token))["active"] is True


async def test_feed_contains_the_client_that_lost_a_grant(services: IssuerHarness) -> None:
    granted = ResolvedGrant(("payroll.read",), clients=("leave.leave-worker",))
    more = ResolvedGrant(("payroll.write",), everybody=True)
    services.put(replace(SERVED, grants=(granted, more)))
    await settle()
    before = (await feed(services))["access"]
    services.put(replace(SERVED, grants=(more,)))
    await settle()
    assert before == {}
    assert (await feed(services))["access"] == {uid_hash(services): {audience_key(PAYROLL): NOW}}


async def test_feed_contains_a_client_whose_access_entry_was_removed(services: IssuerHarness) -> None:
    bank = services.issuer.registry.clients.get("leave.leave-worker")
    assert bank is not None
    services.put(client_record(access=bank.requested[1:]))
    await settle()
    assert (await feed(services))["access"] == {uid_hash(services): {audience_key(PAYROLL): NOW}}


async def test_feed_contains_a_deleted_audience_and_a_client_that_no_longer_serves_one(services: IssuerHarness) -> None:
    services.put(replace(SERVED, served_by=()))
    await settle()
    assert (await feed(services))["clients"] == {uid_hash(services, PAYROLL_SERVICE): NOW}
    services.delete_object("ConfigMap", resource_server_record_name("payroll", "payroll-api"))
    await settle()
    assert (await feed(services))["audiences"] == {audience_key(PAYROLL): NOW}


async def test_change_that_removes_no_access_ends_nothing(services: IssuerHarness) -> None:
    empty = await feed(services)
    services.put(
        replace(SERVED, lifetime=300, grants=(*SERVED.grants, ResolvedGrant(("payroll.write",), everybody=True)))
    )
    services.put(service_record("payroll"))
    await settle()
    assert await feed(services) == empty
    assert services.store.writes == []


async def test_entry_leaves_the_feed_after_the_longest_token_lifetime_and_leeway(
    services: IssuerHarness,
) -> None:
    services.put(client_record(disabled=True))
    await settle()
    services.clock.advance(seconds=3600 + 600 + 59)
    services.put(service_record("bank", disabled=True))
    await settle()
    assert len((await feed(services))["clients"]) == 2
    services.clock.now += timedelta(seconds=1)
    services.put(service_record("vault", disabled=True))
    await settle()
    assert uid_hash(services) not in (await feed(services))["clients"]


@pytest.mark.parametrize("restart", [False, True])
async def test_shorter_token_lifetime_does_not_shorten_an_entry(services: IssuerHarness, restart: bool) -> None:
    uid = uid_hash(services)
    services.put(client_record(disabled=True))
    await settle()
    assert (await written(services)).longest_lifetime == 3600
    services.put(IssuerRecord(ISSUER, max_token_lifetime=300))
    await settle()
    services.clock.advance(seconds=3600)
    services.put(service_record("bank", disabled=True))
    assert uid in (await written(services)).clients
    if restart:
        services = IssuerHarness(can_write=True, store=services.store, clock=services.clock)
        async with services.running():
            assert uid in (await feed(services))["clients"]


async def test_longest_lifetime_counts_even_if_it_held_for_a_moment(services: IssuerHarness) -> None:
    """Also if nothing ended while it held."""
    for seconds in (7200, 300):
        services.put(IssuerRecord(ISSUER, max_token_lifetime=seconds))
    await settle()
    assert (await written(services)).longest_lifetime == 7200


async def test_access_removed_while_the_issuer_was_down_is_found_with_the_snapshot(snapshot: Path) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    harness.install_services()
    async with harness.running():
        uid = uid_hash(harness)
    harness.put(replace(SERVED, grants=()))
    harness.delete_object("Secret", "client.payroll.payroll-service")
    again = IssuerHarness(can_write=True, snapshot=snapshot, store=harness.store, clock=harness.clock)
    async with again.running():
        content = await feed(again)
        assert content["access"] == {uid: {audience_key(PAYROLL): NOW}}
        assert len(content["clients"]) == 1
