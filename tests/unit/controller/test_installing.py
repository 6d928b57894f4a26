"""What an installation has once is made again as soon as it is missed, and not only at the next comparison."""

import pytest

from scopewright.controller.caches import Caches
from scopewright.controller.installing import Installing
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.world import World
from scopewright.core.config import Config
from scopewright.core.installation import issuer_ref, nonce_key_ref, revocations_ref, seal_key_ref, usage_ref
from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change, Snapshot
from tests.unit.controller.house import ISSUER, NAMESPACE, START
from tests.unit.controller.memory import MemoryStore

CONFIG = Config(issuer=ISSUER)
OURS = tuple(of(CONFIG) for of in (issuer_ref, usage_ref, nonce_key_ref, revocations_ref, seal_key_ref))


async def made() -> tuple[MemoryStore, Installing, Caches]:
    """An installation whose objects are all there, and known."""
    store = MemoryStore(lambda: START)
    installing = Installing(store, CONFIG, lambda: START)
    world = World(CONFIG.name, NAMESPACE)
    caches = Caches(world, CONFIG, WatchMonitor(), lambda key, delay: None, installing.saw)
    await installing.ensure()
    for held in store.objects.values():
        caches._changed(Change(held.existing, held.entries))
    assert not installing.lacking.is_set(), "what was just made calls for nothing"
    return store, installing, caches


def gone(existing: Existing) -> Change:
    return Change(existing, {}, gone=True)


@pytest.mark.parametrize("ref", OURS, ids=str)
async def test_one_that_is_deleted_is_made_again(ref: Ref) -> None:
    store, installing, caches = await made()
    held = store.objects.pop(ref)
    caches._changed(gone(held.existing))
    assert installing.lacking.is_set()
    await installing.ensure()
    assert not installing.lacking.is_set()
    assert ref in store.objects
    assert store.objects[ref].existing.type == held.existing.type


async def test_one_that_a_new_list_lacks_is_made_again() -> None:
    store, installing, caches = await made()
    caches._snapshot(caches.selections[1], Snapshot(frozenset({r for r in store.objects if r != OURS[0]}), "1000"))
    assert installing.lacking.is_set()


async def test_an_issuer_record_that_somebody_edits_is_set_right() -> None:
    store, installing, caches = await made()
    held = store.objects[issuer_ref(CONFIG)]
    edited = Existing(held.existing.ref, "u", "1000", entries={"record.json": "another"}, labels=held.existing.labels)
    caches._changed(Change(edited, {"record.json": b"{}"}))
    assert installing.lacking.is_set()


async def test_what_others_lose_is_none_of_its_business() -> None:
    _, installing, caches = await made()
    for ref in (Ref("ConfigMap", NAMESPACE, "another"), Ref("ConfigMap", "leave", OURS[0].name)):
        caches._changed(gone(Existing(ref, "u", "1000")))
    assert not installing.lacking.is_set()
