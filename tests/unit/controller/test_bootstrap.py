"""The objects that an installation has once are created again as soon as one is missing, before the next resync."""

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from scopewright.controller.bootstrap import Bootstrap, ensure_id_token_key
from scopewright.controller.cache import Cache
from scopewright.controller.leader import Leader
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.declared import parse_declared
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.installation import (
    SESSION_KEY_LIFETIME,
    id_token_key_ref,
    issuer_ref,
    nonce_key_ref,
    revocations_ref,
    seal_key_ref,
    session_key_ref,
    usage_ref,
)
from scopewright.core.objects import ROTATE_ANNOTATION, Existing, Ref
from scopewright.core.records.codec import encode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import ENTRY, IDENTITY_PROVIDER_TYPE, identity_provider_record_name
from scopewright.stores import Change, ListCompleted
from tests.harness.clock import START
from tests.harness.memory_store import Crash, MemoryStore, Point
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.stores_kubernetes.fake_api import FakeApi

CONFIG = Config(issuer=ISSUER)
SEAL = seal_key_ref(CONFIG)
INSTALLATION_REFS = tuple(
    of(CONFIG) for of in (issuer_ref, usage_ref, nonce_key_ref, revocations_ref, seal_key_ref, session_key_ref)
)


async def bootstrapped() -> tuple[MemoryStore, Bootstrap, WatchHandlers]:
    """An installation whose objects all exist, and are known to its bootstrap."""
    store = MemoryStore(lambda: START)
    bootstrap = Bootstrap(store, CONFIG, lambda: START)
    handlers = WatchHandlers(
        Cache(CONFIG.name, NAMESPACE), CONFIG, WatchMonitor(), lambda key, delay: None, bootstrap.check
    )
    await bootstrap.ensure()
    for stored in store.objects.values():
        handlers._changed(Change(stored.existing, stored.entries))
    assert not bootstrap.incomplete.is_set(), "an object that was just created is missing"
    return store, bootstrap, handlers


def deletion(existing: Existing) -> Change:
    return Change(existing, {}, deleted=True)


@pytest.mark.parametrize("ref", INSTALLATION_REFS, ids=str)
async def test_a_deleted_object_of_the_installation_is_created_again(ref: Ref) -> None:
    store, bootstrap, handlers = await bootstrapped()
    stored = store.objects.pop(ref)
    handlers._changed(deletion(stored.existing))
    assert bootstrap.incomplete.is_set()
    await bootstrap.ensure()
    assert not bootstrap.incomplete.is_set()
    assert ref in store.objects
    assert store.objects[ref].existing.type == stored.existing.type


async def test_an_object_of_the_installation_that_a_list_lacks_is_created_again() -> None:
    store, bootstrap, handlers = await bootstrapped()
    handlers._listed(
        handlers.selections[1],
        ListCompleted(frozenset({r for r in store.objects if r != INSTALLATION_REFS[0]}), "1000"),
    )
    assert bootstrap.incomplete.is_set()


async def test_an_edited_issuer_record_is_restored() -> None:
    store, bootstrap, handlers = await bootstrapped()
    stored = store.objects[issuer_ref(CONFIG)]
    edited = Existing(
        stored.existing.ref, "u", "1000", entries={"record.json": "another"}, labels=stored.existing.labels
    )
    handlers._changed(Change(edited, {"record.json": b"{}"}))
    assert bootstrap.incomplete.is_set()


async def test_the_seal_key_is_replaced_once_for_each_rotate_annotation() -> None:
    store, bootstrap, handlers = await bootstrapped()
    before, other = await bootstrap.ensure(), await rotate_seal_key(store, handlers, bootstrap, "a leak")
    assert other != before
    assert await bootstrap.ensure() == other
    assert not bootstrap.incomplete.is_set()
    assert await Bootstrap(store, CONFIG, lambda: START).ensure() == other, "a restart has done it again"
    assert await rotate_seal_key(store, handlers, bootstrap, "another leak") not in (before, other)


async def rotate_seal_key(store: MemoryStore, handlers: WatchHandlers, bootstrap: Bootstrap, why: str) -> bytes:
    """Annotate the seal key, and bootstrap again. Returns the seal key that exists then."""
    stored = store.objects[SEAL]
    store.put(replace(stored.existing, annotations={"scopewright.dev/rotate": why}), stored.entries)
    handlers._changed(Change(store.objects[SEAL].existing, {}))
    assert bootstrap.incomplete.is_set()
    key = await bootstrap.ensure()
    handlers._changed(Change(store.objects[SEAL].existing, {}))
    assert not bootstrap.incomplete.is_set(), "a request that was served is still pending"
    return key


