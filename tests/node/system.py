"""The chart, installed by helm, and the HR example beside it, all of it in Pods; and those that keep them busy."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from examples.hr.demo.system import audience
from image.__main__ import HR, SCOPEWRIGHT
from tests.chart.helm import CHART, NAMESPACE, helm
from tests.cluster.kube import Manifest
from tests.cluster.manifests import asks, oauth_client
from tests.cluster.waiting import until
from tests.controlplane import Cluster, certificates

T = TypeVar("T")

EXAMPLE: Final = CHART.parents[1] / "examples" / "hr"
SERVICES: Final = ("employee", "payroll", "leave")
STAFF: Final = "staff"
NAMESPACES: Final = (NAMESPACE, *SERVICES, STAFF)
RELEASE: Final = "scopewright"
_ISSUER: Final = f"{RELEASE}-issuer.{NAMESPACE}.svc"
_RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
_TRUST: Final = "/etc/issuer/ca.crt"
PATIENCE: Final = 300
"""Seconds that anything may take on a machine that has other things to do."""
VALUES: Final[dict[str, Any]] = {
    "issuer": {"url": f"https://{_ISSUER}"},
    "image": {"repository": SCOPEWRIGHT.partition(":")[0], "tag": SCOPEWRIGHT.partition(":")[2], "pullPolicy": "Never"},
    "tls": {"enabled": True, "secretName": "issuer-tls"},
    # A signing key's successor signs 40 seconds after it was asked for.
    "config": {"jwksMaxAge": "20s", "replicaLag": "10s"},
}


@dataclass(frozen=True)
class Caller:
    """A Pod of the staff that asks for tokens and uses them; its OAuthClient has its name."""

    name: str
    services: tuple[str, ...]
    volume: Manifest


class System:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.callers: list[Caller] = []
        self._authority = certificates.Authority.at(folder)
        self._aliases: list[Manifest] = []

    # What a platform team does

    def refuse_what_is_in_use(self) -> None:
        """Whatever is there is somebody's, and would go when this ends."""
        crds = [f"crd/{file.stem}.scopewright.dev" for file in (CHART / "files" / "crds").glob("*.yaml")]
        for what in (*crds, *(f"namespace/{name}" for name in NAMESPACES)):
            assert self._get("default", what) is None, f"{what} is in this cluster already: use one without Scopewright"

    def install(self) -> None:
        self.apply(_namespace(NAMESPACE, _RESTRICTED))
        certificate, key = self._authority.server(_ISSUER)
        entries = {"tls.crt": certificate.decode(), "tls.key": key.decode()}
        self.apply({**_object("Secret", NAMESPACE, "issuer-tls"), "type": "kubernetes.io/tls", "stringData": entries})
        into = ["--namespace", NAMESPACE]
        helm("install", RELEASE, str(CHART), *into, values=VALUES, kubeconfig=self.cluster.kubeconfig)
        self.rolled_out(NAMESPACE, f"{RELEASE}-operator")
        self.wait_for("condition=Ready", "signingkeys.scopewright.dev/default", NAMESPACE)
        rotation = {"every": "1h", "publishAhead": "10s"}
        self.kubectl("patch", "signingkeys.scopewright.dev/default", "--type=merge", f"--namespace={NAMESPACE}",
                     "--patch", json.dumps({"spec": {"rotation": rotation}}))  # fmt: skip

    def uninstall(self) -> None:
        """From a cluster that goes on. The CRDs were the chart's; what is declared goes with its namespaces."""
        helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", kubeconfig=self.cluster.kubeconfig)
        namespaces = [f"namespace/{name}" for name in NAMESPACES]
        self.kubectl("delete", "--ignore-not-found", *namespaces)
        self.kubectl("delete", "--ignore-not-found", "--filename", str(CHART / "files" / "crds"))

    # What the teams do

    def apply_hr(self) -> None:
        """Manifests and services of the example, in namespaces that are `restricted` too."""
        for file in sorted((EXAMPLE / "manifests").glob("*.yaml")):
            self.apply(*(m | _labelled(m) for m in yaml.safe_load_all(file.read_text())))
        self.apply(self.account("payroll", "payroll-service"))
        services = list(yaml.safe_load_all((EXAMPLE / "services.yaml").read_text()))
        self.apply(*(m for m in services if m["kind"] == "Service"))
        self._aliases = [self._alias(NAMESPACE, f"{RELEASE}-issuer"), *(self._alias(name, name) for name in SERVICES)]
        for name in (*SERVICES, STAFF):
            self.apply({**_object("ConfigMap", name, "issuer"), "data": {"ca.crt": self._authority.pem.decode()}})
        for name in (*SERVICES, STAFF):
            self.wait_for("condition=Ready", "oauthclients.scopewright.dev", name, "--all")
        for deployment in (m for m in services if m["kind"] == "Deployment"):
            self._fit(deployment["spec"]["template"]["spec"])
            if deployment["metadata"]["name"] == "payroll":
                self._without_a_secret(deployment["spec"]["template"]["spec"])
            self.apply(deployment)
        for name in SERVICES:
            self.rolled_out(name, name)

    def account(self, namespace: str, name: str, *access: Manifest) -> Manifest:
        """An OAuthClient that is proven by the token of the ServiceAccount of its name, and that ServiceAccount."""
        self.apply(_object("ServiceAccount", namespace, name))
        found = self._get(namespace, f"oauthclients.scopewright.dev/{name}") or {"spec": {"access": list(access)}}
        method = {"method": "ServiceAccount", "serviceAccount": {"name": name}}
        return oauth_client(namespace, name, *found["spec"]["access"], authentication=method)

    def start_load(self) -> None:
        """The HR desk, by the Secret that is mounted, and a kiosk, by the token of its ServiceAccount."""
        self.apply(self.account(STAFF, "kiosk", asks("employee", "employee-api", "employee.read")))
        self.wait_for("condition=Ready", "oauthclients.scopewright.dev/kiosk", STAFF)
        script = Path(__file__).with_name("load.py").read_text()
        self.apply({**_object("ConfigMap", STAFF, "load"), "data": {"load.py": script}})
        desk = Caller("hr-desk", SERVICES, {"secret": {"secretName": "hr-desk-oauth"}})
        self.callers = [desk, Caller("kiosk", ("employee",), _projected("kiosk"))]
        for caller in self.callers:
            self.apply(self._pod(caller))
        for caller in self.callers:
            self.until(partial(self._has_begun, caller.name), partial(self.says, caller.name))

    def _has_begun(self, caller: str) -> bool:
        return bool((self._totals(caller) or {}).get("accepted"))

    def _pod(self, caller: Caller) -> Manifest:
        calls = {"employee": "/employees/7", "payroll": "/salaries/7", "leave": "/requests?employee=7"}
        arguments = [
            part for name in caller.services for part in (audience(name), f"http://{name}.{name}.svc{calls[name]}")
        ]
        restricted: Manifest = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        container = {
            "name": "load",
            "image": HR,
            "imagePullPolicy": "Never",
            "command": ["python3.11", "/load/load.py", *arguments],
            "securityContext": restricted,
            # Without it, whoever asks would be the first to go short, and would count it against who answers.
            "resources": {"requests": {"cpu": "150m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
            "volumeMounts": [
                {"name": "oauth", "mountPath": "/var/run/secrets/oauth", "readOnly": True},
                {"name": "load", "mountPath": "/load", "readOnly": True},
            ],
        }
        spec: Manifest = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "oauth", **caller.volume}, {"name": "load", "configMap": {"name": "load"}}],
        }
        if "projected" in caller.volume:
            spec["serviceAccountName"] = caller.name
        self._fit(spec)
        return {**_object("Pod", STAFF, caller.name), "spec": spec}

    def _fit(self, pod: Manifest) -> None:
        """Trust in the authority of the issuer's certificate, and the names that a cluster's DNS would know."""
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
        pod["volumes"].append({"name": "oauth", **_projected("payroll-service")})

    def _alias(self, namespace: str, service: str) -> Manifest:
        found = self._get(namespace, f"service/{service}")
        assert found is not None
        return {"ip": found["spec"]["clusterIP"], "hostnames": [f"{service}.{namespace}.svc"]}

    # What is there

    def totals(self, caller: str) -> dict[str, Any]:
        return self.until(partial(self._totals, caller), partial(self.says, caller))

    def _totals(self, caller: str) -> dict[str, Any] | None:
        lines = self.kubectl("logs", f"--namespace={STAFF}", "--tail=1", caller, expect=None).splitlines()
        return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None

    def says(self, caller: str) -> str:
        described = self.kubectl("describe", f"--namespace={STAFF}", f"pod/{caller}", expect=None)
        return described + self.kubectl("logs", f"--namespace={STAFF}", "--tail=20", caller, expect=None)

    def restart(self, deployments: dict[str, str]) -> None:
        """All of them at once: the namespace of each."""
        for name, namespace in deployments.items():
            self.kubectl("rollout", "restart", f"--namespace={namespace}", f"deployment/{name}")
        for name, namespace in deployments.items():
            self.rolled_out(namespace, name)

    def rolled_out(self, namespace: str, deployment: str) -> None:
        """Also the Pods of before are gone."""
        rollout = ["rollout", "status", f"--namespace={namespace}", f"--timeout={PATIENCE}s"]
        try:
            self.kubectl(*rollout, f"deployment/{deployment}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.pods(namespace)}") from None
        self.until(lambda: not self._leaving(namespace), lambda: self.pods(namespace))

    def _leaving(self, namespace: str) -> list[str]:
        found = self._get(namespace, "pods") or {"items": []}
        return [pod["metadata"]["name"] for pod in found["items"] if "deletionTimestamp" in pod["metadata"]]

    def pods(self, namespace: str) -> str:
        """All there is to know about why its Pods are not what they should be."""
        said = self.kubectl("describe", "pods", f"--namespace={namespace}", expect=None)
        for pod in (self._get(namespace, "pods") or {"items": []})["items"]:
            name = pod["metadata"]["name"]
            logs = ["logs", f"--namespace={namespace}", "--all-containers", "--tail=30", "--prefix"]
            said += self.kubectl(*logs, name, expect=None)
        return said

    def wait_for(self, what: str, resource: str, namespace: str, *more: str) -> None:
        # A thing that is not there yet is waited for too.
        self.until(lambda: self._get(namespace, resource), lambda: f"no {resource} in {namespace}")
        self.kubectl("wait", f"--for={what}", f"--timeout={PATIENCE}s", f"--namespace={namespace}", resource, *more)

    def _get(self, namespace: str, resource: str) -> dict[str, Any] | None:
        said = self.kubectl("get", f"--namespace={namespace}", resource, "--output=json", expect=None)
        return json.loads(said) if said.startswith("{") else None

    @staticmethod
    def until(look: Callable[[], T | None], seen: Callable[[], object]) -> T:
        """Asking costs a program's start: seldom, then, so that it is no load of its own."""
        return until(look, seen, PATIENCE, pause=0.5)

    def apply(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(manifest))

    def kubectl(self, *arguments: str, given: str = "", expect: int | None = 0) -> str:
        """`expect=None`: whatever comes, with what was said on standard error."""
        command = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert expect in (None, done.returncode), f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr


def _object(kind: str, namespace: str, name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _namespace(name: str, labels: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _labelled(manifest: Manifest) -> Manifest:
    """A Namespace refuses whatever PodSecurity `restricted` does."""
    meta = manifest["metadata"]
    if manifest["kind"] != "Namespace":
        return {}
    return {"metadata": {**meta, "labels": {**meta.get("labels", {}), **_RESTRICTED}}}


def _projected(client: str) -> Manifest:
    """As docs/authentication.md has it: what the operator wrote, and the ServiceAccount's token for the issuer."""
    token = {"path": "token", "audience": VALUES["issuer"]["url"], "expirationSeconds": 600}
    return {"projected": {"sources": [{"secret": {"name": f"{client}-oauth"}}, {"serviceAccountToken": token}]}}
