"""The store in memory keeps the same preconditions as any other; what it knows as digests alone it keeps as such."""

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


async def test_what_is_kept_stays_a_digest_under_its_new_name(store: MemoryStore) -> None:
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


async def test_what_is_no_longer_there_cannot_be_kept(store: MemoryStore) -> None:
    with pytest.raises(Conflict, match="no longer has"):
        await store.write(Desired(AT, {"a": PreservedEntry("client_secret", digest("other"))}, replaces=READ))


async def test_what_was_not_read_is_not_replaced_or_deleted(store: MemoryStore) -> None:
    with pytest.raises(Conflict):
        await store.write(Desired(AT, {}))
    await store.write(Desired(AT, {}, replaces=READ))
    with pytest.raises(Conflict):
        await store.write(Desired(AT, {}, replaces=READ))
    with pytest.raises(Conflict):
        await store.delete(Deletion(READ))
