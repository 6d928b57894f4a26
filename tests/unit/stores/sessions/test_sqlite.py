"""The session store in SQLite: its file, what happens to it under a running process, and several processes."""

import asyncio
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.sessions import Delete, Put, Stored
from scopewright.stores.sessions import sqlite as sqlite_store
from scopewright.stores.sessions.sqlite import SqliteSessions, check_file
from tests.harness.clock import Clock

from .writer import LEFT, NUMBER, RIGHT

KEY, OTHER = b"k" * 32, b"o" * 32
WRITER = [sys.executable, "-m", "tests.unit.stores.sessions.writer"]


def put(key: bytes = KEY, value: bytes = b"value", if_version: int = 0, ttl: float = 3600.0) -> Put:
    return Put(key, value, ttl, if_version)


async def one(store: SqliteSessions, key: bytes = KEY) -> Stored | None:
    return (await store.get(key)).values[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessions"


# The file


async def test_the_file_and_those_beside_it_are_for_this_user_only(path: Path) -> None:
    store = SqliteSessions(path)
    before = os.umask(0)
    try:
        assert await store.write(put())
    finally:
        os.umask(before)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()} == {
        "sessions": 0o600,
        "sessions-wal": 0o600,
        "sessions-shm": 0o600,
    }
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


def test_the_mode_of_an_existing_file_is_narrowed(path: Path) -> None:
    check_file(path)
    path.chmod(0o644)
    check_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_values_are_stored_over_a_restart(path: Path) -> None:
    first = SqliteSessions(path)
    assert await first.write(put())
    store_id = await first.store_id()
    await first.close()
    second = SqliteSessions(path)
    assert await one(second) == Stored(1, b"value")
    assert await second.store_id() == store_id
    await second.close()


