"""The gateway in a Pod of the chart: it starts with its rights and its image, and decides by rules and tokens."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.chart.helm import NAMESPACE, merged

from .manifests import plain
from .node import Node
from .system import RELEASE, STAFF, VALUES, System

GATEWAY: Final = f"{RELEASE}-gateway"
HOST: Final = f"{GATEWAY}.{NAMESPACE}.svc"
API: Final = "employee-api.employee.svc"
WITH_GATEWAY: Final[dict[str, Any]] = merged(
    VALUES,
    {
        "gateway": {
            "enabled": True,
            "profiles": ["nginx"],
            "replay": {"secretName": "valkey"},
            "autoscaling": {"enabled": False},
            "replicas": 1,
            "workers": 2,
            "tls": {"enabled": True, "secretName": "gateway-tls"},
            "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/issuer/ca.crt"}],
            "extraVolumes": [{"name": "issuer", "configMap": {"name": "issuer"}}],
            "extraVolumeMounts": [{"name": "issuer", "mountPath": "/etc/issuer", "readOnly": True}],
        },
        "networkPolicy": {"gatewayFrom": [{"podSelector": {}}]},
    },
)
RULES: Final = [
    {"name": "health", "paths": ["/healthz"], "authentication": "None"},
    {"name": "read", "paths": ["/employees/**"], "methods": ["GET"], "scopes": ["employee.read"]},
    {"name": "move", "paths": ["/employees/**"], "methods": ["PUT"], "scopes": ["employee.write"]},
]


@pytest.fixture
def gateway(system: System) -> Iterator[str]:
    """Its URL, for the API of the employee team."""
    if not isinstance(system.cluster, Node):
        pytest.skip("this test calls Services, so it must be in the network of the cluster")
    system.apply(system.certificate("gateway-tls", HOST))
    system.apply(plain("ConfigMap", NAMESPACE, "issuer", data={"ca.crt": system.authority.decode()}))
    declare(system, {"rules": RULES})
    system.helm("upgrade", WITH_GATEWAY)
    system.resolve_in(GATEWAY)
    system.wait_until_rolled_out(NAMESPACE, GATEWAY)
    yield f"https://{HOST}/auth/nginx/{API}"
    system.helm("upgrade", VALUES)
    declare(system, None)
    system.wait_until_terminated(NAMESPACE)


def declare(system: System, http: dict[str, Any] | None) -> None:
    """Set or remove `spec.http` of the API."""
    change = json.dumps({"spec": {"http": http}})
    server = "resourceservers.scopewright.dev/employee-api"
    system.kubectl("patch", "--namespace=employee", server, "--type=merge", "--patch", change)


def test_a_gateway_in_a_pod_decides_by_the_rules_of_an_api_and_by_its_tokens(
    system: System, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = VALUES["issuer"]["url"].removeprefix("https://")
    addresses = {HOST: system.address(NAMESPACE, GATEWAY), issuer: system.address(NAMESPACE, f"{RELEASE}-issuer")}
    look_up = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        return look_up(addresses.get(host, host), *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    trust = ssl.create_default_context(cadata=system.authority.decode())
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as http:
        token = token_of(system, http)

        def ask(method: str, target: str, *, authorization: str = "") -> int:
            headers = {"X-Original-Method": method, "X-Original-URI": target}
            headers |= {"Authorization": authorization} if authorization else {}
            return http.get(gateway, headers=headers).status_code

        system.until(lambda: ask("GET", "/healthz") == 200 or None, lambda: system.pods(NAMESPACE))
        answers = {
            "without a token": ask("GET", "/employees/7"),
            "with a token": ask("GET", "/employees/7?all", authorization=f"Bearer {token}"),
            "without the scope": ask("PUT", "/employees/7", authorization=f"Bearer {token}"),
            "without a rule": ask("GET", "/admin", authorization=f"Bearer {token}"),
        }
    assert answers == {"without a token": 401, "with a token": 200, "without the scope": 403, "without a rule": 403}
    log = system.kubectl("logs", f"--namespace={NAMESPACE}", f"deployment/{GATEWAY}")
    assert '"no_rule"' in log
    assert token not in log


def token_of(system: System, http: httpx.Client) -> str:
    """An access token of the HR desk for the API of the employee team."""
    found = json.loads(system.kubectl("get", f"--namespace={STAFF}", "secret/hr-desk-oauth", "--output=json"))
    entries = {name: base64.b64decode(value).decode() for name, value in found["data"].items()}
    form = {"grant_type": "client_credentials", "resource": f"https://{API}"}
    credential = (entries["client_id"], entries["client_secret"])
    return str(http.post(entries["token_endpoint"], data=form, auth=credential).json()["access_token"])
