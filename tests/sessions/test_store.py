"""Which servers may hold sessions, and what happens while they fail, restart or fill up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.sessions import Delete, Put, SessionStore, Stored
from scopewright.stores.sessions import valkey as valkey_store
from scopewright.stores.sessions.valkey import ValkeySessions
from scopewright.stores.valkey import MAX_CONNECTIONS
from tests.controlplane.certificates import Authority
from tests.harness.valkey_server import ValkeyServer
from tests.ports import free_port

KEY, OTHER = b"k" * 32, b"o" * 32
PERMISSIONS = "+evalsha +eval +getrange +set +del +time +info +ping +scan"
"""As docs/configuration.md has them."""


def put(key: bytes = KEY, value: bytes = b"value", if_version: int = 0, ttl: float = 3600.0) -> Put:
    return Put(key, value, ttl, if_version)


async def one(store: SessionStore, key: bytes = KEY) -> Stored | None:
    return (await store.get(key)).values[0]


def namespace() -> str:
    return f"test-{uuid4().hex}"


@pytest.fixture
async def store(server: ValkeyServer) -> AsyncIterator[ValkeySessions]:
    made = ValkeySessions(server.url, namespace())
    yield made
    await made.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that the test changes."""
    made = ValkeyServer(tmp_path)
    yield made
    made.stop()


async def refusal_of(url: str) -> str:
    """Why the server is refused, at the start and by each request."""
    store = ValkeySessions(url, namespace())
    with pytest.raises(Rejected) as refused:
        await store.check()
    with pytest.raises(Unavailable) as failed:
        await store.write(put())
    assert failed.value.message == refused.value.message
    assert failed.value.refused
    await store.close()
    return refused.value.message


# Which servers


async def test_a_server_that_evicts_keys_is_refused(own_server: ValkeyServer) -> None:
    for policy in ("allkeys-lru", "volatile-ttl"):
        with own_server.client() as admin:
            admin.config_set("maxmemory-policy", policy)
        assert f"has maxmemory-policy {policy}" in await refusal_of(own_server.url)


