"""The fixture `login`."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.clock import Clock
from tests.harness.openid_provider import OpenIDProvider
from tests.unit.issuer.upstream.support import LoginHarness


@pytest.fixture
async def login() -> AsyncIterator[LoginHarness]:
    """A provider whose user `ada` has groups, and the issuer as its client. Both have the clock of the harness."""
    clock = Clock()
    with OpenIDProvider(clock=clock) as openid:
        openid.users["ada"]["groups"] = ["hr-staff", "admins"]
        harness = LoginHarness(openid, clock)
        yield harness
        await harness.logins.aclose()
