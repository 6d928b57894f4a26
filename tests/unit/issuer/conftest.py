"""A furnished, running world."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.issuer.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.furnish()
    async with world.running():
        yield world
