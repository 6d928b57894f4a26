from collections.abc import Iterator

import pytest

from tests.unit.verifier.integrations.service import Service, new_verifier
from tests.unit.verifier.integrations.services import SERVICES
from tests.unit.verifier.support import KEY, FakeIssuer


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer(KEY)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, issuer: FakeIssuer) -> Iterator[Service]:
    with SERVICES[request.param](new_verifier(issuer, revocations=True)) as service:
        yield service
