"""What a session store holds shows nothing, and opens only under its key, at its place and in its version."""

import logging
from dataclasses import dataclass, replace

import pytest

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Put
from scopewright.stores.sessions.sealed import MAX_VALUE_BYTES, Forget, Opened, Save, SealedSessions, SessionKeys
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER

FIRST, SECOND, THIRD = b"1" * 32, b"2" * 32, b"3" * 32
HANDLE, OTHER = "session:one", "session:two"


@dataclass
class Sealing:
    """A sealed store whose keys the test changes, and the store below it."""

    clock: Clock
    store: MemorySessions
    sealed: SealedSessions
    keys: SessionKeys | None

    def raw(self) -> dict[bytes, bytes]:
        return {key: stored.value for key, (stored, _) in self.store._entries.items()}

    def replace_raw(self, key: bytes, **changes: object) -> None:
        stored, end = self.store._entries[key]
        self.store._entries[key] = replace(stored, **changes), end  # type: ignore[arg-type]

    async def value(self, handle: str = HANDLE) -> Opened | None:
        return (await self.sealed.read(handle)).values[0]


@pytest.fixture
def sealing() -> Sealing:
    clock = Clock()
    store = MemorySessions(clock)
    made = Sealing(clock, store, SealedSessions(store, lambda: ISSUER, lambda: made.keys, clock), SessionKeys(FIRST))
    return made


def save(value: bytes = b"ada@hr.example", handle: str = HANDLE, if_version: int = 0) -> Save:
    return Save(handle, value, 3600, if_version)


async def test_values_are_read_as_they_were_saved(sealing: Sealing) -> None:
    assert await sealing.sealed.write(save(), save(b"two", OTHER))
    read = await sealing.sealed.read(OTHER, "session:none", HANDLE)
    assert read.values == (Opened(1, b"two"), None, Opened(1, b"ada@hr.example"))
    assert read.now == sealing.clock()
    assert await sealing.sealed.write(save(b"new", if_version=1), Forget(OTHER))
    assert await sealing.value() == Opened(2, b"new")
    assert await sealing.value(OTHER) is None
    assert not await sealing.sealed.write(save(b"late", if_version=1))
    assert not await sealing.sealed.write(save(b"late"))


async def test_the_store_sees_neither_handles_nor_values(sealing: Sealing) -> None:
    await sealing.sealed.write(save())
    await sealing.sealed.write(save(if_version=1))
    ((key, first),) = sealing.raw().items()
    assert len(key) == 32
    assert all(text not in key + first for text in (b"ada", b"session", b"one", FIRST))
    await sealing.sealed.write(save(if_version=2))
    assert sealing.raw()[key][16:] != first[16:], "the same value must look different each time"
    for shown in (save(), Forget(HANDLE), Opened(1, b"ada"), SessionKeys(FIRST, (SECOND,)), Put(key, b"ada", 1, 1)):
        assert not any(text in repr(shown) for text in ("ada", "session:one", "1111", "2222"))


async def test_a_value_of_another_place_is_not_opened(sealing: Sealing) -> None:
    """Somebody who can write to the store copies the session of one user over that of another."""
    await sealing.sealed.write(save(b"mine"), save(b"theirs", OTHER))
    mine, theirs = sealing.raw()
    sealing.replace_raw(theirs, value=sealing.raw()[mine])
    assert await sealing.value(OTHER) is None
    assert await sealing.value() == Opened(1, b"mine")


async def test_an_earlier_value_is_not_opened_as_a_later_version(sealing: Sealing) -> None:
    await sealing.sealed.write(save(b"before"))
    ((key, before),) = sealing.raw().items()
    await sealing.sealed.write(save(b"after", if_version=1))
    sealing.replace_raw(key, value=before)
    assert await sealing.value() is None
    sealing.replace_raw(key, version=1)
    assert await sealing.value() == Opened(1, b"before"), "a store that went back is not detected here"


