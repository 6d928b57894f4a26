"""The gateway on a real API server and with a real issuer: changes take effect, and outages open nothing."""

from collections.abc import Iterator, Mapping
from typing import Final

import httpx
import pytest

from tests.controlplane import ControlPlane
from tests.ports import free_port

from .installation import Install, Installation
from .kube import Manifest
from .manifests import access_entry, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace
from .processes import ScopewrightProcess
from .rights import gateway_rights
from .waiting import throughout, until

_SECONDS: Final = 30
"""For a change that takes effect within five."""

HEALTH: Final[dict[str, object]] = {"name": "health", "paths": ["/healthz"], "authentication": "None"}
READ: Final[dict[str, object]] = {
    "name": "read",
    "methods": ["GET"],
    "paths": ["/salaries/**"],
    "scopes": ["payroll.read"],
}


class RunningGateway:
    """`scopewright gateway` with the rights that the chart gives it: to read ConfigMaps of the issuer's namespace."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.url, self.metrics_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._http = httpx.Client(timeout=30, trust_env=False)
        for right in gateway_rights(installation.namespace, installation.user("gateway")):
            installation.kube.apply(right)
        until(lambda: installation.is_allowed("gateway", "configmaps", "watch"))
        self.process = self.start()

    def start(self) -> ScopewrightProcess:
        arguments = ["gateway", "--profile", "nginx", "--namespace", self.installation.namespace]
        arguments += ["--listen", self.url.removeprefix("http://")]
        arguments += ["--metrics-listen", self.metrics_url.removeprefix("http://")]
        self.process = self.installation.run(arguments, self.installation.user("gateway"), "gateway")
        return self.process

    def restart(self) -> None:
        self.process.kill()
        self.start()

    def close(self) -> None:
        self.process.kill()
        self._http.close()

    def is_ready(self) -> bool:
        self.process.check()
        return self.installation.is_ready(self.metrics_url)

    def wait_until_ready(self) -> None:
        until(self.is_ready, lambda: self.installation.logs())

    def status(self, hostname: str, path: str, token: str = "", method: str = "GET") -> int:
        """The status that nginx gets; 0 if there is no answer."""
        headers = {"X-Original-Method": method, "X-Original-URI": path}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return self._http.get(f"{self.url}/auth/nginx/{hostname}", headers=headers).status_code
        except httpx.HTTPError:
            return 0


class Api:
    """An API with rules, and a client in another namespace that may read."""

    def __init__(self, gateway: RunningGateway, owner: str, caller: str) -> None:
        self.gateway = gateway
        self._installation = gateway.installation
        self.owner = owner
        self.hostname = f"payroll-api.{owner}.svc"
        self.server = self.with_rules(HEALTH, READ)
        self.client = oauth_client(caller, "leave-worker", access_entry(owner, "payroll-api", "payroll.read"))
        to = {"namespace": caller, "client": "leave-worker"}
        self.grant = scope_grant(owner, "leave-reads", "payroll-api", ["payroll.read"], to)
        self._installation.apply_and_wait(self.server, self.client, self.grant)
        self.credentials = self._installation.credentials(self.client)
        self.token = self._installation.token(*self.credentials)
        self.until_status(200)

    def with_rules(self, *rules: Mapping[str, object]) -> Manifest:
        """Without hostnames: that of the default audience."""
        http = {"rules": list(rules)}
        return resource_server(self.owner, "payroll-api", "payroll.read", "payroll.write", http=http)

    def status(self, token: str = "", path: str = "/salaries/7", method: str = "GET") -> int:
        return self.gateway.status(self.hostname, path, token or self.token, method)

    def until_status(self, status: int, token: str = "", path: str = "/salaries/7", method: str = "GET") -> None:
        until(lambda: self.status(token, path, method) == status, lambda: self._installation.logs(), seconds=_SECONDS)


@pytest.fixture(scope="module")
def gateway(install: Install) -> Iterator[RunningGateway]:
    running = RunningGateway(install("gateway", resync="1s"))
    running.wait_until_ready()
    yield running
    running.close()


@pytest.fixture
def payroll(gateway: RunningGateway, make_namespace: MakeNamespace) -> Api:
    return Api(gateway, make_namespace("payroll"), make_namespace("leave"))


def test_gateway_decides_by_the_rules_of_the_api(payroll: Api) -> None:
    assert payroll.status() == 200
    assert payroll.status(method="PUT") == 403
    assert payroll.status(path="/other") == 403
    assert payroll.gateway.status(payroll.hostname, "/salaries/7") == 401
    assert payroll.gateway.status(payroll.hostname, "/healthz") == 200
    assert payroll.gateway.status(f"other.{payroll.owner}.svc", "/healthz") == 403


def test_metadata_of_the_api_names_its_issuer(payroll: Api) -> None:
    url = f"{payroll.gateway.url}/.well-known/oauth-protected-resource"
    answer = httpx.get(url, headers={"Host": payroll.hostname}, trust_env=False)
    assert answer.json()["resource"] == f"https://{payroll.hostname}"
    assert answer.json()["authorization_servers"] == [payroll.gateway.installation.issuer_url]


def test_changed_rules_are_in_force(payroll: Api) -> None:
    write = {"name": "write", "methods": ["PUT"], "paths": ["/salaries/**"], "scopes": ["payroll.read"]}
    payroll.gateway.installation.apply(payroll.with_rules(HEALTH, READ, write))
    payroll.until_status(200, method="PUT")
    payroll.gateway.installation.apply(payroll.with_rules(HEALTH, {**READ, "scopes": ["payroll.write"]}))
    payroll.until_status(403)
    assert payroll.status(method="PUT") == 403


def test_withdrawn_grant_is_refused(payroll: Api) -> None:
    payroll.gateway.installation.delete(payroll.grant)
    payroll.until_status(401)


def test_revoked_token_is_refused_and_the_next_one_is_not(payroll: Api) -> None:
    installation = payroll.gateway.installation
    answer = httpx.post(
        f"{installation.issuer_url}/revoke", data={"token": payroll.token}, auth=payroll.credentials, trust_env=False
    )
    assert answer.status_code == 200
    payroll.until_status(401)
    assert payroll.status(installation.token(*payroll.credentials)) == 200


def test_deleted_resource_server_is_refused(payroll: Api) -> None:
    payroll.gateway.installation.delete(payroll.server)
    payroll.until_status(403)
    assert payroll.gateway.status(payroll.hostname, "/healthz") == 403


def test_without_issuer_tokens_are_still_verified_and_a_restarted_gateway_allows_none(payroll: Api) -> None:
    installation, gateway = payroll.gateway.installation, payroll.gateway
    assert installation.issuer is not None
    other = installation.token(*payroll.credentials)
    installation.issuer.kill()
    try:
        assert throughout(3, lambda: payroll.status() == 200)
        assert payroll.status(other) == 200
        gateway.restart()
        until(lambda: gateway.status(payroll.hostname, "/healthz") == 200, lambda: installation.logs())
        assert payroll.status() == 503
        assert not installation.is_ready(gateway.metrics_url)
    finally:
        installation.start_issuer()
    installation.wait_until_ready_and_leader()
    gateway.wait_until_ready()
    payroll.until_status(200)


def test_without_api_server_rules_stay_in_force_and_a_restarted_gateway_allows_nothing(
    own_plane: ControlPlane, own_installation: Installation
) -> None:
    installation = own_installation
    gateway = RunningGateway(installation)
    try:
        gateway.wait_until_ready()
        payroll = Api(gateway, installation.make_namespace("payroll"), installation.make_namespace("leave"))
        own_plane.stop_apiserver()
        try:
            assert throughout(3, lambda: payroll.status() == 200)
            assert gateway.status(payroll.hostname, "/salaries/7") == 401
            assert installation.is_ready(gateway.metrics_url)
            gateway.restart()
            until(lambda: gateway.status(payroll.hostname, "/healthz") == 503, lambda: installation.logs())
            assert throughout(3, lambda: payroll.status() == 503)
            assert not installation.is_ready(gateway.metrics_url)
        finally:
            own_plane.start_apiserver()
        gateway.wait_until_ready()
        payroll.until_status(200)
    finally:
        gateway.close()
