"""The fixtures `harness` and `services`."""

from collections.abc import AsyncIterator

import pytest

from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import ISSUER


@pytest.fixture
async def harness() -> AsyncIterator[IssuerHarness]:
    """A running issuer with the default records."""
    harness = IssuerHarness()
    harness.install_defaults()
    async with harness.running():
        yield harness


@pytest.fixture
async def services() -> AsyncIterator[IssuerHarness]:
    """A running issuer that can write, with `service_records()`: for introspection, revocation and exchange."""
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    harness.install_services()
    harness.put(RevocationRecord(longest_lifetime=IssuerRecord(ISSUER).max_token_lifetime))
    async with harness.running():
        yield harness
