"""The chart installed by helm and the HR example, all in Pods, with Pods that put load on them."""

import base64
import json
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import yaml

from examples.hr.demo.system import audience
from image.__main__ import HR, SCOPEWRIGHT
from tests.chart.helm import CHART, NAMESPACE, helm, merged
from tests.cluster.kube import Manifest
from tests.cluster.manifests import access_entry, oauth_client
from tests.cluster.waiting import until
from tests.controlplane import Cluster, certificates

from . import valkey
from .manifests import CONTAINER_SECURITY, POD_SECURITY, labelled, plain, projected, restricted_namespace

T = TypeVar("T")

EXAMPLE: Final = CHART.parents[1] / "examples" / "hr"
SERVICES: Final = ("employee", "payroll", "leave")
STAFF: Final = "staff"
WEB: Final = "hr"
"""The namespace of the web application, which test_web.py creates."""
NAMESPACES: Final = (NAMESPACE, *SERVICES, STAFF, valkey.NAMESPACE, WEB)
RELEASE: Final = "scopewright"
_ISSUER: Final = f"{RELEASE}-issuer.{NAMESPACE}.svc"
_TRUST: Final = "/etc/issuer/ca.crt"
TIMEOUT_SECONDS: Final = 300
"""Timeout of every wait, for a busy machine."""
VALUES: Final[dict[str, Any]] = {
    "issuer": {"url": f"https://{_ISSUER}", "replay": {"secretName": "valkey"}},
    "networkPolicy": {"egress": [{"ports": [{"port": 6379, "protocol": "TCP"}]}]},
    "image": {"repository": SCOPEWRIGHT.partition(":")[0], "tag": SCOPEWRIGHT.partition(":")[2], "pullPolicy": "Never"},
    "tls": {"enabled": True, "secretName": "issuer-tls"},
    # The successor of a signing key signs 30 seconds after the request.
    "config": {"jwksMaxAge": "15s", "replicaLag": "10s"},
}


@dataclass(frozen=True)
class Caller:
    """A Pod that requests tokens and uses them; its OAuthClient has the same name."""

    name: str
    services: tuple[str, ...]
    volume: Manifest


