"""The fixture `admin`."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.issuer.users_admin.admins import Admin, running_admin


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    async with running_admin() as admin:
        yield admin
