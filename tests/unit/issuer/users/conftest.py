"""The fixture `users`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.users import UsersHarness


@pytest.fixture
async def users(tmp_path: Path) -> AsyncIterator[UsersHarness]:
    """A running issuer with the developer login and the client `hr.hr-web`."""
    async with UsersHarness(tmp_path).running() as users:
        yield users