class System:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.callers: list[Caller] = []
        self._authority = certificates.Authority.at(folder)
        self._aliases: list[Manifest] = []

    # Actions of the platform team

    def check_cluster_is_unused(self) -> None:
        """Refuse a cluster with Scopewright in it, because the tests would delete it at their end."""
        crds = [f"crd/{file.stem}.scopewright.dev" for file in (CHART / "files" / "crds").glob("*.yaml")]
        for what in (*crds, *(f"namespace/{name}" for name in NAMESPACES)):
            assert self._get("default", what) is None, f"{what} exists in this cluster: use one without Scopewright"

    def install(self) -> None:
        self.apply(*valkey.manifests(), restricted_namespace(NAMESPACE))
        address = self.address(valkey.NAMESPACE, "valkey")
        self.apply(plain("Secret", NAMESPACE, "valkey", stringData={"url": valkey.url(address)}))
        self.apply(self.certificate("issuer-tls", _ISSUER))
        self.helm("install", VALUES)
        self.wait_until_rolled_out(NAMESPACE, f"{RELEASE}-operator")
        self.wait_for("condition=Ready", "signingkeys.scopewright.dev/default", NAMESPACE)
        rotation = {"every": "1h", "publishAhead": "5s"}
        self.kubectl("patch", "signingkeys.scopewright.dev/default", "--type=merge", f"--namespace={NAMESPACE}",
                     "--patch", json.dumps({"spec": {"rotation": rotation}}))  # fmt: skip

    @property
    def authority(self) -> bytes:
        """The certificate of the CA that signed the issuer's, as PEM."""
        return self._authority.pem

    def certificate(self, name: str, host: str) -> Manifest:
        """A Secret in the namespace of the release, with a certificate for this host and its key."""
        certificate, key = self._authority.server(host)
        entries = {"tls.crt": certificate.decode(), "tls.key": key.decode()}
        return plain("Secret", NAMESPACE, name, type="kubernetes.io/tls", stringData=entries)

    def change_mode(self, mode: str) -> None:
        """With the commands of docs/operations.md."""
        self.helm("upgrade", merged(VALUES, {"issuer": {"mode": mode}}), "--wait", f"--timeout={TIMEOUT_SECONDS}s")

    def helm(self, command: str, values: dict[str, Any], *more: str) -> None:
        into = ["--namespace", NAMESPACE, *more]
        helm(command, RELEASE, str(CHART), *into, values=values, kubeconfig=self.cluster.kubeconfig)

    def uninstall(self) -> None:
        """Uninstall from an existing cluster: the chart, the CRDs, and the namespaces with the declared objects."""
        helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", kubeconfig=self.cluster.kubeconfig)
        namespaces = [f"namespace/{name}" for name in NAMESPACES]
        self.kubectl("delete", "--ignore-not-found", *namespaces)
        self.kubectl("delete", "--ignore-not-found", "--filename", str(CHART / "files" / "crds"))

    # Actions of the teams

    def apply_hr(self) -> None:
        """Manifests and services of the example, in namespaces with PodSecurity `restricted`."""
        self.apply_files(EXAMPLE / "manifests")
        self.apply(self.account("payroll", "payroll-service"))
        services = list(yaml.safe_load_all((EXAMPLE / "services.yaml").read_text()))
        self.apply(*(m for m in services if m["kind"] == "Service"))
        self._aliases = [self._alias(NAMESPACE, f"{RELEASE}-issuer"), *(self._alias(name, name) for name in SERVICES)]
        for name in (*SERVICES, STAFF):
            self.publish_authority(name)
        for name in (*SERVICES, STAFF):
            self.wait_for("condition=Ready", "oauthclients.scopewright.dev", name, "--all")
        for deployment in (m for m in services if m["kind"] == "Deployment"):
            self.fit(deployment["spec"]["template"]["spec"])
            if deployment["metadata"]["name"] == "payroll":
                self._without_a_secret(deployment["spec"]["template"]["spec"])
            self.apply(deployment)
        for name in SERVICES:
            self.wait_until_rolled_out(name, name)

    def apply_files(self, folder: Path) -> None:
        """The manifests of a directory, with PodSecurity `restricted` in its namespaces."""
        for file in sorted(folder.glob("*.yaml")):
            self.apply(*(m | labelled(m) for m in yaml.safe_load_all(file.read_text())))

    def publish_authority(self, namespace: str) -> None:
        """A ConfigMap with the CA of the issuer's certificate, for the Pods there."""
        self.apply(plain("ConfigMap", namespace, "issuer", data={"ca.crt": self.authority.decode()}))

    def account(self, namespace: str, name: str, *access: Manifest) -> Manifest:
        """An OAuthClient with method ServiceAccount, and the ServiceAccount of the same name."""
        self.apply(plain("ServiceAccount", namespace, name))
        found = self._get(namespace, f"oauthclients.scopewright.dev/{name}") or {"spec": {"access": list(access)}}
        method = {"method": "ServiceAccount", "serviceAccount": {"name": name}}
        return oauth_client(namespace, name, *found["spec"]["access"], authentication=method)

    def start_load(self) -> None:
        """Callers with a mounted secret, a ServiceAccount token, and a mounted key."""
        reads = access_entry("employee", "employee-api", "employee.read")
        self.apply(self.account(STAFF, "kiosk", reads))
        self.apply(oauth_client(STAFF, "auditor", reads, authentication={"method": "PrivateKeyJWT"}))
        self.wait_for("condition=Ready", "oauthclients.scopewright.dev", STAFF, "--all")
        script = Path(__file__).with_name("load.py").read_text()
        self.apply(plain("ConfigMap", STAFF, "load", data={"load.py": script}))
        self.callers = [
            Caller("hr-desk", SERVICES, {"secret": {"secretName": "hr-desk-oauth"}}),
            Caller("kiosk", ("employee",), projected("kiosk", VALUES["issuer"]["url"])),
            Caller("auditor", ("employee",), {"secret": {"secretName": "auditor-oauth"}}),
        ]
        for caller in self.callers:
            self.apply(self._pod(caller))
        for caller in self.callers:
            self.until(partial(self._has_tokens, caller.name), partial(self.diagnosis, caller.name))

    def _has_tokens(self, caller: str) -> bool:
        return bool((self._totals(caller) or {}).get("accepted"))

    def _pod(self, caller: Caller) -> Manifest:
        calls = {"employee": "/employees/7", "payroll": "/salaries/7", "leave": "/requests?employee=7"}
        arguments = [
            part for name in caller.services for part in (audience(name), f"http://{name}.{name}.svc{calls[name]}")
        ]
        container = {
            "name": "load",
            "image": HR,
            "imagePullPolicy": "Never",
            "command": ["python3.11", "/load/load.py", *arguments],
            "securityContext": CONTAINER_SECURITY,
            # Without it the load Pods get the least CPU, and their delays would count as failures of the services.
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
            "volumeMounts": [
                {"name": "oauth", "mountPath": "/var/run/secrets/oauth", "readOnly": True},
                {"name": "load", "mountPath": "/load", "readOnly": True},
            ],
        }
        spec: Manifest = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": "oauth", **caller.volume}, {"name": "load", "configMap": {"name": "load"}}],
        }
        if "projected" in caller.volume:
            spec["serviceAccountName"] = caller.name
        self.fit(spec)
        return plain("Pod", STAFF, caller.name, spec=spec)

    def fit(self, pod: Manifest) -> None:
        """Trust in the CA of the issuer's certificate, and the names that a cluster's DNS would resolve."""
        pod["hostAliases"] = self._aliases
        pod.setdefault("volumes", []).append({"name": "issuer", "configMap": {"name": "issuer"}})
        for container in pod["containers"]:
            container["imagePullPolicy"] = "Never"
            container.setdefault("env", []).append({"name": "SSL_CERT_FILE", "value": _TRUST})
            container["volumeMounts"].append(
                {"name": "issuer", "mountPath": str(Path(_TRUST).parent), "readOnly": True}
            )

    @staticmethod
    def _without_a_secret(pod: Manifest) -> None:
        pod["serviceAccountName"] = "payroll-service"
        pod["volumes"] = [v for v in pod["volumes"] if v["name"] != "oauth"]
        pod["volumes"].append({"name": "oauth", **projected("payroll-service", VALUES["issuer"]["url"])})

    def resolve_in(self, deployment: str) -> None:
        """Add the names of Services that a cluster's DNS would resolve to the Pods of a Deployment of the chart."""
        change = json.dumps({"spec": {"template": {"spec": {"hostAliases": self._aliases}}}})
        self.kubectl("patch", f"--namespace={NAMESPACE}", f"deployment/{deployment}", "--patch", change)

    def add_name(self, namespace: str, service: str) -> None:
        """Pods that are fitted from here on know this Service too."""
        self._aliases.append(self._alias(namespace, service))

    def _alias(self, namespace: str, service: str) -> Manifest:
        return {"ip": self.address(namespace, service), "hostnames": [f"{service}.{namespace}.svc"]}

    def address(self, namespace: str, service: str) -> str:
        """The IP address of a Service."""
        found = self._get(namespace, f"service/{service}")
        assert found is not None
        return str(found["spec"]["clusterIP"])

    # State of the system

    def credential(self, namespace: str, client: str) -> dict[str, str]:
        """The entries of the Secret of an OAuthClient."""
        found = self._get(namespace, f"secret/{client}-oauth")
        assert found is not None
        return {entry: base64.b64decode(value).decode() for entry, value in found["data"].items()}

    def token(self, client: str, team: str, http: httpx.Client) -> str:
        """A token of a client of the staff with a secret, for the API of a team."""
        entries = self.credential(STAFF, client)
        form = {"grant_type": "client_credentials", "resource": audience(team)}
        answer = http.post(entries["token_endpoint"], data=form, auth=(entries["client_id"], entries["client_secret"]))
        return str(answer.raise_for_status().json()["access_token"])

    def totals(self, caller: str) -> dict[str, Any]:
        return self.until(partial(self._totals, caller), partial(self.diagnosis, caller))

    def _totals(self, caller: str) -> dict[str, Any] | None:
        lines = self.kubectl("logs", f"--namespace={STAFF}", "--tail=1", caller, expect=None).splitlines()
        return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None

    def diagnosis(self, caller: str) -> str:
        described = self.kubectl("describe", f"--namespace={STAFF}", f"pod/{caller}", expect=None)
        return described + self.kubectl("logs", f"--namespace={STAFF}", "--tail=20", caller, expect=None)

    def restart(self, deployments: dict[str, str]) -> None:
        """Restart all at once; the value is the namespace of each."""
        for name, namespace in deployments.items():
            self.kubectl("rollout", "restart", f"--namespace={namespace}", f"deployment/{name}")
        for name, namespace in deployments.items():
            self.wait_until_rolled_out(namespace, name)

    def wait_until_rolled_out(self, namespace: str, deployment: str) -> None:
        """Wait until the former Pods are deleted too."""
        rollout = ["rollout", "status", f"--namespace={namespace}", f"--timeout={TIMEOUT_SECONDS}s"]
        try:
            self.kubectl(*rollout, f"deployment/{deployment}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.pods(namespace)}") from None
        self.wait_until_terminated(namespace)

    def wait_until_terminated(self, namespace: str) -> None:
        """Wait until no Pod there is terminating."""
        self.until(lambda: not self._terminating_pods(namespace), lambda: self.pods(namespace))

    def _terminating_pods(self, namespace: str) -> list[str]:
        found = self._all(namespace, "pods")
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" in pod["metadata"]]

    def serving(self) -> Counter[tuple[str, str]]:
        """The number of Pods behind the issuer's Service, by ServiceAccount and containers."""
        pods = {pod["metadata"]["name"]: pod["spec"] for pod in self._all(NAMESPACE, "pods")}
        found = Counter[tuple[str, str]]()
        for part in self._all(NAMESPACE, "endpointslices"):
            if part["metadata"]["labels"]["kubernetes.io/service-name"] != f"{RELEASE}-issuer" or not part["ports"]:
                continue
            for endpoint in part["endpoints"]:
                if endpoint["conditions"]["ready"] and (pod := pods.get(endpoint["targetRef"]["name"])):
                    containers = ",".join(container["name"] for container in pod["containers"])
                    found[pod["serviceAccountName"], containers] += 1
        return found

    def pods(self, namespace: str) -> str:
        """Descriptions and logs of its Pods."""
        output = self.kubectl("describe", "pods", f"--namespace={namespace}", expect=None)
        for pod in self._all(namespace, "pods"):
            name = pod["metadata"]["name"]
            logs = ["logs", f"--namespace={namespace}", "--all-containers", "--tail=30", "--prefix"]
            output += self.kubectl(*logs, name, expect=None)
        return output

    def wait_for(self, what: str, resource: str, namespace: str, *more: str) -> None:
        # A missing object is waited for as well.
        self.until(lambda: self._get(namespace, resource), lambda: f"no {resource} in {namespace}")
        self.kubectl(
            "wait", f"--for={what}", f"--timeout={TIMEOUT_SECONDS}s", f"--namespace={namespace}", resource, *more
        )

    def _all(self, namespace: str, resources: str) -> list[dict[str, Any]]:
        found = self._get(namespace, resources)
        return found["items"] if found else []

    def _get(self, namespace: str, resource: str) -> dict[str, Any] | None:
        output = self.kubectl("get", f"--namespace={namespace}", resource, "--output=json", expect=None)
        return json.loads(output) if output.startswith("{") else None

    @staticmethod
    def until(look: Callable[[], T | None], seen: Callable[[], object]) -> T:
        """Poll seldom, because each poll starts kubectl, which is a load."""
        return until(look, seen, TIMEOUT_SECONDS, pause=0.5)

    def apply(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(manifest))

    def kubectl(self, *arguments: str, given: str = "", expect: int | None = 0) -> str:
        """`expect=None` accepts any exit code, and includes standard error."""
        command = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert expect in (None, done.returncode), f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr
