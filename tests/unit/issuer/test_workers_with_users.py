"""Workers of one Pod share the file with the sessions of users, and close it at their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.user_workers import Workers, log_in_often


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