@pytest.mark.parametrize("position", [0, 1, 5, 16, 17, -1])
async def test_a_changed_value_counts_as_not_stored_and_is_logged_once(
    sealing: Sealing, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    await sealing.sealed.write(save())
    ((key, value),) = sealing.raw().items()
    changed = bytearray(value)
    changed[position] ^= 1
    sealing.replace_raw(key, value=bytes(changed))
    for _ in range(3):
        assert await sealing.value() is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "ada" not in caplog.text
    assert key.hex() not in caplog.text


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01" + bytes(4), b"\x01" + bytes(40), b"\xff" * 100])
async def test_a_value_of_another_form_counts_as_not_stored(sealing: Sealing, value: bytes) -> None:
    await sealing.sealed.write(save())
    (key,) = sealing.raw()
    sealing.replace_raw(key, value=value)
    assert await sealing.value() is None


async def test_what_cannot_be_opened_can_be_replaced(sealing: Sealing) -> None:
    """After the loss of the keys a user can log in again, though their record is stored in some version."""
    await sealing.sealed.write(save())
    await sealing.sealed.write(save(b"two", if_version=1))
    sealing.keys = SessionKeys(SECOND)
    assert await sealing.value() is None
    assert await sealing.sealed.write(save(b"new"), save(b"other", OTHER))
    assert await sealing.value() == Opened(3, b"new")
    assert await sealing.value(OTHER) == Opened(1, b"other")
    assert not await sealing.sealed.write(save(b"again")), "what can be opened is not replaced"


async def test_previous_keys_open_and_the_current_one_seals(sealing: Sealing) -> None:
    await sealing.sealed.write(save(b"one"))
    sealing.keys = SessionKeys(SECOND, (FIRST,))
    assert await sealing.value() == Opened(1, b"one")
    await sealing.sealed.write(save(b"two", if_version=1))
    sealing.keys = SessionKeys(THIRD, (SECOND,))
    assert await sealing.value() == Opened(2, b"two"), "sealed with the current key of that time"
    sealing.keys = SessionKeys(THIRD)
    assert await sealing.value() is None


async def test_a_new_key_seals_after_its_publication(sealing: Sealing) -> None:
    """Until then a worker that has not read it can open what is sealed."""
    behind = SealedSessions(sealing.store, lambda: ISSUER, lambda: SessionKeys(FIRST), sealing.clock)
    sealing.keys = SessionKeys(SECOND, (FIRST,), current_since=sealing.clock() + 300)
    await sealing.sealed.write(save())
    assert (await behind.read(HANDLE)).values[0] == Opened(1, b"ada@hr.example")
    sealing.clock.advance(seconds=300)
    await sealing.sealed.write(save(if_version=1))
    assert (await behind.read(HANDLE)).values[0] is None


async def test_nothing_is_read_or_written_without_keys(sealing: Sealing) -> None:
    sealing.keys = None
    for request in (sealing.sealed.read(HANDLE), sealing.sealed.write(save()), sealing.sealed.write(Forget(HANDLE))):
        with pytest.raises(Unavailable, match="session keys"):
            await request
    assert not sealing.raw()


async def test_a_value_has_a_bound(sealing: Sealing) -> None:
    with pytest.raises(ValueError, match="at most"):
        await sealing.sealed.write(save(b"v" * (MAX_VALUE_BYTES + 1)))


async def test_each_record_has_its_own_key(sealing: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal nonces of two records do no harm."""
    monkeypatch.setattr("os.urandom", bytes)
    await sealing.sealed.write(save(bytes(64)), save(bytes(64), OTHER))
    one, other = sealing.raw().values()
    assert one[:17] == other[:17]
    assert one[17:81] != other[17:81]


async def test_installations_that_share_a_server_have_records_of_their_own(sealing: Sealing) -> None:
    """Also with the same session key: `user:…` is the same for one user of one provider."""
    other = SealedSessions(sealing.store, lambda: "https://other.example", lambda: sealing.keys, sealing.clock)
    assert await sealing.sealed.write(save())
    assert (await other.read(HANDLE)).values == (None,)
    assert await other.write(save(b"other"))
    assert await sealing.value() == Opened(1, b"ada@hr.example")
