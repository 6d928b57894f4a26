"""An issuer with `profile: FAPI2`, two clients with keys of different algorithms, and a resource."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conformance.fapi2.client import Client, Keys
from tests.conformance.fapi2.suite import CLIENTS, Application, Suite, client_id, confidential, resource
from tests.harness.browser import FormBrowser
from tests.harness.login_issuer import CONFIG, LoginIssuer
from tests.harness.relying_party import AuthorizationRequest, RelyingParty


@dataclass(frozen=True)
class Plan:
    issuer: LoginIssuer
    applications: tuple[Application, Application]


@dataclass(frozen=True)
class Aged:
    """A code and a pushed request that wait, so that modules need not wait for their end from the beginning."""

    request: AuthorizationRequest
    code: str
    request_uri: str
    since: float

    def wait(self, seconds: float) -> None:
        time.sleep(max(0.0, self.since + seconds - time.monotonic()))


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    keys = {"suite": Keys.make("PS256"), "second": Keys.make("ES256")}
    holders = {"suite": Keys.make("ES256"), "second": Keys.make("EdDSA")}
    manifests = [
        confidential(name, uri, keys[name].jwk | {"kid": "k", "alg": keys[name].algorithm})
        for name, uri in CLIENTS.items()
    ]
    config = {**CONFIG, "profile": "FAPI2"}
    with LoginIssuer(tmp_path_factory.mktemp("fapi2"), manifests, config=config) as issuer:
        first, second = (
            Application(
                RelyingParty(issuer.url, client_id(name), uri, token_type="DPoP"),  # no password
                Client(issuer.url, client_id(name), keys[name], holders[name]),
                jkt_alone=name == "second",
            )
            for name, uri in CLIENTS.items()
        )
        yield Plan(issuer, (first, second))


@pytest.fixture
def suite(plan: Plan, aged: Aged) -> Iterator[Suite]:
    """`aged` is made before the first module."""
    with FormBrowser(plan.issuer.url) as browser:
        yield Suite(browser, *plan.applications, resource(plan.issuer.url))


@pytest.fixture(scope="session")
def aged(plan: Plan) -> Aged:
    first = plan.applications[0]
    with FormBrowser(plan.issuer.url) as browser:
        suite = Suite(browser, *plan.applications, None)
        request = first.request()
        return Aged(request, suite.log_in(request), first.request_uri(first.request()), time.monotonic())
