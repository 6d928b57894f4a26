"""The fixtures `users` and `at`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.users import UsersHarness
from tests.unit.issuer.users.checked_sessions import CheckedSessions, running_checked_sessions


@pytest.fixture
async def users(tmp_path: Path) -> AsyncIterator[UsersHarness]:
    """A running issuer with the developer login and the client `hr.hr-web`."""
    async with UsersHarness(tmp_path).running() as users:
        yield users


@pytest.fixture
async def at() -> AsyncIterator[CheckedSessions]:
    """An issuer whose users log in at an OpenID provider that the test scripts."""
    async with running_checked_sessions() as sessions:
        yield sessions