async def test_every_write_is_synced(path: Path) -> None:
    store = SqliteSessions(path)
    assert await store._run(lambda connection, now: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await store._run(lambda connection, now: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    await store.close()


def write_not_sqlite(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def write_other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


def write_later_schema(path: Path) -> None:
    check_file(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("write", "advice"),
    [
        (write_not_sqlite, "damaged or not a SQLite file: stop the issuer, move the file away"),
        (write_other_program, "of another program: choose another path"),
        (write_later_schema, "later version of Scopewright .*: use that version, or move the file away"),
        (Path.mkdir, "not a regular file: choose another path"),
        (lambda path: path.symlink_to("/dev/null"), "not a regular file: choose another path"),
    ],
)
async def test_a_file_that_is_not_a_session_store_is_refused_with_advice(
    path: Path, write: Callable[[Path], object], advice: str
) -> None:
    path.parent.mkdir()
    write(path)
    with pytest.raises(Rejected, match=advice):
        check_file(path)
    store = SqliteSessions(path)
    with pytest.raises(Unavailable, match=advice):
        await store.get(KEY)
    await store.close()


def test_a_path_that_cannot_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected, match=r"Not a directory\. Choose a path on a local volume"):
        check_file(tmp_path / "file" / "sessions")


def test_a_file_of_another_user_is_refused_with_advice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_file(path)
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 65532)
    message = f"belongs to user id {owner}, and this process has {owner + 65532}: run it as that user"
    with pytest.raises(Rejected, match=message):
        check_file(path)


# What happens under a running process


async def test_a_deleted_file_is_made_again_and_both_processes_use_the_new_one(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one_store, other_store = SqliteSessions(path), SqliteSessions(path)
    assert await one_store.write(put())
    assert await one(other_store) == Stored(1, b"value")
    first_id = await one_store.store_id()
    for file in path.parent.iterdir():
        file.unlink()
    assert await one(one_store) is None
    assert await one_store.write(put(value=b"new"))
    assert await one(other_store) == Stored(1, b"new"), "it still reads the deleted file"
    assert await one_store.store_id() == await other_store.store_id() != first_id
    assert "was deleted or replaced" in caplog.text
    await one_store.close()
    await other_store.close()


async def test_a_deleted_directory_is_made_again(path: Path) -> None:
    store = SqliteSessions(path)
    assert await store.write(put())
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert await store.write(put())
    await store.close()


def overwrite_all_but_the_first_page(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


async def test_a_file_that_is_damaged_while_in_use_is_unavailable_until_it_is_moved_away(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteSessions(path)
    assert await store.write(*(put(bytes([n]) * 32, bytes(5000)) for n in range(100)))
    await store._run(lambda connection, now: connection.execute("SELECT 1"))
    await store.close()
    overwrite_all_but_the_first_page(path)
    store = SqliteSessions(path)
    for _ in range(3):
        with pytest.raises(Unavailable, match="move the file away"):
            await store.get(*(bytes([n]) * 32 for n in range(100)))
    assert [r.levelno for r in caplog.records] == [logging.ERROR], "one line for one problem"
    await asyncio.to_thread(path.rename, path.with_name("damaged"))
    assert await store.write(put())
    await store.close()


async def test_a_locked_file_is_unavailable_and_served_afterwards(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopewright.stores.sessions.sqlite_file.BUSY_TIMEOUT_SECONDS", 0.05)
    store = SqliteSessions(path)
    assert await store.write(put())
    locking = sqlite3.connect(path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked by another process"):
        await store.write(put(if_version=1))
    assert await one(store) == Stored(1, b"value"), "reads do not wait for writes"
    locking.execute("ROLLBACK")
    locking.close()
    assert await store.write(put(if_version=1))
    await store.close()


async def test_a_full_store_refuses_what_needs_room_and_serves_the_rest(path: Path) -> None:
    clock = Clock()
    store = SqliteSessions(path, clock, max_bytes=256 * 1024)
    for number in range(20):
        assert await store.write(put(number.to_bytes(32), bytes(8000), ttl=10))
    writes = (store.write(put(number.to_bytes(32), bytes(8000), ttl=10)) for number in range(20, 40))
    refused = [each for each in await asyncio.gather(*writes, return_exceptions=True) if each is not True]
    assert 8 <= len(refused) < 20
    for each in refused:
        assert isinstance(each, Unavailable)
        assert each.reason == "SessionStoreFull"
        assert "is full: it has reached its limit, or the disk is full" in each.message
    assert (await asyncio.to_thread(path.stat)).st_size <= 256 * 1024
    assert await one(store, bytes(32)) == Stored(1, bytes(8000))
    results = await asyncio.gather(
        store.write(put(b"x" * 32, bytes(100_000))),
        store.write(Delete((1).to_bytes(32))),
        store.get((2).to_bytes(32)),
        return_exceptions=True,
    )
    assert isinstance(results[0], Unavailable)
    assert results[1] is True
    clock.advance(seconds=10)
    assert await store.write(put(b"x" * 32, bytes(100_000))), "expired values make room"
    await store.close()


async def test_expired_rows_are_removed_in_small_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "PURGE_ROWS", 3)
    monkeypatch.setattr(sqlite_store, "PURGE_INTERVAL_SECONDS", 0.01)
    clock = Clock()
    store = SqliteSessions(path, clock)
    assert await store.write(*(put(bytes([n]) * 32, ttl=10) for n in range(10)), put(b"x" * 32, ttl=20))
    clock.advance(seconds=10)

    async def rows() -> int:
        query = "SELECT count(*) FROM entries"
        return int(await store._run(lambda connection, now: connection.execute(query).fetchone()[0]))

    async with asyncio.timeout(10):
        while await rows() > 1:
            pass
    assert await one(store, b"x" * 32)
    await store.close()


# The thread


async def test_requests_beyond_a_bound_are_refused_at_once(path: Path) -> None:
    store = SqliteSessions(path)
    released = threading.Event()
    blocked = asyncio.ensure_future(store._run(lambda connection, now: released.wait(10)))
    await asyncio.sleep(0.05)
    many = [asyncio.ensure_future(store.get(KEY)) for _ in range(sqlite_store.MAX_WAITING + 10)]
    await asyncio.sleep(0)
    refused = [request for request in many if request.done()]
    assert len(refused) == 10
    for request in refused:
        with pytest.raises(Unavailable, match="too many requests wait"):
            await request
    released.set()
    await asyncio.gather(blocked, *(request for request in many if request not in refused))
    await store.close()


async def test_a_request_that_waits_too_long_is_unavailable_and_not_served_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteSessions(path)
    assert await one(store) is None
    released = threading.Event()
    blocked = asyncio.ensure_future(store._run(lambda connection, now: released.wait(10)))
    await asyncio.sleep(0.05)
    monkeypatch.setattr(sqlite_store, "OPERATION_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(Unavailable, match="did not answer in time"):
        await store.write(put())
    released.set()
    await blocked
    monkeypatch.undo()
    assert await one(store) is None
    await store.close()


async def test_the_event_loop_does_not_wait_for_the_disk(path: Path) -> None:
    store = SqliteSessions(path)
    threads = await store._run(lambda connection, now: threading.current_thread().name)
    assert threads == "sessions"
    await store.close()


async def test_a_closed_store_serves_what_waits_and_refuses_the_rest(path: Path) -> None:
    store = SqliteSessions(path)
    writes = [asyncio.ensure_future(store.write(put(bytes([n]) * 32))) for n in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert all(await asyncio.gather(*writes))
    with pytest.raises(Unavailable, match="closed"):
        await store.get(KEY)


async def test_a_failure_shows_no_content(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteSessions(path, max_bytes=64 * 1024)
    with pytest.raises(Unavailable) as failure:
        await store.write(put(value=b"content" * 100_000))
    assert "content" not in str(failure.value) + caplog.text + repr(put(value=b"content"))
    await store.close()


# Several processes


async def test_concurrent_processes_lose_no_write(path: Path) -> None:
    """They start at once, on a file that does not exist yet."""
    command = [*WRITER, str(path), "count", "60"]
    processes = [await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    store = SqliteSessions(path)
    assert await one(store, NUMBER) == Stored(180, b"180")
    await store.close()


def write_pairs_until_killed(path: Path, written: int) -> int:
    """Kill the process after it has printed this number. Returns the last one that it printed."""
    with subprocess.Popen([*WRITER, str(path), "pairs"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < written:
            pass
        process.kill()
        return int((process.stdout.read().split() or [str(written)])[-1])


async def test_a_process_that_is_killed_while_it_writes_leaves_whole_writes(path: Path) -> None:
    """It writes one number under two keys; what it has printed was written."""
    store = SqliteSessions(path)
    for written in (1, 7, 30):
        printed = await asyncio.to_thread(write_pairs_until_killed, path, written)
        left, right = (await store.get(LEFT, RIGHT)).values
        assert left is not None
        assert left == right
        assert left.version >= printed
        assert left.value == b"%d " % (left.version - 1) * 2000
        assert await store.write(Delete(LEFT), Delete(RIGHT)), "the killed process must leave no lock"
    await store.close()
