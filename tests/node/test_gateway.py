"""The gateway in a Pod of the chart: it starts with its rights and its image, and decides by rules and tokens."""

import ssl
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.chart.helm import NAMESPACE, merged

from .gateway import GATEWAY, declare, start_gateway
from .node import Node
from .system import VALUES, System

HOST: Final = f"{GATEWAY}.{NAMESPACE}.svc"
API: Final = "employee-api.employee.svc"
RULES: Final = [
    {"name": "health", "paths": ["/healthz"], "authentication": "None"},
    {"name": "read", "paths": ["/employees/**"], "methods": ["GET"], "scopes": ["employee.read"]},
    {"name": "move", "paths": ["/employees/**"], "methods": ["PUT"], "scopes": ["employee.write"]},
]


@pytest.fixture
def gateway(node: Node, system: System) -> Iterator[str]:
    """Its URL, for the API of the employee team."""
    system.apply(system.certificate("gateway-tls", HOST))
    declare(system, "employee", {"rules": RULES})
    start_gateway(
        system,
        merged(VALUES, {"networkPolicy": {"gatewayFrom": [{"podSelector": {}}]}}),
        profiles=["nginx"],
        workers=2,
        replay={"secretName": "valkey"},
        tls={"enabled": True, "secretName": "gateway-tls"},
    )
    system.wait_until_rolled_out(NAMESPACE, GATEWAY)
    yield f"https://{HOST}/auth/nginx/{API}"
    system.helm("upgrade", VALUES)
    declare(system, "employee", None)
    system.wait_until_terminated(NAMESPACE)


@pytest.mark.usefixtures("service_names")
def test_a_gateway_in_a_pod_decides_by_the_rules_of_an_api_and_by_its_tokens(system: System, gateway: str) -> None:
    trust = ssl.create_default_context(cadata=system.authority.decode())
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as http:
        token = system.token("hr-desk", "employee", http)

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
