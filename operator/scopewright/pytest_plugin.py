"""Fixtures for pytest, which loads this module in every run: the test kit is imported once a fixture is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scopewright.testing import FakeIssuer


@pytest.fixture(scope="session")
def scopewright_issuer() -> "FakeIssuer":
    """A FakeIssuer. Override the fixture in conftest.py to give it the issuer URL and the audience of your service."""
    from scopewright.testing import FakeIssuer

    return FakeIssuer()


@pytest.fixture
def scopewright_token(scopewright_issuer: "FakeIssuer") -> Callable[..., str]:
    """Makes tokens of `scopewright_issuer`, as `FakeIssuer.token` does: `scopewright_token("payroll.read")`."""
    return scopewright_issuer.token