async def test_the_seal_key_is_not_replaced_before_sealed_secrets_are_adopted() -> None:
    store, bootstrap, _ = await bootstrapped()
    key, stored = await bootstrap.ensure(), store.objects[SEAL]
    store.put(replace(stored.existing, annotations={"scopewright.dev/rotate": "a leak"}), stored.entries)
    assert await bootstrap.ensure(may_rotate=False) == key
    assert await bootstrap.ensure() != key


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("error", [Crash(), Conflict("changed meanwhile"), Unavailable("no answer in time")])
async def test_a_failed_replacement_of_the_seal_key_ends_with_one_new_key(error: BaseException, point: Point) -> None:
    store, bootstrap, _ = await bootstrapped()
    before, stored = await bootstrap.ensure(), store.objects[SEAL]
    store.put(replace(stored.existing, annotations={"scopewright.dev/rotate": "a leak"}), stored.entries)
    store.fail(error, point=point)
    with pytest.raises(type(error)):
        await bootstrap.ensure()
    written = [what for what in store.writes if str(SEAL) in what]
    successor = Bootstrap(store, CONFIG, lambda: START)
    after = await successor.ensure()
    assert after != before
    assert len([what for what in store.writes if str(SEAL) in what]) == len(written) + (point == "before")
    assert await bootstrap.ensure() == after


@pytest.mark.parametrize("ref", [r for r in INSTALLATION_REFS if r != SEAL], ids=str)
@pytest.mark.parametrize("error", [Rejected("QuotaExceeded", "exceeded quota"), Unavailable("no answer in time")])
async def test_an_object_of_the_installation_that_cannot_be_written_delays_no_client(
    ref: Ref, error: Exception
) -> None:
    """A policy that refuses the issuer record must not delay rotations: the seal key exists."""
    store, _, _ = await bootstrapped()
    store.objects.pop(ref)
    store.refuse(str(ref), error)
    successor = Bootstrap(store, CONFIG, lambda: START)
    assert await successor.ensure()
    assert successor.failure is error
    store.stop_refusing()
    await successor.ensure()
    assert successor.failure is None
    assert ref in store.objects


async def test_a_refused_replacement_keeps_the_seal_key() -> None:
    store, bootstrap, _ = await bootstrapped()
    before, stored = await bootstrap.ensure(), store.objects[SEAL]
    store.put(replace(stored.existing, annotations={"scopewright.dev/rotate": "a leak"}), stored.entries)
    store.refuse(str(SEAL), Rejected("AdmissionDenied", "denied"))
    assert await bootstrap.ensure() == before
    assert bootstrap.failure
    store.stop_refusing()
    assert await bootstrap.ensure() != before


async def test_bootstrap_fails_while_the_first_seal_key_is_refused() -> None:
    store = MemoryStore(lambda: START)
    store.refuse(str(SEAL), Rejected("AdmissionDenied", "denied"))
    with pytest.raises(Rejected):
        await Bootstrap(store, CONFIG, lambda: START).ensure()


async def test_a_seal_key_that_another_replica_replaced_does_not_come_back() -> None:
    """A replica leads again, and the key in its memory has leaked and was replaced meanwhile."""
    store, bootstrap, _ = await bootstrapped()
    leaked = await bootstrap.ensure()
    store.objects.pop(SEAL)
    bootstrap.forget()
    assert await bootstrap.ensure() != leaked


async def test_a_deleted_configmap_of_others_is_ignored() -> None:
    _, bootstrap, handlers = await bootstrapped()
    for ref in (Ref("ConfigMap", NAMESPACE, "another"), Ref("ConfigMap", "leave", INSTALLATION_REFS[0].name)):
        handlers._changed(deletion(Existing(ref, "u", "1000")))
    assert not bootstrap.incomplete.is_set()


SESSIONS = session_key_ref(CONFIG)


async def test_the_session_key_gets_a_successor_by_age_and_keeps_the_earlier_key() -> None:
    store, bootstrap, _ = await bootstrapped()
    first = store.objects[SESSIONS].entries
    await bootstrap.ensure()
    assert store.objects[SESSIONS].entries == first
    later = Bootstrap(store, CONFIG, lambda: START + SESSION_KEY_LIFETIME)
    await later.ensure(may_rotate=False)
    assert store.objects[SESSIONS].entries == first
    await later.ensure()
    second = store.objects[SESSIONS].entries
    assert second["key"] != first["key"]
    assert first["key"] in second.values()
    await later.ensure()
    assert store.objects[SESSIONS].entries == second


