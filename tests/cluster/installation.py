"""`Installation`: one Scopewright on a real API server, run as a platform team runs it, with exactly its rights.

    with Installation(cluster, kube, folder, "name", resync="1s") as installation:
        installation.apply_and_wait(*payroll.manifests)
        token = installation.token(*installation.credentials(payroll.client))

Processes, metrics and logs are in `processes.py`, RBAC in `rights.py`. `wait_for` and the other methods that wait for a
state say so in their docstrings.
"""

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

from scopewright.core.config import Config
from tests.controlplane import Cluster

from .kube import SCOPEWRIGHT_KINDS, Kube, Manifest
from .manifests import oauth_client
from .processes import InstallationProcesses
from .rights import rbac_manifests
from .waiting import until


class Installation(InstallationProcesses):
    """`kube` has the rights of a cluster administrator; operator and issuer have users of their own.

    `settings` is the operator's configuration file. `initial_manifests` are applied to the installation's namespace
    before the processes start, and `environment` is added to their environment. The operator serves objects whose
    `spec.issuer` is `issuer_name`. Default: `name`.
    """

    def __init__(
        self,
        cluster: Cluster,
        kube: Kube,
        folder: Path,
        name: str,
        *,
        initial_manifests: Iterable[Manifest] = (),
        issuer_name: str = "",
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.issuer_name = issuer_name or name
        settings = {"name": self.issuer_name, **settings}
        super().__init__(cluster, kube, folder, name, environment=environment, settings=settings)
        self.initial_manifests = [
            {**m, "metadata": {**m["metadata"], "namespace": self.namespace}} for m in initial_manifests
        ]

    # Installing and uninstalling

    def __enter__(self) -> "Installation":
        try:
            self.install()
            self.start_operator()
            self.start_issuer()
            self.wait_until_ready_and_leader()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.check_logs_for_secrets()
        finally:
            self.close()

    def install(self) -> None:
        """Create what the chart does: namespace, RBAC, configuration."""
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.apply_rights()
        self.config_file.write_text(json.dumps(self.settings))
        self.apply(*self.initial_manifests)

    def apply_rights(self) -> None:
        for right in self.rights():
            self.kube.apply(right)
        # These are applied last: the authorizer has then seen all.
        until(lambda: all(self.is_allowed(each, "configmaps", "watch") for each in ("operator", "issuer")))

    def close(self) -> None:
        super().close()
        with contextlib.suppress(httpx.HTTPError):
            for right in self.rights():
                self.kube.delete(right["kind"], right["metadata"].get("namespace", ""), right["metadata"]["name"])
            self.kube.delete("Namespace", "", self.namespace)

    def rights(self) -> list[Manifest]:
        config = Config(issuer=self.issuer_url, name=self.name, namespace=self.namespace)
        return rbac_manifests(config, self.user("operator"), self.user("issuer"), self.settings)

    def is_allowed(self, component: str, resource: str, verb: str) -> bool:
        """Whether the user of `operator` or `issuer` has the right, by the authorizer, which lags behind RBAC."""
        attributes = {"resource": resource, "verb": verb, "namespace": self.namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self.user(component), "resourceAttributes": attributes},
        }
        return bool(self.kube.create(review)["status"]["allowed"])

    def kubectl(self, *arguments: str, expect: int = 0) -> str:
        command = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    # Requests to the issuer

    def post_token(self, client_id: str, secret: str, **parameters: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", **parameters}
        return self._http.post(f"{self.issuer_url}/token", data=form, auth=(client_id, secret))

    def token(self, client_id: str, secret: str, **parameters: str) -> str:
        """An access token. Retries for 5 s, until the issuer has followed recent changes."""
        deadline = time.monotonic() + 5
        while (answer := self.post_token(client_id, secret, **parameters)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)
        return str(answer.json()["access_token"])

    def error(self, client_id: str, secret: str, **parameters: str) -> str:
        """The OAuth error code of a token request; "" if a token was issued."""
        answer = self.post_token(client_id, secret, **parameters)
        return "" if answer.status_code == 200 else str(answer.json()["error"])

    def accepts(self, client_id: str, secret: str) -> bool:
        """Whether the issuer accepts the credential, whatever is granted."""
        error = self.error(client_id, secret, resource="https://nowhere.example")
        assert error in ("invalid_target", "invalid_client"), error
        return error == "invalid_target"

    def jwks(self) -> list[str]:
        """The key ids in the JWKS that the issuer serves."""
        return [key["kid"] for key in self._http.get(f"{self.issuer_url}/jwks.json").json()["keys"]]

    # Declared objects

    def apply(self, *manifests: Manifest) -> None:
        """Apply with `spec.issuer` of this installation, without waiting."""
        for manifest in manifests:
            served = manifest["kind"] in SCOPEWRIGHT_KINDS
            issuer = {"issuer": self.issuer_name}
            self.kube.apply({**manifest, "spec": {**manifest["spec"], **issuer}} if served else manifest)

    def apply_and_wait(self, *manifests: Manifest) -> None:
        """Apply, and wait until each is Ready."""
        self.apply(*manifests)
        self.wait_until_ready(*manifests)

    def annotate(self, manifest: Manifest, **annotations: str | None) -> None:
        """Set annotations `scopewright.dev/<name>`; None removes one."""
        meta = manifest["metadata"]
        change = {
            "metadata": {"annotations": {f"scopewright.dev/{name}": value for name, value in annotations.items()}}
        }
        self.kube.patch(manifest["kind"], meta["namespace"], meta["name"], change)

    def delete(self, *manifests: Manifest) -> None:
        for m in manifests:
            self.kube.delete(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"])

    def make_namespace(self, name: str) -> str:
        """Create a namespace that stays until the control plane stops."""
        made = f"{name}-{self.name}"
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}})
        return made

    def make_audience_namespace(self) -> str:
        """Create the namespace that may have audiences under https://hr.example/apis by the configuration."""
        name = str(self.settings["audiences"][0]["namespaces"][0])
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def read(self, manifest: Manifest) -> Manifest:
        meta = manifest["metadata"]
        found = self.kube.get(manifest["kind"], meta["namespace"], meta["name"])
        assert found is not None, f"{manifest['kind']} {meta['namespace']}/{meta['name']} does not exist"
        return found

    def status(self, manifest: Manifest) -> dict[str, Any]:
        status: dict[str, Any] = self.read(manifest).get("status") or {}
        return status

    def condition(self, manifest: Manifest, kind: str = "Ready") -> dict[str, Any]:
        """The condition of this type; empty strings if it is missing or of an older generation."""
        found = self.read(manifest)
        for condition in found.get("status", {}).get("conditions", ()):
            current = condition.get("observedGeneration") == found["metadata"]["generation"]
            if condition["type"] == kind and current:
                return dict(condition)
        return {"status": "", "reason": "", "message": ""}

    def wait_for(self, manifest: Manifest, reason: str, kind: str = "Ready", seconds: float = 60) -> dict[str, Any]:
        """Wait until the condition has this reason; returns the condition."""

        def look() -> dict[str, Any] | None:
            condition = self.condition(manifest, kind)
            return condition if condition["reason"] == reason else None

        return until(look, lambda: self.condition(manifest, kind), seconds)

    def wait_for_message(self, manifest: Manifest, kind: str, message: str) -> None:
        until(lambda: self.condition(manifest, kind)["message"] == message, lambda: self.condition(manifest, kind))

    def wait_until_ready(self, *manifests: Manifest, seconds: float = 60) -> None:
        for manifest in manifests:
            until(
                lambda m=manifest: self.condition(m)["status"] == "True",  # type: ignore[misc]
                lambda m=manifest: f"{m['kind']} {m['metadata']['name']}: {self.read(m).get('status')}",  # type: ignore[misc]
                seconds,
            )

    # Secrets and records

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Wait until the Secret exists; returns its entries."""
        found = until(lambda: self.kube.get("Secret", namespace, name))
        return decoded(found)

    def credentials(self, client: Manifest, secret_name: str = "") -> tuple[str, str]:
        """Client id and secret, as a service reads them from its Secret."""
        meta = client["metadata"]
        entries = self.secret(meta["namespace"], secret_name or f"{meta['name']}-oauth")
        self._secrets.add(entries["client_secret"])
        return entries["client_id"], entries["client_secret"]

    def provisioned_client(self, namespace: str, **spec: Any) -> tuple[Manifest, str, str]:
        """Apply the OAuthClient `worker` and wait until it is Ready; returns it with its client id and secret."""
        client = oauth_client(namespace, "worker", **spec)
        self.apply_and_wait(client)
        return client, *self.credentials(client)

    def new_credentials(self, client: Manifest, *earlier: str) -> tuple[str, str]:
        """Wait until the Secret holds another secret than the earlier ones; returns client id and secret."""
        meta = client["metadata"]

        def look() -> tuple[str, str] | None:
            if self.kube.get("Secret", meta["namespace"], f"{meta['name']}-oauth") is None:
                return None
            found = self.credentials(client)
            return found if found[1] not in earlier else None

        return until(look, lambda: self.status(client))

    def client_record(self, client: Manifest) -> Manifest | None:
        """The Secret that is the client record."""
        return self.kube.get("Secret", self.namespace, self.client_record_name(client))

    @staticmethod
    def client_record_name(client: Manifest) -> str:
        return f"client.{client['metadata']['namespace']}.{client['metadata']['name']}"

    def versions(self, *namespaces: str) -> dict[str, str]:
        """The resourceVersion of each declared object, Secret and ConfigMap, also in the installation's namespace."""
        return {
            f"{kind} {item['metadata']['namespace']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for namespace in (self.namespace, *namespaces)
            for kind in (*SCOPEWRIGHT_KINDS, "Secret", "ConfigMap")
            for item in self.kube.list(kind, namespace)
        }

    def settle(self, *namespaces: str) -> dict[str, str]:
        """Wait until nothing is written for two resyncs; returns the versions."""

        def look() -> dict[str, str] | None:
            before = self.versions(*namespaces)
            self.wait_two_resyncs()
            return before if self.versions(*namespaces) == before else None

        return until(look, seconds=90)


def decoded(secret: Manifest) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in (secret.get("data") or {}).items()}


def encoded(entries: dict[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in entries.items()}


Install = Callable[..., Installation]
"""install("name", resync="1s", …) starts another installation, which ends with the test module."""
