"""The keys of users' sessions: created, replaced every 30 days or on request, and kept while they may be needed."""

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.installation import (
    SESSION_KEY_LIFETIME,
    needs_another_session_key,
    plan_another_session_key,
    plan_session_key,
    session_key_ref,
)
from scopewright.core.objects import ROTATE_ANNOTATION
from scopewright.core.records.names import ISSUE_TIME_ENTRY, MAX_PREVIOUS_KEYS
from scopewright.issuer.state.session_keys import PUBLICATION_SECONDS, load_session_keys
from scopewright.issuer.users.user_record import CONSENT_SECONDS
from tests.harness.clock import START
from tests.harness.memory_store import MemoryStore
from tests.harness.samples import ISSUER

CONFIG = Config(issuer=ISSUER)
REF = session_key_ref(CONFIG)


async def created() -> tuple[MemoryStore, bytes]:
    store, key = MemoryStore(lambda: START), secrets.token_bytes(32)
    await store.write(plan_session_key(CONFIG, key, START))
    return store, key


async def rotated(store: MemoryStore, after: timedelta) -> bytes:
    stored, key = store.objects[REF], secrets.token_bytes(32)
    await store.write(plan_another_session_key(CONFIG, stored.existing, key, START + after))
    return key


def is_due(store: MemoryStore, after: timedelta) -> bool:
    stored = store.objects[REF]
    return needs_another_session_key(stored.existing, stored.entries, START + after)


async def test_a_key_is_replaced_after_30_days_and_not_earlier() -> None:
    store, _ = await created()
    assert not is_due(store, timedelta(days=29))
    assert is_due(store, timedelta(days=30))
    await rotated(store, timedelta(days=30))
    assert not is_due(store, timedelta(days=59))


async def test_keys_stay_until_all_that_they_sealed_has_ended() -> None:
    store, first = await created()
    keys = [first]
    for number in range(1, MAX_PREVIOUS_KEYS + 1):
        keys.insert(0, await rotated(store, number * SESSION_KEY_LIFETIME))
    loaded = load_session_keys(store.objects[REF].entries)
    assert [loaded.current, *loaded.previous] == keys
    sealed_last = SESSION_KEY_LIFETIME + timedelta(seconds=PUBLICATION_SECONDS)
    assert sealed_last + timedelta(seconds=CONSENT_SECONDS) <= (MAX_PREVIOUS_KEYS + 1) * SESSION_KEY_LIFETIME
    newest = await rotated(store, timedelta(days=300))
    loaded = load_session_keys(store.objects[REF].entries)
    assert [loaded.current, *loaded.previous] == [newest, *keys[:-1]]


async def test_an_annotation_asks_for_one_new_key() -> None:
    store, first = await created()
    stored = store.objects[REF]
    stored.existing = replace(stored.existing, annotations={ROTATE_ANNOTATION: "a leak"})
    assert is_due(store, timedelta(days=1))
    await rotated(store, timedelta(days=1))
    assert not is_due(store, timedelta(days=1))
    assert load_session_keys(store.objects[REF].entries).previous == (first,)


async def test_a_new_key_seals_only_when_every_issuer_has_read_it() -> None:
    store, first = await created()
    new = await rotated(store, timedelta(days=30))
    keys = load_session_keys(store.objects[REF].entries)
    created_at = (START + timedelta(days=30)).timestamp()
    assert keys.sealing_key(created_at + PUBLICATION_SECONDS - 1) == first
    assert keys.sealing_key(created_at + PUBLICATION_SECONDS) == new


async def test_a_first_key_seals_at_once() -> None:
    store, first = await created()
    assert load_session_keys(store.objects[REF].entries).sealing_key(START.timestamp()) == first


@pytest.mark.parametrize("time", [b"", b"yesterday", b"\xff", b"2026-11-22T12:00:00"])
async def test_a_key_whose_time_was_edited_is_replaced(time: bytes) -> None:
    store, first = await created()
    stored = store.objects[REF]
    stored.entries = {**stored.entries, ISSUE_TIME_ENTRY: time}
    assert is_due(store, timedelta(0))
    assert load_session_keys(stored.entries).current == first


async def test_another_secret_of_that_name_is_reported() -> None:
    store, _ = await created()
    stored = store.objects[REF]
    for existing, entries in ((replace(stored.existing, type="Opaque"), stored.entries), (stored.existing, {})):
        with pytest.raises(Rejected, match="delete it"):
            needs_another_session_key(existing, entries, START)
