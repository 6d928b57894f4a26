"""The gateway, the services and the proxies: each started once, when a test first needs it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.gateway.apis import SERVERS, Service
from tests.gateway.gateway import VALID, Gateway
from tests.gateway.oracle import Oracle, rules
from tests.gateway.proxies import WITH_GATEWAY, Proxy, ProxyKind
from tests.gateway.target import Target

TargetOf = Callable[[ProxyKind, str], Target]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running
        assert running.error_lines() == []


@pytest.fixture(scope="session")
def target_of(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetOf]:
    """The proxy of a kind in front of the service of a name."""
    folder = tmp_path_factory.mktemp("targets")
    oracle = Oracle(rules(), frozenset(gateway.tokens[name] for name in VALID))
    targets: dict[tuple[str, str], Target] = {}
    with ExitStack() as stack:

        def target(kind: ProxyKind, service: str) -> Target:
            found = targets.get((kind.name, service))
            if found is None:
                own = folder / f"{kind.name}-{service}"
                own.mkdir()
                api = stack.enter_context(Service(service, own))
                ports = {"gateway": gateway.port, "service": api.port}
                proxy = stack.enter_context(Proxy(kind, own / "proxy", ports))
                found = targets[kind.name, service] = Target(proxy, api, oracle, gateway.tokens)
            return found

        yield target


def target_name(parameter: tuple[ProxyKind, str]) -> str:
    """The name of a test's target."""
    kind, service = parameter
    return f"{kind.name}-{service}"


@pytest.fixture(params=[(kind, service) for kind in WITH_GATEWAY for service in SERVERS], ids=target_name)
def target(request: pytest.FixtureRequest, target_of: TargetOf) -> Iterator[Target]:
    kind, service = request.param
    found = target_of(kind, service)
    found.seen()
    yield found
    found.seen()


@pytest.fixture
def reader(gateway: Gateway) -> str:
    """A token with payroll.read alone."""
    return gateway.tokens["reader"]


@pytest.fixture
def admin(gateway: Gateway) -> str:
    """A token with payroll.admin alone."""
    return gateway.tokens["admin"]
