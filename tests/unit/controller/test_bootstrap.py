"""What an installation has once is made again as soon as it is missed, and not only at the next comparison."""

from dataclasses import replace

import pytest

from scopewright.controller.bootstrap import Bootstrap
from scopewright.controller.cache import Cache
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.installation import issuer_ref, nonce_key_ref, revocations_ref, seal_key_ref, usage_ref
from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change, ListCompleted
from tests.harness.clock import START
from tests.harness.memory_store import Crash, MemoryStore, Point
from tests.harness.samples import ISSUER, NAMESPACE

CONFIG = Config(issuer=ISSUER)
SEAL = seal_key_ref(CONFIG)
OURS = tuple(of(CONFIG) for of in (issuer_ref, usage_ref, nonce_key_ref, revocations_ref, seal_key_ref))


async def made() -> tuple[MemoryStore, Bootstrap, WatchHandlers]:
    """An installation whose objects are all there, and known."""
    store = MemoryStore(lambda: START)
    installing = Bootstrap(store, CONFIG, lambda: START)
    world = Cache(CONFIG.name, NAMESPACE)
    caches = WatchHandlers(world, CONFIG, WatchMonitor(), lambda key, delay: None, installing.saw)
    await installing.ensure()
    for held in store.objects.values():
        caches._changed(Change(held.existing, held.entries))
    assert not installing.lacking.is_set(), "what was just made calls for nothing"
    return store, installing, caches


def gone(existing: Existing) -> Change:
    return Change(existing, {}, deleted=True)


@pytest.mark.parametrize("ref", OURS, ids=str)
async def test_a_deleted_object_of_the_installation_is_created_again(ref: Ref) -> None:
    store, installing, caches = await made()
    held = store.objects.pop(ref)
    caches._changed(gone(held.existing))
    assert installing.lacking.is_set()
    await installing.ensure()
    assert not installing.lacking.is_set()
    assert ref in store.objects
    assert store.objects[ref].existing.type == held.existing.type


async def test_an_object_of_the_installation_that_a_list_lacks_is_created_again() -> None:
    store, installing, caches = await made()
    caches._snapshot(caches.selections[1], ListCompleted(frozenset({r for r in store.objects if r != OURS[0]}), "1000"))
    assert installing.lacking.is_set()


async def test_an_edited_issuer_record_is_restored() -> None:
    store, installing, caches = await made()
    held = store.objects[issuer_ref(CONFIG)]
    edited = Existing(held.existing.ref, "u", "1000", entries={"record.json": "another"}, labels=held.existing.labels)
    caches._changed(Change(edited, {"record.json": b"{}"}))
    assert installing.lacking.is_set()


async def test_the_seal_key_is_replaced_once_for_each_rotate_annotation() -> None:
    store, installing, caches = await made()
    before, other = await installing.ensure(), await asked(store, caches, installing, "a leak")
    assert other != before
    assert await installing.ensure() == other
    assert not installing.lacking.is_set()
    assert await Bootstrap(store, CONFIG, lambda: START).ensure() == other, "a restart has done it again"
    assert await asked(store, caches, installing, "another leak") not in (before, other)


async def asked(store: MemoryStore, caches: WatchHandlers, installing: Bootstrap, why: str) -> bytes:
    """Somebody annotates the seal key; the one that there is then."""
    held = store.objects[SEAL]
    store.put(replace(held.existing, annotations={"scopewright.dev/rotate": why}), held.entries)
    caches._changed(Change(store.objects[SEAL].existing, {}))
    assert installing.lacking.is_set()
    key = await installing.ensure()
    caches._changed(Change(store.objects[SEAL].existing, {}))
    assert not installing.lacking.is_set(), "what was done is asked for no more"
    return key


async def test_the_seal_key_is_not_replaced_before_sealed_secrets_are_adopted() -> None:
    store, installing, _ = await made()
    key, held = await installing.ensure(), store.objects[SEAL]
    store.put(replace(held.existing, annotations={"scopewright.dev/rotate": "a leak"}), held.entries)
    assert await installing.ensure(may_rotate=False) == key
    assert await installing.ensure() != key


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("error", [Crash(), Conflict("somebody was faster"), Unavailable("no answer in time")])
async def test_a_failed_replacement_of_the_seal_key_ends_with_one_new_key(error: BaseException, point: Point) -> None:
    store, installing, _ = await made()
    before, held = await installing.ensure(), store.objects[SEAL]
    store.put(replace(held.existing, annotations={"scopewright.dev/rotate": "a leak"}), held.entries)
    store.fail(error, point=point)
    with pytest.raises(type(error)):
        await installing.ensure()
    written = [what for what in store.writes if str(SEAL) in what]
    successor = Bootstrap(store, CONFIG, lambda: START)
    after = await successor.ensure()
    assert after != before
    assert len([what for what in store.writes if str(SEAL) in what]) == len(written) + (point == "before")
    assert await installing.ensure() == after


@pytest.mark.parametrize("ref", [r for r in OURS if r != SEAL], ids=str)
@pytest.mark.parametrize("error", [Rejected("QuotaExceeded", "exceeded quota"), Unavailable("no answer in time")])
async def test_an_object_of_the_installation_that_cannot_be_written_delays_no_client(
    ref: Ref, error: Exception
) -> None:
    """A policy that refuses the issuer's ConfigMap is no reason to let rotations wait: the seal key is there."""
    store, _, _ = await made()
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
    store, installing, _ = await made()
    before, held = await installing.ensure(), store.objects[SEAL]
    store.put(replace(held.existing, annotations={"scopewright.dev/rotate": "a leak"}), held.entries)
    store.refuse(str(SEAL), Rejected("AdmissionDenied", "denied"))
    assert await installing.ensure() == before
    assert installing.failure
    store.stop_refusing()
    assert await installing.ensure() != before


async def test_bootstrap_fails_while_the_first_seal_key_is_refused() -> None:
    store = MemoryStore(lambda: START)
    store.refuse(str(SEAL), Rejected("AdmissionDenied", "denied"))
    with pytest.raises(Rejected):
        await Bootstrap(store, CONFIG, lambda: START).ensure()


async def test_a_seal_key_that_another_replica_replaced_does_not_come_back() -> None:
    """A replica that has led once, and leads again: it may not know that the key which it knew has leaked."""
    store, installing, _ = await made()
    leaked = await installing.ensure()
    store.objects.pop(SEAL)
    installing.forget()
    assert await installing.ensure() != leaked


async def test_a_deleted_configmap_of_others_is_ignored() -> None:
    _, installing, caches = await made()
    for ref in (Ref("ConfigMap", NAMESPACE, "another"), Ref("ConfigMap", "leave", OURS[0].name)):
        caches._changed(gone(Existing(ref, "u", "1000")))
    assert not installing.lacking.is_set()
