"""Payroll behind Envoy, which asks the gateway about each request, and the web application, which calls Payroll through
Envoy for its users. Runs after test_node.py, because the load gets no tokens while users are enabled.
"""

import contextlib
import json
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.chart import logins
from tests.chart.helm import NAMESPACE, merged
from tests.controlplane.processes import Child, wait_until
from tests.harness.browser import Away, FormBrowser
from tests.harness.html_page import Page

from . import envoy
from .gateway import GATEWAY, declare, start_gateway
from .manifests import plain
from .node import Node
from .system import EXAMPLE, VALUES, WEB, System
from .users import RELEASE_VALUES

RULES: Final = [
    {"name": "read", "paths": ["/salaries/*"], "methods": ["GET"], "scopes": ["payroll.read"]},
    {
        "name": "change",
        "paths": ["/salaries/*"],
        "methods": ["PUT"],
        "scopes": ["payroll.write"],
        "roles": ["payroll-manager"],
    },
    # A mistake: the gateway lets everyone pass. Payroll itself requires payroll.classes.
    {"name": "classes", "paths": ["/salary-classes/*"], "methods": ["GET"], "authentication": "None"},
]
SERVICE: Final = "http://payroll.payroll.svc"
"""Payroll without Envoy."""
ENVOY: Final = f"http://{envoy.API}"
HOME: Final = "http://127.0.0.1:9100"
"""The web application in its manifests."""
IDENTITY: Final = ("x-auth-subject", "x-auth-client", "x-auth-scope", "x-auth-roles", "x-auth-token-id")
MANAGER: Final = {"X-Auth-Subject": "root", "X-Auth-Client": "hr.hr-web", "X-Auth-Roles": "payroll-manager"}
"""Identity headers that a caller has forged."""


@pytest.fixture(scope="module")
def behind_envoy(sessions: Path, system: System) -> None:
    """Payroll records the requests that reach it. The web application calls Envoy, which is the Service `envoy.API`."""
    record_requests(system)
    declare(system, envoy.TEAM, {"rules": RULES})
    release = merged(RELEASE_VALUES, {"networkPolicy": {"gatewayFrom": [envoy.PEER]}})
    start_gateway(system, release, profiles=["envoy"])
    system.add_name(NAMESPACE, GATEWAY)
    *others, deployment = envoy.manifests()
    system.fit(deployment["spec"]["template"]["spec"])
    system.apply(*others, deployment)
    system.add_name(envoy.TEAM, envoy.NAME)
    start_web(system)
    for namespace, name in ((NAMESPACE, GATEWAY), (envoy.TEAM, "payroll"), (envoy.TEAM, envoy.NAME), (WEB, "hr-web")):
        system.wait_until_rolled_out(namespace, name)
    url = f"http://{system.address(envoy.TEAM, envoy.NAME)}/salary-classes/3"

    def decided() -> bool:
        """Whether the gateway knows the rules: Payroll itself refuses what the third lets pass."""
        with contextlib.suppress(httpx.ConnectError):
            answer = httpx.get(url, headers={"Host": envoy.API}, trust_env=False, timeout=30)
            return answer.status_code == 401
        return False

    system.until(decided, lambda: system.pods(NAMESPACE) + system.pods(envoy.TEAM))


def record_requests(system: System) -> None:
    """Put recorder.py around Payroll in its Pod."""
    source = Path(__file__).with_name("recorder.py").read_text()
    system.apply(plain("ConfigMap", envoy.TEAM, "recorder", data={"recorder.py": source}))
    services = yaml.safe_load_all((EXAMPLE / "services.yaml").read_text())
    [payroll] = (m for m in services if (m["kind"], m["metadata"]["name"]) == ("Deployment", "payroll"))
    [container] = payroll["spec"]["template"]["spec"]["containers"]
    change = {
        "name": container["name"],
        "command": ["recorder:create" if "payroll:create" in part else part for part in container["command"]],
        "env": [{"name": "PYTHONPATH", "value": "/recorder"}],
        "volumeMounts": [{"name": "recorder", "mountPath": "/recorder", "readOnly": True}],
    }
    volume = {"name": "recorder", "configMap": {"name": "recorder"}}
    patch = {"spec": {"template": {"spec": {"containers": [change], "volumes": [volume]}}}}
    system.kubectl("patch", f"--namespace={envoy.TEAM}", "deployment/payroll", "--patch", json.dumps(patch))


