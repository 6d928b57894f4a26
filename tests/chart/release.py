"""A release of the chart on a control plane without nodes: the containers of its Pods run here as processes.

Each process has a real token of its ServiceAccount, and so exactly the rights of the chart: the operator's is requested
here, as the kubelet does; the issuer's is requested by the operator.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.cluster.installation import decoded
from tests.cluster.kube import SCOPEWRIGHT_KINDS, Kube, Manifest
from tests.cluster.processes import ScopewrightProcess
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane
from tests.ports import free_port

from .accounts import Account, kubeconfig
from .helm import CHART, NAMESPACE, REQUIRED, helm, merged

NAME: Final = "scopewright"
HR: Final = CHART.parents[1] / "examples" / "hr" / "manifests"


class Release:
    def __init__(self, plane: ControlPlane, kube: Kube, folder: Path) -> None:
        self.plane = plane
        self.kube = kube
        self.folder = folder
        self.issuer_url = f"http://127.0.0.1:{free_port()}"
        self.health_url = f"http://127.0.0.1:{free_port()}"
        self.values = merged(REQUIRED, {"issuer": {"url": self.issuer_url}, "config": {"resync": "1s"}})
        self.identity = folder / "issuer-identity"
        self.identity.mkdir()
        self.credential = ("", "")
        """Client id and secret of a service of the example."""
        self.processes: list[ScopewrightProcess] = []
        self.hr: list[Manifest] = []
        """The applied objects of the example that are of the five kinds."""
        self.chart, self.example = CHART, HR
        self.code: Path | None = None
        """The directory of the package to run. Default: this repository's."""
        self._accounts: dict[str, Account] = {}

    # Actions of the platform team

    def install(self) -> str:
        """Install into a namespace with PodSecurity `restricted`. Returns helm's output."""
        self.forget_accounts()
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        return self.helm("install", NAME, str(self.chart), values=self.values)

    def upgrade(self, **values: Any) -> str:
        self.values = merged(self.values, values)
        return self.helm("upgrade", NAME, str(self.chart), values=self.values)

    def uninstall(self) -> str:
        return self.helm("uninstall", NAME)

    def remove(self, namespaces: Sequence[str]) -> None:
        """Uninstall it, and delete these namespaces: the next release on this control plane has the same names."""
        self.stop()
        self.uninstall()
        for name in namespaces:
            self.kube.delete("Namespace", "", name)
        until(lambda: not [name for name in namespaces if self.kube.get("Namespace", "", name)])

    def helm(self, *arguments: str, values: dict[str, Any] | None = None) -> str:
        return helm(*arguments, "--namespace", NAMESPACE, values=values, kubeconfig=self.plane.kubeconfig)

    def apply_hr(self) -> list[Manifest]:
        """`kubectl apply -f examples/hr/manifests`. Returns the objects of the five kinds."""
        self.kubectl("apply", "--server-side", "-f", str(self.example))
        manifests = [m for file in sorted(self.example.glob("*.yaml")) for m in yaml.safe_load_all(file.read_text())]
        return [m for m in manifests if m["kind"] in SCOPEWRIGHT_KINDS]

    def kubectl(self, *arguments: str) -> str:
        command = [str(self.plane.kubectl), "--kubeconfig", str(self.plane.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Actions of the kubelet

    def account(self, name: str) -> Account:
        if name not in self._accounts:
            self._accounts[name] = Account(self.plane, self.kube, NAMESPACE, f"{NAME}-{name}")
        return self._accounts[name]

    def start(self) -> None:
        """Start operator and issuer as containers of one Pod, with the settings of its containers."""
        self.start_operator()
        until((self.identity / "token").exists, self.logs)
        self.start_issuer()

    def restart(self) -> None:
        """Restart both containers as after a crash: memory volumes belong to the Pod and stay."""
        for process in self.processes:
            process.kill()
        self.processes.clear()
        self._start_operator()
        self._start_issuer()

    def start_operator(self) -> None:
        """Until it is ready."""
        config = self.kube.get("ConfigMap", NAMESPACE, f"{NAME}-operator")
        assert config is not None
        (self.folder / "config.yaml").write_text(config["data"]["config.yaml"])
        self._start_operator()
        until(lambda: self.answers(f"{self.health_url}/readyz"), self.logs)

    def start_issuer(self) -> None:
        """Until it is ready."""
        self._start_issuer()
        until(lambda: self.answers(f"{self.issuer_url}/readyz"), self.logs)

    def _start_operator(self) -> None:
        token = self.account("operator").kubeconfig(self.folder)
        self._run("operator", "--config", str(self.folder / "config.yaml"), "--kubeconfig", str(token),
                  "--issuer-service-account", f"{NAME}-issuer", "--issuer-identity", str(self.identity),
                  "--listen", self.health_url.removeprefix("http://"))  # fmt: skip

    def _start_issuer(self) -> None:
        cluster = {"server": self.plane.server, "certificate-authority": str(self.identity / "ca.crt")}
        user = {"tokenFile": str(self.identity / "token")}
        token = kubeconfig(self.folder / "issuer.kubeconfig", cluster, user)
        users = []
        if self.values.get("users", {}).get("enabled"):
            # Workers of a Pod share the file.
            users = ["--sessions", str(self.folder / "sessions.db"), "--workers", "2", "--replay", "per-process"]
        self._run("issuer", *users, "--namespace", NAMESPACE, "--kubeconfig", str(token), "--usage-every", "0.5",
                  "--snapshot", str(self.folder / "snapshot.json"),
                  "--listen", self.issuer_url.removeprefix("http://"))  # fmt: skip

    def start_gateway(self, folder: Path) -> str:
        """Start a container of the gateway with the arguments and variables of its Deployment; until it is ready.

        Returns its URL. It listens on loopback, beside issuer and operator.
        """
        found = self.kube.get("Deployment", NAMESPACE, f"{NAME}-gateway")
        assert found is not None
        [container] = found["spec"]["template"]["spec"]["containers"]
        url, metrics_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        environment = {e["name"]: e["value"] for e in container["env"] if "value" in e} | {
            "SCOPEWRIGHT_NAMESPACE": NAMESPACE,
            "SCOPEWRIGHT_LISTEN": url.removeprefix("http://"),
            "SCOPEWRIGHT_METRICS_LISTEN": metrics_url.removeprefix("http://"),
        }
        token = self.account("gateway").kubeconfig(folder)
        command = ["gateway", *container["args"], "--kubeconfig", str(token)]
        self.processes.append(ScopewrightProcess(command, self.folder / "gateway.log", environment))
        until(lambda: self.answers(f"{metrics_url}{container['readinessProbe']['httpGet']['path']}"), self.logs)
        return url

    def _run(self, *arguments: str) -> None:
        log = self.folder / f"{'earlier-' if self.code else ''}{arguments[0]}.log"
        self.processes.append(ScopewrightProcess(list(arguments), log, code=self.code))

    def stop(self) -> None:
        """SIGTERM: the leader releases the Lease."""
        while self.processes:
            self.stop_first()

    def stop_first(self) -> None:
        """The process that was started first."""
        self.processes.pop(0).stop()

    def close(self) -> None:
        self.stop()
        self.forget_accounts()

    def forget_accounts(self) -> None:
        """Forget the tokens of a former release."""
        for account in self._accounts.values():
            account.close()
        self._accounts.clear()

    def logs(self) -> str:
        return "\n".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    # State of the release

    @staticmethod
    def answers(url: str) -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def ready(self, manifest: Manifest) -> bool:
        """The object as it is now."""
        found = self.read(manifest)
        expected = ("Ready", "True", found["metadata"]["generation"])
        conditions = found.get("status", {}).get("conditions", ())
        return any((c["type"], c["status"], c.get("observedGeneration")) == expected for c in conditions)

    def read(self, manifest: Manifest) -> Manifest:
        meta = manifest["metadata"]
        found = self.kube.get(manifest["kind"], meta["namespace"], meta["name"])
        assert found is not None
        return found

    def snapshot_is_current(self) -> bool:
        """Whether the issuer's snapshot, which follows within seconds, has the current records."""
        snapshot = self.folder / "snapshot.json"
        if not snapshot.exists():
            return False
        lines = snapshot.read_text().splitlines()[1:]
        kept = {(o["kind"], o["name"]): o["resourceVersion"] for o in map(json.loads, lines)}
        return all(
            kept.get((kind, found["metadata"]["name"])) == found["metadata"]["resourceVersion"]
            for kind in ("Secret", "ConfigMap")
            for found in self.kube.list(kind, NAMESPACE)
            if found["metadata"]["name"].startswith(("client.", "resourceserver.", "signingkey."))
        )

    def credentials_of(self, namespace: str, name: str) -> tuple[str, str]:
        """Client id and secret from the Secret of a service."""
        found = self.kube.get("Secret", namespace, name)
        assert found is not None
        entries = decoded(found)
        return entries["client_id"], entries["client_secret"]

    def token_for(self, client_id: str, secret: str, audience: str) -> str:
        answer = self.post_token(client_id, secret, audience)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def post_token(self, client_id: str, secret: str, audience: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "resource": audience}
        return httpx.post(f"{self.issuer_url}/token", data=form, auth=(client_id, secret), trust_env=False)
