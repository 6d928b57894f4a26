"""Workers of one Pod share the file with the sessions of users, and close it at their end. Two Pods must not have a
file each.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.shared_records import SharedRecords
from tests.harness.user_workers import Workers, log_in_often
from tests.harness.users import UsersHarness, provider_of
from tests.harness.waiting import poll, until_answer


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    running = Workers(tmp_path)
    yield running
    running.kill()


def test_a_login_at_one_worker_is_known_to_the_other(workers: Workers) -> None:
    assert log_in_often(workers) == 1


def test_every_worker_closes_the_file_at_its_end(workers: Workers) -> None:
    """The last one to close it removes the write-ahead log."""
    log_in_often(workers)
    assert (workers.folder / "sessions.db-wal").exists()
    assert workers.stop() == 0
    assert [file.name for file in workers.folder.glob("sessions.db*")] == ["sessions.db"]


@pytest.fixture
async def records(tmp_path: Path) -> SharedRecords:
    harness = UsersHarness(tmp_path).issuer
    harness.put_provider(provider_of(oidc=None))
    return await SharedRecords.filled(tmp_path / "records", harness)


Start = Callable[[str, str], Workers]


@pytest.fixture
def start(tmp_path: Path, records: SharedRecords) -> Iterator[Start]:
    with ExitStack() as running:

        def start(name: str, sessions: str) -> Workers:
            folder = tmp_path / name
            folder.mkdir()
            started = Workers(folder, str(tmp_path / sessions), tmp_path / "records")
            running.callback(started.kill)
            return started

        yield start


async def test_two_processes_with_a_file_each_refuse_users_until_one_stops(
    start: Start, records: SharedRecords
) -> None:
    """Each of the two workers of each."""
    first, second = start("first", "one.db"), start("second", "other.db")
    answers: list[bool] = []

    def all_refuse() -> bool:
        answers[:] = [process.refuses_users() for process in (first, second) for _ in range(20)]
        return all(answers)

    poll(all_refuse, seconds=60)
    assert await records.reported_stores() == 2
    assert second.stop() == 0
    poll(lambda: not any(first.refuses_users() for _ in range(20)), seconds=60)
    assert await records.reported_stores() == 1
    assert "set users.sessions.valkey" in (first.folder / "log").read_text()


async def test_two_processes_with_one_file_refuse_nobody(start: Start, records: SharedRecords) -> None:
    processes = [start(name, "one.db") for name in ("first", "second")]
    await until_answer(records.reported_stores, seconds=60)
    assert not any(process.refuses_users() for process in processes for _ in range(20))
    assert await records.reported_stores() == 1