def start_web(system: System) -> None:
    """The web application, with Envoy as the URL of Payroll."""
    system.apply_files(EXAMPLE / "web" / "manifests")
    system.publish_authority(WEB)
    service, deployment = yaml.safe_load_all((EXAMPLE / "web" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    [payroll] = (each for each in pod["containers"][0]["env"] if each["name"] == "PAYROLL_URL")
    payroll["value"] = ENVOY
    system.fit(pod)
    system.wait_for("condition=LoginAllowed", "oauthclients.scopewright.dev/hr-web", WEB)
    system.apply(service, deployment)


@pytest.fixture
def web(behind_envoy: None, node: Node, tmp_path: Path) -> Iterator[str]:
    """The URL of the web application."""
    with forwarded(node, tmp_path / "port-forward.log"):
        yield HOME


@contextlib.contextmanager
def forwarded(node: Node, log: Path) -> Iterator[None]:
    """The command in deployment.yaml, in the network of the node."""
    kubectl = [str(node.kubectl), "--kubeconfig", str(node.kubeconfig)]
    command = [*node.within, *kubectl, f"--namespace={WEB}", "port-forward", "service/hr-web", "9100"]
    child = Child(command, log=log, cwd=log.parent)
    try:
        wait_until(lambda: "Forwarding from 127.0.0.1" in log.read_text(), seconds=60, children=[child], what="ready")
        yield
    finally:
        child.stop()


@pytest.fixture
def trust(system: System) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=system.authority.decode())


@pytest.fixture
def http(behind_envoy: None, service_names: None, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as client:
        yield client


def test_a_user_of_the_web_application_reads_and_changes_a_salary_through_envoy(
    system: System, web: str, service_names: None, trust: ssl.SSLContext
) -> None:
    before = len(through_envoy(system))
    with FormBrowser(web) as at_web, FormBrowser(VALUES["issuer"]["url"], trust=trust) as at_issuer:
        assert "Mara Lindqvist" in log_in(at_web, at_issuer, web).texts["user"]
        page = at_web.page(f"{web}/employees/9")
        assert page.texts["salary"] == "3900 EUR a month"
        changed = at_web.submit(page, "change-salary", "change", monthly="4100")
        assert isinstance(changed, Page)
        assert changed.texts["salary"] == "4100 EUR a month"
    seen = through_envoy(system)[before:]
    assert [(each["method"], each["target"]) for each in seen] == [
        ("GET", "/salaries/9"),
        ("PUT", "/salaries/9"),
        ("GET", "/salaries/9"),
    ]
    for each in seen:
        identity = once(each["identity"])
        assert identity["x-auth-client"] == "hr.hr-web"
        assert identity["x-auth-roles"] == "payroll-manager"
        assert identity["x-auth-scope"] == "payroll.read payroll.write"
        assert identity["x-auth-subject"] == each["subject"] != ""


def log_in(at_web: FormBrowser, at_issuer: FormBrowser, web: str) -> Page:
    """Log in as the manager, allow what the application asks for, and return the first page of the application."""
    start = at_web.open(f"{web}/login")
    assert isinstance(start, Away), start
    at = at_issuer.open(start.url)
    assert isinstance(at, Page), at
    at = at_issuer.submit(at, "password-form", "log-in", username=logins.MANAGER, password=logins.PASSWORD)
    assert isinstance(at, Page), at
    at = at_issuer.submit(at, "consent", "allow")
    assert isinstance(at, Away), at
    return at_web.page(at.url)


def test_what_no_rule_or_no_token_allows_is_refused_at_envoy(system: System, http: httpx.Client) -> None:
    token = system.token("hr-desk", "payroll", http)
    bearer = {"Authorization": f"Bearer {token}"}
    answers = {
        "/salaries/7?allowed": http.get(f"{ENVOY}/salaries/7?allowed", headers=bearer).status_code,
        "/salaries/7?anonymous": http.get(f"{ENVOY}/salaries/7?anonymous").status_code,
        "/salaries/7?changed": http.put(f"{ENVOY}/salaries/7?changed", headers=bearer, content="1").status_code,
        "/healthz?envoy": http.get(f"{ENVOY}/healthz?envoy", headers=bearer).status_code,
        "/healthz?service": http.get(f"{SERVICE}/healthz?service").status_code,
    }
    assert answers == {
        "/salaries/7?allowed": 200,
        "/salaries/7?anonymous": 401,
        "/salaries/7?changed": 403,
        "/healthz?envoy": 403,
        "/healthz?service": 200,
    }
    reached = [each["target"] for each in requests(system) if each["target"] in answers]
    assert reached == ["/salaries/7?allowed", "/healthz?service"]
    log = system.kubectl("logs", f"--namespace={NAMESPACE}", f"deployment/{GATEWAY}")
    assert '"no_rule"' in log
    assert token not in log


def test_a_forged_identity_header_does_not_reach_payroll(system: System, http: httpx.Client) -> None:
    """Neither where the gateway has no identity to put in its place, nor where it has."""
    bearer = {"Authorization": f"Bearer {system.token('hr-desk', 'payroll', http)}"}
    assert http.get(f"{ENVOY}/salaries/7?forged", headers=bearer | MANAGER).status_code == 200
    assert http.get(f"{ENVOY}/salary-classes/3?forged", headers=MANAGER).status_code == 401
    underscores = {name.replace("-", "_"): value for name, value in MANAGER.items()}
    assert http.get(f"{ENVOY}/salary-classes/3?underscores", headers=underscores).status_code == 400
    seen = {each["target"]: each["identity"] for each in through_envoy(system)}
    desk = once(seen["/salaries/7?forged"])
    assert (desk["x-auth-client"], desk["x-auth-roles"]) == ("staff.hr-desk", "")
    assert set(once(seen["/salary-classes/3?forged"]).values()) == {""}
    assert "/salary-classes/3?underscores" not in seen


def test_payroll_verifies_the_token_itself(system: System, http: httpx.Client) -> None:
    """Where a rule lets everyone pass, and where a caller goes past Envoy."""
    bearer = {"Authorization": f"Bearer {system.token('hr-desk', 'employee', http)}"}
    for url in (f"{ENVOY}/salary-classes/3?open", f"{SERVICE}/salaries/7?past"):
        for headers in ({}, bearer):
            answer = http.get(url, headers=headers | (MANAGER if url.startswith(SERVICE) else {}))
            assert answer.status_code == 401, url
    targets = [each["target"] for each in requests(system)]
    assert (targets.count("/salary-classes/3?open"), targets.count("/salaries/7?past")) == (2, 2)


def once(identity: dict[str, list[str]]) -> dict[str, str]:
    """Each of the identity headers, which must be there exactly once."""
    assert sorted(identity) == sorted(IDENTITY)
    return {name: value for name, [value] in identity.items()}


def through_envoy(system: System) -> list[dict[str, Any]]:
    return [each for each in requests(system) if each["through_envoy"]]


def requests(system: System) -> list[dict[str, Any]]:
    """The requests that have reached Payroll, in order. The last is one that shows that the log is complete."""
    target = f"/healthz?{uuid.uuid4()}"
    answer = httpx.get(f"http://{system.address(envoy.TEAM, 'payroll')}{target}", trust_env=False, timeout=30)
    assert answer.status_code == 200

    def complete() -> list[dict[str, Any]] | None:
        log = system.kubectl("logs", f"--namespace={envoy.TEAM}", "deployment/payroll")
        found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return found if target in (each["target"] for each in found) else None

    return system.until(complete, lambda: system.pods(envoy.TEAM))