async def test_the_session_key_gets_one_successor_for_each_rotate_annotation() -> None:
    store, bootstrap, handlers = await bootstrapped()
    stored = store.objects[SESSIONS]
    store.put(replace(stored.existing, annotations={ROTATE_ANNOTATION: "a leak"}), stored.entries)
    handlers._changed(Change(store.objects[SESSIONS].existing, {}))
    assert bootstrap.incomplete.is_set()
    await bootstrap.ensure()
    second = store.objects[SESSIONS]
    assert second.entries["key"] != stored.entries["key"]
    handlers._changed(Change(second.existing, {}))
    assert not bootstrap.incomplete.is_set()


async def test_a_secret_that_is_not_a_session_key_is_reported_and_delays_no_client() -> None:
    store, bootstrap, _ = await bootstrapped()
    stored = store.objects[SESSIONS]
    store.put(replace(stored.existing, type="Opaque"), {"key": b"short"})
    assert await bootstrap.ensure()
    assert isinstance(bootstrap.failure, Rejected)
    assert "delete it" in bootstrap.failure.message
    assert store.objects[SESSIONS].entries == {"key": b"short"}


ID_TOKENS_PATH = f"/apis/scopewright.dev/v1alpha1/namespaces/{NAMESPACE}/signingkeys"


def cache_with_provider() -> Cache:
    cache = Cache(CONFIG.name, NAMESPACE)
    record = IdentityProviderRecord("company", "uid-1", "company", "https://company.example")
    ref = Ref("Secret", NAMESPACE, identity_provider_record_name("company"))
    cache.put_managed(Existing(ref, "uid", "1", IDENTITY_PROVIDER_TYPE), {ENTRY: encode(record)})
    return cache


@pytest.mark.parametrize(("profile", "algorithm"), [("Default", "RS256"), ("FAPI2", "ES256")])
async def test_the_first_provider_has_a_signing_key_for_id_tokens(profile: str, algorithm: str) -> None:
    config, api = Config.model_validate({"issuer": ISSUER, "profile": profile}), FakeApi()
    await ensure_id_token_key(api.as_api(), Cache(CONFIG.name, NAMESPACE), config)
    assert api.requests == [], "there is no provider"
    api.answer(f"POST {ID_TOKENS_PATH}", {})
    cache = cache_with_provider()
    await ensure_id_token_key(api.as_api(), cache, config)
    [created] = api.bodies
    assert (created["metadata"]["name"], created["spec"]["algorithm"]) == ("id-tokens", algorithm)
    declared = {**created, "metadata": {**created["metadata"], "uid": "uid-2", "resourceVersion": "2"}}
    cache.put(parse_declared(declared))
    await ensure_id_token_key(api.as_api(), cache, config)
    assert len(api.requests) == 1, "it exists"
    cache.drop(id_token_key_ref(config), "3")
    await ensure_id_token_key(api.as_api(), cache, config)
    assert len(api.requests) == 2, "it was deleted, and a provider is still in force"


async def test_a_signing_key_of_that_name_stays() -> None:
    """It may be another installation's, or newer than the cache."""
    api = FakeApi()
    api.answer(f"POST {ID_TOKENS_PATH}", Conflict("exists"))
    await ensure_id_token_key(api.as_api(), cache_with_provider(), CONFIG)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("key", "has_provider", "expected"),
    [
        (Ref("IdentityProvider", NAMESPACE, "company"), True, True),
        (id_token_key_ref(CONFIG), True, True),
        (Ref("SigningKey", NAMESPACE, "default"), True, False),
        (Ref("IdentityProvider", NAMESPACE, "company"), False, False),
    ],
    ids=str,
)
async def test_the_leader_creates_it_without_waiting_for_a_resync(
    monkeypatch: pytest.MonkeyPatch, key: Ref, has_provider: bool, expected: bool
) -> None:
    async def reconcile(_: Ref) -> None: ...

    cache = cache_with_provider() if has_provider else Cache(CONFIG.name, NAMESPACE)
    store: Any = MemoryStore(lambda: START)
    leader = Leader(FakeApi().as_api(), store, cache, CONFIG, Mock(), WatchMonitor(), Mock(), OperatorMetrics(), None)
    monkeypatch.setattr(leader._reconciler, "reconcile", reconcile)
    await leader._reconcile(key)
    assert leader._bootstrap.incomplete.is_set() is expected
