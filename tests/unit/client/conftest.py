"""A mounted Secret, a clock and a token endpoint."""

from pathlib import Path

import pytest

from tests.unit.client.support import Endpoint, FakeClock, IssuerServer, Mount


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "oauth")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def issuer() -> IssuerServer:
    return IssuerServer()
