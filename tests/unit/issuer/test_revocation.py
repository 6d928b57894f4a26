"""Revocation (protocol.md, lines 18 and 19), the record that replicas share, and the feed that services poll."""

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
from scopewright.core.revocations import MAX_ENTRIES_PER_CLIENT, audience_key, has_ended, namespace_key, token_key
from scopewright.issuer.revocation import ended as revocations_module
from scopewright.issuer.revocation.ended import Revocations
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
    monkeypatch.setattr("scopewright.issuer.revocation.ended.MAX_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("scopewright.issuer.revocation.ended._RETRY_SECONDS", 0.01)


async def of_payroll(harness: IssuerHarness) -> str:
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
    client = harness.issuer.registry.client(client_id)
    assert client is not None
    return client.uid_hash


# The endpoint


async def test_18_a_client_revokes_its_own_token(returning: IssuerHarness) -> None:
    token, other = await of_payroll(returning), await of_payroll(returning)
    response = await returning.post_token("/revoke", token)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert await returning.introspect(token) == INACTIVE
    assert await returning.introspect(token, PAYROLL_SERVICE) == INACTIVE
    assert (await returning.introspect(other))["active"]
    assert list(returning.revocations().tokens) == [uid_hash(returning)]


async def test_18_an_unknown_token_is_200_and_a_wrong_hint_still_works(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    for unknown in ("x", "a.b.c", token[:-1] + ("A" if token[-1] != "A" else "B")):
        assert (await returning.post_token("/revoke", unknown)).status_code == 200
    assert (await returning.introspect(token))["active"]
    assert (await returning.post_token("/revoke", token, token_type_hint="refresh_token")).status_code == 200
    assert await returning.introspect(token) == INACTIVE
    assert (await returning.post_token("/revoke", token)).status_code == 200
    assert (await returning.post_token("/revoke", "")).json()["error"] == "invalid_request"


async def test_18_the_token_of_another_client_is_not_revoked_and_nothing_is_told(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    response = await returning.post_token("/revoke", token, PAYROLL_SERVICE)
    assert (response.status_code, response.content) == (200, b"{}")
    assert (await returning.introspect(token))["active"]
    assert (await returning.http.post("/revoke", data={"token": token})).status_code == 401
    assert returning.store.writes == []


async def test_18_it_is_200_only_when_it_is_written(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    returning.store.refuse("ConfigMap", Unavailable("no connection", retry_after=3.0))
    response = await returning.post_token("/revoke", token)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert await returning.introspect(token) == INACTIVE, "and yet it is in force where it can be"


async def test_18_without_a_store_to_write_to_there_is_no_such_endpoint(harness: IssuerHarness) -> None:
    assert (await harness.post_token("/revoke", "x")).status_code == 404
    assert "revocation_endpoint" not in (await harness.http.get("/.well-known/oauth-authorization-server")).json()


async def test_19_a_revoked_token_stays_revoked_until_it_would_have_expired(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    await returning.revoke(token)
    returning.clock.advance(seconds=599)
    assert await returning.introspect(token) == INACTIVE
    returning.clock.advance(seconds=660)
    await returning.revoke(await of_payroll(returning))
    assert len((await feed(returning))["tokens"][uid_hash(returning)]) == 2, "a verifier's leeway may be ten minutes"
    returning.clock.advance(seconds=1)
    await returning.revoke(await of_payroll(returning))
    assert len(returning.revocations().tokens[uid_hash(returning)]) == 2


async def test_many_revocations_at_once_are_few_writes(returning: IssuerHarness) -> None:
    tokens = [await of_payroll(returning) for _ in range(100)]
    await asyncio.gather(*map(returning.revoke, tokens))
    assert len(returning.store.writes) < 10
    assert [await returning.introspect(token) for token in tokens] == [INACTIVE] * 100


async def test_beyond_its_quota_all_tokens_of_the_client_end_and_of_nobody_else(returning: IssuerHarness) -> None:
    kept = await returning.access_token(PAYROLL_SERVICE, resource=BANK)
    tokens = [await of_payroll(returning) for _ in range(MAX_ENTRIES_PER_CLIENT + 2)]
    returning.clock.advance(seconds=5)
    await asyncio.gather(*map(returning.revoke, tokens[:-1]))
    assert await returning.introspect(tokens[-1]) == INACTIVE
    assert (await returning.introspect(kept, PAYROLL_SERVICE))["active"]
    record = returning.revocations()
    assert (record.tokens, record.clients) == ({}, {uid_hash(returning): NOW + 5})
    returning.clock.advance(seconds=1)
    assert (await returning.introspect(await of_payroll(returning)))["active"]


# What replicas share


async def test_what_another_replica_has_revoked_is_in_force(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    jti = (await returning.introspect(token))["jti"]
    returning.put(RevocationRecord(tokens={uid_hash(returning): {token_key(jti): NOW + 600}}))
    await settle()
    assert await returning.introspect(token) == INACTIVE


async def test_two_replicas_merge_what_they_write(returning: IssuerHarness) -> None:
    tokens = [await of_payroll(returning), await of_payroll(returning)]
    other = IssuerHarness(can_write=True, store=returning.store, clock=returning.clock)
    async with other.running():
        await asyncio.gather(returning.revoke(tokens[0]), other.revoke(tokens[1]))
        assert len((await written(other)).tokens[uid_hash(other)]) == 2
        for harness in (returning, other):
            assert [await harness.introspect(token) for token in tokens] == [INACTIVE] * 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tokens": 5}', b'{"version": 2}', b"{}"])
async def test_what_is_edited_is_written_back(returning: IssuerHarness, content: bytes) -> None:
    token = await of_payroll(returning)
    await returning.revoke(token)
    before = returning.revocations()
    returning.put_object("ConfigMap", REVOCATIONS_NAME, {ENTRY: content}, label="revocations")
    assert await written(returning) == before
    assert await returning.introspect(token) == INACTIVE


async def test_what_is_set_back_to_what_this_issuer_wrote_once_is_written_again(returning: IssuerHarness) -> None:
    await returning.revoke(await of_payroll(returning))
    earlier = returning.revocations()
    more = RevocationRecord(clients={"another": NOW})
    returning.put(replace(earlier, clients=more.clients))
    await settle()
    returning.put(earlier)
    assert (await written(returning)).clients == more.clients


async def test_what_is_deleted_is_written_back_when_the_operator_has_made_it_again(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    await returning.revoke(token)
    before = returning.revocations()
    returning.delete_object("ConfigMap", REVOCATIONS_NAME)
    await settle()
    assert await returning.introspect(token) == INACTIVE
    assert (await returning.post_token("/revoke", await of_payroll(returning))).status_code == 503
    returning.put(RevocationRecord())
    await asyncio.sleep(0.05)
    record = await written(returning)
    assert before.tokens[uid_hash(returning)].items() <= record.tokens[uid_hash(returning)].items()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


@pytest.mark.parametrize("meanwhile", ["away", "emptied", "gone"])
async def test_a_restart_revokes_nothing_back(snapshot: Path, meanwhile: str) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    harness.put(RevocationRecord())
    async with harness.running():
        token = await of_payroll(harness)
        await harness.revoke(token)
    if meanwhile == "emptied":
        harness.put(RevocationRecord())
    elif meanwhile == "gone":
        harness.delete_object("ConfigMap", REVOCATIONS_NAME)
    harness.store.unavailable = meanwhile == "away"
    again = IssuerHarness(can_write=True, snapshot=snapshot, store=harness.store, clock=harness.clock)
    async with again.running():
        await again.issuer.ready()
        assert await again.introspect(token) == INACTIVE
        if meanwhile == "emptied":
            assert (await written(again)).tokens


async def test_in_a_directory_it_is_the_same(tmp_path: Path) -> None:
    """The store of `scopewright dev`, as the operator has made the record."""
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


async def test_thousands_of_losses_are_folded_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they would keep the event loop for as long as the square of their number says."""
    done: list[str] = []

    def counted(name: str) -> None:
        original = getattr(revocations_module, name)

        def counting(*given: Any) -> Any:
            done.append(name)
            return original(*given)

        monkeypatch.setattr(revocations_module, name, counting)

    for name in ("fold", "merge", "encode"):
        counted(name)
    kept: dict[Ref, Callable[[], Change]] = {}
    revocations = Revocations(None, CONFIG.namespace, lambda: float(NOW), CONFIG.issuer_record, kept.__setitem__)
    for n in range(10_000):
        revocations.end(RevocationRecord(clients={f"client-{n}": NOW}))
    assert done == []
    assert has_ended(revocations.record, "client-0", "any", "any", NOW), "who asks is told at once"
    assert len(revocations.record.clients) == 10_000
    assert done == ["merge", "fold"]
    change = kept[revocations.ref]()
    assert decode(RevocationRecord, change.entries[ENTRY]) == revocations.record
    assert done == ["merge", "fold", "encode"]


async def test_a_mass_removal_is_in_force_at_once_and_written(snapshot: Path) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    harness.put(RevocationRecord())
    for n in range(500):
        harness.put(client_record(name=f"worker-{n}", uid=f"uid-worker-{n}"))
    async with harness.running():
        for _ in range(20):
            await settle()
        assert harness.issuer.registry.client_count == 501
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


def leaving() -> IssuerHarness:
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    harness.put(RevocationRecord(longest_lifetime=3600))
    return harness


async def test_what_was_lost_just_before_the_issuer_stops_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("MIN_PAUSE_SECONDS", "MAX_PAUSE_SECONDS"):
        monkeypatch.setattr(revocations_module, pause, 2.5)
    harness = leaving()
    async with harness.running():
        await harness.revoke(await of_payroll(harness))
        uid = uid_hash(harness)
        harness.put(client_record(disabled=True))
        await settle()
        assert harness.revocations().clients == {}, "between two writes there is a pause"
    assert harness.revocations().clients == {uid: NOW}


async def test_a_write_that_is_cut_off_as_the_issuer_stops_is_tried_again() -> None:
    harness = leaving()
    async with harness.running():
        uid = uid_hash(harness)
        harness.store.hold_reads()
        harness.put(client_record(disabled=True))
        await settle()
        asyncio.get_running_loop().call_later(0.05, harness.store.release_reads)
    assert harness.revocations().clients == {uid: NOW}


async def test_the_last_write_has_its_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(revocations_module, "LAST_WRITE_TIMEOUT_SECONDS", 0.05)
    harness = leaving()
    async with asyncio.timeout(30), harness.running():
        harness.store.hold_reads()
        harness.put(client_record(disabled=True))
        await settle()
        # What the last report of use reads is another matter.
        monkeypatch.setattr(harness.issuer._background._usage, "_used", {})
    assert "the issuer stops" in caplog.text
    assert harness.store.writes == []


# The feed


async def test_the_feed_holds_hashes_and_is_sent_once(returning: IssuerHarness) -> None:
    token = await of_payroll(returning)
    claims = await returning.introspect(token)
    empty = await returning.http.get("/revocations")
    await returning.revoke(token)
    response = await returning.http.get("/revocations", headers={"if-none-match": empty.headers["etag"]})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=1"
    assert response.json()["tokens"] == {uid_hash(returning): {token_key(claims["jti"]): claims["exp"]}}
    assert not any(text in response.text for text in (claims["jti"], claims["client_id"], PAYROLL))
    etag = {"if-none-match": response.headers["etag"]}
    assert (await returning.http.get("/revocations", headers=etag)).status_code == 304
    assert (await returning.http.post("/revocations")).status_code == 405
    metadata = (await returning.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["scopewright_revocation_feed_uri"].endswith("/revocations")


async def test_19_the_feed_tells_revoked_keys(returning: IssuerHarness) -> None:
    returning.put(key_record(revoked_time=START), private=private_key("ES256"))
    await settle()
    assert (await feed(returning))["kids"] == [key_record().kid]
    returning.delete_object("Secret", key_record_name(key_record().kid))
    await settle()
    assert (await feed(returning))["kids"] == []


async def test_the_feed_tells_that_a_client_has_ended(returning: IssuerHarness) -> None:
    uid = uid_hash(returning)
    returning.put(client_record(disabled=True))
    await settle()
    assert (await feed(returning))["clients"] == {uid: NOW}
    returning.clock.advance(seconds=10)
    returning.delete_object("Secret", "client.payroll.payroll-service")
    await settle()
    assert len((await feed(returning))["clients"]) == 2
    assert (await written(returning)).clients == (await feed(returning))["clients"]


async def test_the_feed_tells_that_a_grant_type_was_withdrawn(returning: IssuerHarness) -> None:
    returning.put(replace(service_record(), grant_types=("client_credentials",)))
    await settle()
    assert (await feed(returning))["clients"] == {uid_hash(returning, PAYROLL_SERVICE): NOW}
    returning.put(service_record())
    await settle()
    assert (await feed(returning))["clients"] == {uid_hash(returning, PAYROLL_SERVICE): NOW}, "one more is no loss"


async def test_the_feed_tells_that_an_api_takes_bound_tokens_alone_from_now_on(returning: IssuerHarness) -> None:
    returning.put(replace(SERVED, dpop_required=True))
    await settle()
    assert (await feed(returning))["audiences"] == {audience_key(PAYROLL): NOW}


async def test_a_tenant_that_deletes_all_it_has_ends_no_token_of_another(
    returning: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one turn of the event loop, as with a namespace; by its clients and by its APIs."""
    monkeypatch.setattr("scopewright.core.revocations.MAX_ENTRIES", 40)
    token = await of_payroll(returning)
    clients = [client_record(namespace="greedy", name=f"c{n}", uid=f"uid-greedy-{n}") for n in range(60)]
    names = [f"api-{n}" for n in range(60)]
    servers = [
        server_record(namespace="greedy", name=n, uid=f"uid-{n}", audience=f"https://{n}.greedy.svc") for n in names
    ]
    for client in clients:
        returning.put(client)
    for server in servers:
        returning.put(server)
    await written(returning)
    for client in clients:
        returning.delete_object("Secret", client_record_name("greedy", client.name))
    await written(returning)
    assert (await feed(returning))["namespaces"] == {namespace_key("greedy"): NOW}
    returning.clock.advance(seconds=1)
    for server in servers:
        returning.delete_object("ConfigMap", resource_server_record_name("greedy", server.name))
    await written(returning)
    told = await feed(returning)
    assert (told["everybody"], told["namespaces"]) == (0, {namespace_key("greedy"): NOW + 1})
    assert (await written(returning)).namespaces == told["namespaces"]
    assert (await returning.introspect(token))["active"] is True


async def test_the_feed_tells_that_a_grant_was_withdrawn_and_from_whom(returning: IssuerHarness) -> None:
    granted = ResolvedGrant(("payroll.read",), clients=("leave.leave-worker",))
    more = ResolvedGrant(("payroll.write",), everybody=True)
    returning.put(replace(SERVED, grants=(granted, more)))
    await settle()
    before = (await feed(returning))["access"]
    returning.put(replace(SERVED, grants=(more,)))
    await settle()
    assert before == {}
    assert (await feed(returning))["access"] == {uid_hash(returning): {audience_key(PAYROLL): NOW}}


async def test_the_feed_tells_that_a_client_asks_no_longer(returning: IssuerHarness) -> None:
    bank = returning.issuer.registry.client("leave.leave-worker")
    assert bank is not None
    returning.put(client_record(access=bank.asked[1:]))
    await settle()
    assert (await feed(returning))["access"] == {uid_hash(returning): {audience_key(PAYROLL): NOW}}


async def test_the_feed_tells_that_an_api_is_gone_or_is_served_by_others(returning: IssuerHarness) -> None:
    returning.put(replace(SERVED, served_by=()))
    await settle()
    assert (await feed(returning))["clients"] == {uid_hash(returning, PAYROLL_SERVICE): NOW}
    returning.delete_object("ConfigMap", resource_server_record_name("payroll", "payroll-api"))
    await settle()
    assert (await feed(returning))["audiences"] == {audience_key(PAYROLL): NOW}


async def test_a_change_that_takes_nothing_ends_nothing(returning: IssuerHarness) -> None:
    empty = await feed(returning)
    returning.put(
        replace(SERVED, lifetime=300, grants=(*SERVED.grants, ResolvedGrant(("payroll.write",), everybody=True)))
    )
    returning.put(service_record("payroll"))
    await settle()
    assert await feed(returning) == empty
    assert returning.store.writes == []


async def test_what_ended_leaves_the_feed_after_the_longest_life_of_a_token_and_leeway(
    returning: IssuerHarness,
) -> None:
    returning.put(client_record(disabled=True))
    await settle()
    returning.clock.advance(seconds=3600 + 600 + 59)
    returning.put(service_record("bank", disabled=True))
    await settle()
    assert len((await feed(returning))["clients"]) == 2
    returning.clock.now += timedelta(seconds=1)
    returning.put(service_record("vault", disabled=True))
    await settle()
    assert uid_hash(returning) not in (await feed(returning))["clients"]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_lower_lifetime_brings_nothing_back(returning: IssuerHarness, restart: bool) -> None:
    uid = uid_hash(returning)
    returning.put(client_record(disabled=True))
    await settle()
    assert (await written(returning)).longest_lifetime == 3600
    returning.put(IssuerRecord(ISSUER, max_token_lifetime=300))
    await settle()
    returning.clock.advance(seconds=3600)
    returning.put(service_record("bank", disabled=True))
    assert uid in (await written(returning)).clients
    if restart:
        returning = IssuerHarness(can_write=True, store=returning.store, clock=returning.clock)
        async with returning.running():
            assert uid in (await feed(returning))["clients"]


async def test_a_lifetime_that_held_for_a_moment_counts(returning: IssuerHarness) -> None:
    """Also where nothing has ended under it yet."""
    for seconds in (7200, 300):
        returning.put(IssuerRecord(ISSUER, max_token_lifetime=seconds))
    await settle()
    assert (await written(returning)).longest_lifetime == 7200


async def test_what_was_withdrawn_while_the_issuer_was_down_is_told_by_its_snapshot(snapshot: Path) -> None:
    harness = IssuerHarness(can_write=True, snapshot=snapshot)
    harness.install_defaults()
    harness.install_services()
    harness.put(RevocationRecord())
    async with harness.running():
        uid = uid_hash(harness)
    harness.put(replace(SERVED, grants=()))
    harness.delete_object("Secret", "client.payroll.payroll-service")
    again = IssuerHarness(can_write=True, snapshot=snapshot, store=harness.store, clock=harness.clock)
    async with again.running():
        told = await feed(again)
        assert told["access"] == {uid: {audience_key(PAYROLL): NOW}}
        assert len(told["clients"]) == 1
