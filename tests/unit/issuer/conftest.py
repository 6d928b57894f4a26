"""A furnished, running world."""

from collections.abc import AsyncIterator

import pytest

from scopewright.core.records import IssuerRecord, RevocationRecord
from tests.unit.issuer.world import ISSUER, World, put_services


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.furnish()
    async with world.running():
        yield world


@pytest.fixture
async def returning() -> AsyncIterator[World]:
    """A world whose tokens come back: they are introspected, revoked and exchanged."""
    world = World(revoking=True)
    world.furnish()
    put_services(world)
    world.put(RevocationRecord(longest_lifetime=IssuerRecord(ISSUER).max_token_lifetime))
    async with world.running():
        yield world