async def test_a_server_that_begins_to_evict_keys_is_refused_until_it_stops(
    own_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(valkey_store, "CHECK_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "scopewright")
    store = ValkeySessions(own_server.url, namespace())
    assert await store.write(put())
    with own_server.client() as admin:
        admin.config_set("maxmemory-policy", "allkeys-random")
        for _ in range(3):
            with pytest.raises(Unavailable, match="set noeviction, or pass another server"):
                await store.get(KEY)
        admin.config_set("maxmemory-policy", "noeviction")
    assert await one(store) == Stored(1, b"value")
    assert [r.levelname for r in caplog.records] == ["ERROR", "INFO"], "one line for a problem, and one for its end"
    await store.close()


async def test_a_redis_cluster_is_refused(tmp_path: Path) -> None:
    cluster = ValkeyServer(tmp_path, "--cluster-enabled", "yes")
    try:
        assert "must not be a Redis Cluster" in await refusal_of(cluster.url)
    finally:
        cluster.stop()


async def test_a_replica_is_refused_also_if_it_was_the_primary(server: ValkeyServer, own_server: ValkeyServer) -> None:
    store = ValkeySessions(own_server.url, namespace())
    assert await store.write(put())
    with own_server.client() as admin:
        admin.replicaof("127.0.0.1", str(server.port))
    for request in (store.get(KEY), store.write(put(if_version=1)), store.write(Delete(KEY))):
        with pytest.raises(Unavailable, match="has become a replica: pass the address of the primary"):
            await request
    await store.close()
    assert "is a replica, which may be late" in await refusal_of(own_server.url)


async def test_tls_and_a_user_with_few_permissions(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.server()
    for name, content in {"cert": certificate, "key": key, "ca": authority.pem}.items():
        (tmp_path / name).write_bytes(content)
    user = f"user issuer on >pass-word ~scopewright:sessions:apps:* {PERMISSIONS}"
    (tmp_path / "users").write_text(f"user default off\n{user}\n")
    port, files = free_port(), {"--tls-cert-file": "cert", "--tls-key-file": "key", "--tls-ca-cert-file": "ca"}
    options = [part for name, file in files.items() for part in (name, str(tmp_path / file))]
    options += ["--tls-port", str(port), "--tls-auth-clients", "no", "--aclfile", str(tmp_path / "users")]
    server = ValkeyServer(tmp_path, *options)
    url = f"valkeys://issuer:pass-word@127.0.0.1:{port}/0"
    try:
        store = ValkeySessions(f"{url}?ssl_ca_certs={tmp_path / 'ca'}", "apps")
        await store.check()
        assert await store.write(put(), put(OTHER))
        assert await store.write(Delete(OTHER))
        assert await one(store) == Stored(1, b"value")
        assert len(await store.store_id()) == 32
        assert [key for key, _ in (await store.scan()).values] == [KEY]
        await store.close()
        for other, problem in {
            "apps": r"unavailable: ConnectionError \(SSLCertVerificationError\)",  # the authority is unknown
            "hr": r"must be permitted to call .* with the keys scopewright:sessions:NAMESPACE:\*",
        }.items():
            store = ValkeySessions(url if other == "apps" else f"{url}?ssl_ca_certs={tmp_path / 'ca'}", other)
            with pytest.raises(Unavailable, match=problem):
                await store.get(KEY)
            await store.close()
    finally:
        server.stop()


async def test_a_file_of_an_authority_that_does_not_exist_is_named_as_the_cause() -> None:
    store = ValkeySessions(f"rediss://127.0.0.1:{free_port()}?ssl_ca_certs=/none", "apps")
    with pytest.raises(Unavailable, match=r"is unavailable: ConnectionError \(FileNotFoundError\)"):
        await store.get(KEY)
    await store.close()


def test_a_wrong_url_is_refused_and_not_shown() -> None:
    for url in (
        "reddis://:secret@host",
        "redis://:secret@host:port",
        "redis://:secret@host/zero",
        "redis://:secret@host/1/2",
        "redis://:secret@host?unknown=1",
        "rediss://:secret@host?ssl_ca_certs=/none&ssl_cert_reqs=sometimes",
    ):
        with pytest.raises(Rejected, match="session store must be a URL such as redis://host:6379/0") as refused:
            ValkeySessions(url, "apps")
        assert "secret" not in refused.value.message


# Failures


async def test_a_killed_server_without_persistence_has_lost_everything(
    server: ValkeyServer, store: ValkeySessions
) -> None:
    assert await store.write(put())
    first_id = await store.store_id()
    server.stop()
    for request in (store.get(KEY), store.write(put()), store.store_id()):
        with pytest.raises(Unavailable, match="the session store is unavailable: ConnectionError"):
            await request
    server.start()
    await asyncio.sleep(valkey_store.PAUSE_SECONDS)
    assert await one(store) is None, "the first request after the restart and the pause is served"
    assert await store.write(put())
    assert await store.store_id() != first_id


async def test_a_server_that_refuses_connections_is_asked_again_after_a_pause_only(
    own_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts take time from client tokens."""
    monkeypatch.setattr(valkey_store, "PAUSE_SECONDS", 3600.0)
    store = ValkeySessions(own_server.url, namespace())
    own_server.stop()
    with pytest.raises(Unavailable, match="is unavailable: ConnectionError"):
        await store.get(KEY)
    own_server.start()
    with pytest.raises(Unavailable, match="is unavailable: ConnectionError") as failed:
        await store.get(KEY)
    assert failed.value.refused
    store._pause_end = 0.0
    assert await one(store) is None
    assert await store.write(put()), "an answer ends the pause"
    await store.close()


async def test_a_cancelled_request_leaves_no_answer_to_the_next_one(
    server: ValkeyServer, store: ValkeySessions
) -> None:
    assert await store.write(put(), put(OTHER, value=b"other"))
    for _ in range(3):
        server.suspend()
        cancelled = asyncio.create_task(store.get(OTHER))
        await asyncio.sleep(0.02)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        server.resume()
        assert await one(store) == Stored(1, b"value")


@pytest.mark.parametrize("unasked", [b"-ERR unasked\r\n", b"+OK\r\n", b"*0\r\n", b":1\r\n"])
async def test_what_the_server_sends_unasked_is_not_the_answer_to_the_next_request(
    server: ValkeyServer, store: ValkeySessions, unasked: bytes
) -> None:
    """Each later answer of the connection would be that of the request before."""
    assert await store.write(put(), put(OTHER, value=b"other"))
    for connection in store._client.connection_pool._available_connections:
        assert connection._reader is not None
        connection._reader.feed_data(unasked)
    refused = 0
    for key, value in ((KEY, b"value"), (OTHER, b"other")) * 3:
        try:
            assert await one(store, key) == Stored(1, value)
        except Unavailable:
            refused += 1
    assert 0 < refused <= 2, "of an error, only that of another request closes the connection"
    assert not await store.write(put())


async def test_a_killed_server_with_an_append_only_file_has_lost_nothing(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        store = ValkeySessions(server.url, namespace())
        keys = [bytes([number]) * 32 for number in range(50)]
        assert all([await store.write(put(key)) for key in keys])
        store_id = await store.store_id()
        await asyncio.to_thread(server.restart)
        assert set((await store.get(*keys)).values) == {Stored(1, b"value")}
        assert await store.store_id() == store_id
        await store.close()
    finally:
        server.stop()


async def test_a_server_that_hangs_costs_few_connections_and_little_time(
    server: ValkeyServer, store: ValkeySessions
) -> None:
    assert await store.write(put())
    before = server.connections()
    server.suspend()
    try:
        many = [store.get(bytes([number % 256]) * 32) for number in range(10 * MAX_CONNECTIONS)]
        answers = await asyncio.wait_for(asyncio.gather(*many, return_exceptions=True), 30)
    finally:
        server.resume()
    assert {type(answer) for answer in answers} == {Unavailable}
    assert server.connections() <= before + MAX_CONNECTIONS
    for _ in range(2 * MAX_CONNECTIONS):
        assert await one(store) == Stored(1, b"value"), "a late answer must not be taken for that of another request"


async def test_a_full_server_refuses_what_needs_room_and_serves_the_rest(own_server: ValkeyServer) -> None:
    store = ValkeySessions(own_server.url, namespace())
    assert await store.write(put(), put(OTHER))
    with own_server.client() as admin:
        admin.config_set("maxmemory", 1)
        with pytest.raises(Unavailable, match="is full: raise its maxmemory") as failed:
            await store.write(put(b"x" * 32), Delete(KEY))
        assert (failed.value.reason, failed.value.refused) == ("SessionStoreFull", True)
        assert await one(store) == Stored(1, b"value")
        assert await store.write(Delete(KEY))
        assert (await store.get(KEY, OTHER)).values == (None, Stored(1, b"value"))
        admin.config_set("maxmemory", 0)
    assert await store.write(put(b"x" * 32))
    await store.close()


async def test_a_failure_shows_neither_the_password_nor_content(
    own_server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = ValkeySessions(own_server.url.replace("//", "//:pass-word@"), namespace())
    with pytest.raises(Unavailable, match="refuses the user or the password of its URL") as failed:
        await store.write(put(value=b"content"))
    for text in (str(failed.value), caplog.text, repr(store)):
        assert "pass-word" not in text
        assert "content" not in text
    await store.close()


# Values


async def test_the_servers_clock_is_that_of_the_store(store: ValkeySessions, server: ValkeyServer) -> None:
    with server.client() as admin:
        seconds, _ = admin.time()
    assert seconds <= (await store.get()).now < seconds + 10


async def test_every_key_but_the_id_ends_on_the_server(own_server: ValkeyServer) -> None:
    store = ValkeySessions(own_server.url, "apps")
    assert await store.write(put(ttl=60), put(OTHER, ttl=0.0001))
    await store.store_id()
    await asyncio.sleep(0.01)
    key = f"scopewright:sessions:apps:{KEY.hex()}"
    with own_server.client() as admin:
        assert set(admin.keys()) == {b"scopewright:sessions:apps:id", key.encode()}
    assert 50_000 < own_server.remaining(key) <= 60_000
    await store.close()


async def test_namespaces_share_a_server_and_nothing_else(server: ValkeyServer, store: ValkeySessions) -> None:
    other = ValkeySessions(server.url, namespace())
    assert await store.write(put())
    assert await one(other) is None
    assert await other.store_id() != await store.store_id()
    await other.close()


async def test_a_scan_shows_nothing_of_other_namespaces_and_programs(
    server: ValkeyServer, store: ValkeySessions
) -> None:
    other = ValkeySessions(server.url, namespace())
    assert await other.write(put(), put(OTHER))
    assert await store.write(put())
    prefix = store._prefix.decode()
    with server.client() as admin:
        admin.set(f"{prefix}{OTHER.hex()}", b"short")
        admin.set(f"{prefix}{'z' * 64}", b"12345678value")
        admin.set(f"{prefix}more:{OTHER.hex()}", b"12345678value")
        admin.lpush(f"{prefix}{(b'l' * 32).hex()}", b"12345678value")
    page = await store.scan()
    found = [*page.values]
    while page.following:
        found += (page := await store.scan(page.following)).values
    assert set(found) == {(KEY, Stored(1, b"value"))}
    await other.close()


async def test_a_scan_needs_a_permission_that_requests_of_users_do_not(own_server: ValkeyServer) -> None:
    store = ValkeySessions(own_server.url, "apps")
    with own_server.client() as admin:
        admin.acl_setuser("default", enabled=True, nopass=True, commands=["-scan"])
    assert await store.write(put())
    with pytest.raises(Unavailable, match=r"must be permitted to call .* scan for `scopewright users`"):
        await store.scan()
    await store.close()


async def test_values_of_other_programs_are_bounded_and_reported(own_server: ValkeyServer) -> None:
    store = ValkeySessions(own_server.url, "apps")
    with own_server.client() as admin:
        admin.set(f"scopewright:sessions:apps:{KEY.hex()}", b"short")
        admin.setrange(f"scopewright:sessions:apps:{OTHER.hex()}", 2 * valkey_store.MAX_ENTRY_BYTES, b"x")
        admin.lpush(f"scopewright:sessions:apps:{(b'l' * 32).hex()}", b"x")
    for key in (KEY, OTHER):
        with pytest.raises(Unavailable, match="a value of another program"):
            await store.get(key)
    with pytest.raises(Unavailable, match="refused a request: WRONGTYPE"):
        await store.get(b"l" * 32)
    with pytest.raises(ValueError, match="at most"):
        await store.write(put(value=bytes(valkey_store.MAX_ENTRY_BYTES)))
    await store.close()
