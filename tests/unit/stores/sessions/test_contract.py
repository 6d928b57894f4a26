"""What every session store promises."""

import asyncio

from scopewright.stores.sessions import Delete, Found, Put, SessionStore, Stored
from tests.harness.clock import Clock

KEY, OTHER, THIRD = b"k" * 32, b"o" * 32, b"t" * 32


def put(key: bytes, value: bytes, if_version: int = 0, ttl: float = 60.0) -> Put:
    return Put(key, value, ttl, if_version)


async def values(store: SessionStore, *keys: bytes) -> tuple[Stored | None, ...]:
    return (await store.get(*keys)).values


async def test_values_are_read_in_the_order_of_their_keys(store: SessionStore, clock: Clock) -> None:
    assert await store.write(put(KEY, b"one"), put(OTHER, b"two"))
    assert await store.get(OTHER, THIRD, KEY) == Found(clock(), (Stored(1, b"two"), None, Stored(1, b"one")))
    assert (await store.get()).values == ()


async def test_values_may_have_any_bytes(store: SessionStore) -> None:
    value = bytes(range(256)) * 1024
    assert await store.write(put(KEY, value), put(OTHER, b""))
    assert await values(store, KEY, OTHER) == (Stored(1, value), Stored(1, b""))


async def test_a_write_needs_the_stored_version(store: SessionStore) -> None:
    assert not await store.write(put(KEY, b"one", if_version=1))
    assert await store.write(put(KEY, b"one"))
    assert not await store.write(put(KEY, b"again"))
    assert not await store.write(put(KEY, b"later", if_version=2))
    assert await store.write(put(KEY, b"two", if_version=1))
    assert await values(store, KEY) == (Stored(2, b"two"),)


async def test_all_changes_are_made_or_none(store: SessionStore) -> None:
    assert await store.write(put(KEY, b"one"), put(OTHER, b"one"))
    assert not await store.write(Delete(KEY), put(THIRD, b"new"), put(OTHER, b"two", if_version=7))
    assert await values(store, KEY, OTHER, THIRD) == (Stored(1, b"one"), Stored(1, b"one"), None)
    assert await store.write(Delete(KEY), put(THIRD, b"new"), put(OTHER, b"two", if_version=1))
    assert await values(store, KEY, OTHER, THIRD) == (None, Stored(2, b"two"), Stored(1, b"new"))


async def test_a_deleted_value_can_be_written_anew(store: SessionStore) -> None:
    assert await store.write(Delete(KEY))
    assert await store.write(put(KEY, b"one"))
    assert await store.write(put(KEY, b"two", if_version=1))
    assert await store.write(Delete(KEY))
    assert await values(store, KEY) == (None,)
    assert not await store.write(put(KEY, b"three", if_version=2))
    assert await store.write(put(KEY, b"three"))
    assert await values(store, KEY) == (Stored(1, b"three"),)


async def test_a_value_ends(store: SessionStore, clock: Clock) -> None:
    assert await store.write(put(KEY, b"one", ttl=10), put(OTHER, b"one", ttl=20))
    clock.advance(seconds=9.9)
    assert await values(store, KEY) == (Stored(1, b"one"),)
    clock.advance(seconds=0.1)
    assert await values(store, KEY, OTHER) == (None, Stored(1, b"one"))
    assert not await store.write(put(KEY, b"two", if_version=1)), "what has ended is not stored"
    assert await store.write(put(KEY, b"new", ttl=10))
    assert await values(store, KEY) == (Stored(1, b"new"),)


async def test_a_write_renews_the_end(store: SessionStore, clock: Clock) -> None:
    assert await store.write(put(KEY, b"one", ttl=10))
    clock.advance(seconds=9)
    assert await store.write(put(KEY, b"two", if_version=1, ttl=10))
    clock.advance(seconds=9)
    assert await values(store, KEY) == (Stored(2, b"two"),)


async def test_of_concurrent_writes_one_is_made(store: SessionStore) -> None:
    written = await asyncio.gather(*(store.write(put(KEY, b"%d" % n), put(OTHER, b"%d" % n)) for n in range(50)))
    assert sum(written) == 1
    one, other = await values(store, KEY, OTHER)
    assert one == other == Stored(1, b"%d" % written.index(True))


async def test_a_store_has_one_id(store: SessionStore) -> None:
    first = await store.store_id()
    assert len(first) == 32
    assert await store.store_id() == first


async def scanned(store: SessionStore) -> list[tuple[bytes, Stored]]:
    page = await store.scan()
    found = [*page.values]
    while page.following:
        page = await store.scan(page.following)
        found += page.values
    return found


async def test_a_scan_finds_every_value_that_is_stored(store: SessionStore, clock: Clock) -> None:
    assert await scanned(store) == []
    await store.store_id()
    keys = [number.to_bytes(32) for number in range(1200)]
    for first in range(0, len(keys), 100):
        assert await store.write(*(put(key, b"v" + key) for key in keys[first : first + 100]))
    assert await store.write(put(keys[0], b"two", if_version=1), put(KEY, b"short", ttl=10), Delete(keys[1]))
    clock.advance(seconds=10)
    expected = {key: Stored(1, b"v" + key) for key in keys[2:]} | {keys[0]: Stored(2, b"two")}
    assert dict(await scanned(store)) == expected


async def test_a_scan_is_read_in_pages_also_of_large_values(store: SessionStore, clock: Clock) -> None:
    large = bytes(200 * 1024)
    keys = {number.to_bytes(32) for number in range(700)}
    for number in range(0, 700, 100):
        assert await store.write(*(put(key.to_bytes(32), b"v") for key in range(number, number + 100)))
    for number in range(700, 740):
        keys.add(number.to_bytes(32))
        assert await store.write(put(number.to_bytes(32), large))
    page = await store.scan()
    assert page.now == clock()
    sizes, found = [sum(len(stored.value) for _, stored in page.values)], {key for key, _ in page.values}
    while page.following:
        page = await store.scan(page.following)
        sizes.append(sum(len(stored.value) for _, stored in page.values))
        found |= {key for key, _ in page.values}
    assert found == keys
    assert max(sizes) < 40 * len(large), "not all of them in one page"


async def test_what_is_written_during_a_scan_does_not_end_it(store: SessionStore) -> None:
    kept = {number.to_bytes(32) for number in range(0, 1000, 2)}
    for number in range(0, 1000, 100):
        assert await store.write(*(put(key.to_bytes(32), b"v") for key in range(number, number + 100)))
    page, found = await store.scan(), set[bytes]()
    found |= {key for key, _ in page.values}
    written = 1
    while page.following:
        assert await store.write(Delete(written.to_bytes(32)), put((5000 + written).to_bytes(32), b"new"))
        written += 2
        page = await store.scan(page.following)
        found |= {key for key, _ in page.values}
    assert kept <= found
