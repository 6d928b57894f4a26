"""The store in memory has the preconditions of every store, and keeps entries that it knows as digests only."""

from datetime import UTC, datetime

import pytest

from scopewright.core.failures import Conflict
from scopewright.core.objects import Deletion, Desired, Existing, PreservedEntry, Ref, digest
from scopewright.plan.memory_store import MemoryStore

AT = Ref("Secret", "leave", "worker-oauth")
READ = Existing(AT, "its uid", "70", entries={"client_secret": digest("s")})


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(lambda: datetime(2026, 11, 22, tzinfo=UTC))
    store.load(READ, {})
    return store


async def test_preserved_entry_stays_a_digest_under_its_new_name(store: MemoryStore) -> None:
    entries: dict[str, bytes | PreservedEntry] = {
        "renamed": PreservedEntry("client_secret", digest("s")),
        "issuer": b"https://issuer.example",
    }
    written = await store.write(Desired(AT, entries, replaces=READ))
    assert written.entries == {"renamed": digest("s"), "issuer": digest("https://issuer.example")}
    assert (written.uid, int(written.resource_version) > 70) == ("its uid", True)
    found = await store.read(AT)
    assert found is not None
    assert found[1] == {"issuer": b"https://issuer.example"}


async def test_preserved_entry_that_has_changed_is_a_conflict(store: MemoryStore) -> None:
    with pytest.raises(Conflict, match="no longer has"):
        await store.write(Desired(AT, {"a": PreservedEntry("client_secret", digest("other"))}, replaces=READ))


async def test_replacement_or_deletion_of_another_version_is_a_conflict(store: MemoryStore) -> None:
    with pytest.raises(Conflict):
        await store.write(Desired(AT, {}))
    await store.write(Desired(AT, {}, replaces=READ))
    with pytest.raises(Conflict):
        await store.write(Desired(AT, {}, replaces=READ))
    with pytest.raises(Conflict):
        await store.delete(Deletion(READ))
