"""One Scopewright, as a platform team runs it: the operator's process and the issuer's, with just their rights."""

import base64
import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from scopewright.controller.preflight import claims_right, rights
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.records.names import WRITTEN_BY_ISSUERS
from tests.controlplane import Cluster
from tests.controlplane.processes import Child
from tests.ports import free_port

from .kube import OUR_KINDS, Kube, Manifest
from .waiting import until

SCOPEWRIGHT: Final = str(Path(sys.executable).with_name("scopewright"))
_RBAC: Final = "rbac.authorization.k8s.io"
# Nothing private is ever in a log: not a PEM, not a token, nor a secret that a test has seen.
_PRIVATE: Final = re.compile(r"PRIVATE KEY|eyJ[A-Za-z0-9_-]{20,}")


class Process(Child):
    """`scopewright …`, with what it says in a file; of other `code` than ours, where that is named."""

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        code: Path | None = None,
    ) -> None:
        given = {**(environment or {}), **({"PYTHONPATH": str(code)} if code else {})}
        super().__init__([SCOPEWRIGHT, *arguments], log=log, cwd=log.parent, environment=given)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, seconds: float = 60) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {seconds:.0f} s") from None


class Installation:
    """`installation.kube` is a cluster administrator's, as a test is; operator and issuer have users of their own.

    `settings` is the operator's configuration file; `first` is applied, into the installation's namespace, before
    anything is started. `environment` is what its processes have beside what they must. It `serves` the objects
    whose `spec.issuer` is this; left out, its name.
    """

    def __init__(
        self,
        cluster: Cluster,
        kube: Kube,
        folder: Path,
        name: str,
        *,
        first: Iterable[Manifest] = (),
        serves: str = "",
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.cluster = cluster
        self.kube = kube
        self.name = name
        self.namespace = f"scopewright-{name}"
        self.first = [{**m, "metadata": {**m["metadata"], "namespace": self.namespace}} for m in first]
        self.issuer_url = f"http://127.0.0.1:{free_port()}"
        self.issuer_metrics_url = f"http://127.0.0.1:{free_port()}"
        self.health_url = f"http://127.0.0.1:{free_port()}"
        self.serves = serves or name
        self.settings = {"name": self.serves, "resync": "1s", **settings}
        self.folder = folder
        self.environment = environment
        self.operator: Process | None = None
        self.issuer: Process | None = None
        self.kopf_may_fail = False
        """Then its tracebacks are nothing to complain of."""
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._secrets: set[str] = set()
        self._serial = itertools.count()

    # Putting it up and taking it down

    def __enter__(self) -> "Installation":
        try:
            self.install()
            self.start_operator()
            self.start_issuer()
            self.wait_until_serving()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.look_for_leaks()
        finally:
            self.close()

    def install(self) -> None:
        """Namespace, rights, configuration: what the chart brings."""
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.restore_rights()
        self.config_file.write_text(json.dumps(self.settings))
        self.apply(*self.first)

    def restore_rights(self) -> None:
        for right in self.rights():
            self.kube.apply(right)
        # What is granted last: the authorizer has then seen all of it.
        until(lambda: all(self.may(who, "configmaps", "watch") for who in ("operator", "issuer")))

    def close(self) -> None:
        for process in (self.operator, self.issuer):
            if process is not None:
                process.kill()
        self._http.close()
        with contextlib.suppress(httpx.HTTPError):
            for right in self.rights():
                self.kube.delete(right["kind"], right["metadata"].get("namespace", ""), right["metadata"]["name"])
            self.kube.delete("Namespace", "", self.namespace)

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    def user(self, who: str) -> str:
        return f"scopewright-{who}-{self.name}"

    def rights(self) -> list[Manifest]:
        """Exactly those that the operator says it needs; the issuer reads its namespace and updates two objects."""
        needed = rights(Config(issuer=self.issuer_url, name=self.name, namespace=self.namespace))
        everywhere = [_rule(group, resource, verb) for group, resource, verb, where in needed if not where]
        everywhere.append({**_rule(*claims_right()[:3]), "resourceNames": [LEASE_NAME]})
        own = [_rule(group, resource, verb) for group, resource, verb, where in needed if where]
        reporting = {**_rule("", "configmaps", "update"), "resourceNames": [*WRITTEN_BY_ISSUERS]}
        reading = [_rule("", kind, verb) for kind in ("secrets", "configmaps") for verb in ("get", "list", "watch")]
        operator, issuer = self.user("operator"), self.user("issuer")
        reviews = any(cluster.get("tokenReview") for cluster in self.settings.get("clusters", ()))
        reviewing = [_rule("authentication.k8s.io", "tokenreviews", "create")] if reviews else []
        return [
            *_granted("ClusterRole", operator, "", operator, everywhere),
            *_granted("Role", "operator", self.namespace, operator, own),
            *_granted("Role", "issuer", self.namespace, issuer, [*reading, reporting]),
            *_granted("ClusterRole", issuer, "", issuer, reviewing),
        ]

    def may(self, who: str, resource: str, verb: str) -> bool:
        """As the authorizer has it, which may be a moment behind."""
        attributes = {"resource": resource, "verb": verb, "namespace": self.namespace}
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self.user(who), "resourceAttributes": attributes},
        }
        return bool(self.kube.create(asked)["status"]["allowed"])

    # The operator

    def operator_arguments(self) -> list[str]:
        return [
            "operator",
            *("--issuer-url", self.issuer_url, "--namespace", self.namespace),
            *("--config", str(self.config_file)),
        ]

    def start_operator(self) -> Process:
        assert self.operator is None or not self.operator.alive()
        self.operator = self.another_operator(self.health_url, "operator")
        return self.operator

    def another_operator(self, health_url: str, name: str) -> Process:
        """A replica; its end is the caller's business."""
        arguments = [*self.operator_arguments(), "--listen", health_url.removeprefix("http://")]
        return self.run(arguments, self.user("operator"), name)

    def wait_until_it_leads_again(self) -> None:
        """Started again where it has ended, as the kubelet would."""

        def look() -> bool:
            if not self.operator_lives():
                self.start_operator()
            return self.leads()

        until(look, lambda: self.logs(), seconds=90)

    def operator_lives(self) -> bool:
        return self.operator is not None and self.operator.alive()

    def kill_operator(self) -> None:
        """SIGKILL. The Lease stays behind, as in life."""
        assert self.operator is not None
        self.operator.kill()

    def forget_lease(self) -> None:
        """The next operator need not wait until the Lease of one that is dead for certain has ended."""
        self.kube.delete("Lease", self.namespace, LEASE_NAME)

    def stop_operator(self) -> int:
        """SIGTERM; the exit code."""
        assert self.operator is not None
        self.operator.terminate()
        return self.operator.exit_code()

    def leads(self, health_url: str = "") -> bool:
        return self.metric("scopewright_leader", health_url) == 1

    def metric(self, name: str, health_url: str = "") -> float | None:
        try:
            text = self._http.get(f"{health_url or self.health_url}/metrics").text
        except httpx.HTTPError:
            return None
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def rounds(self) -> None:
        """As long as two full comparisons take: nothing tells when one was made, and it is quiet if all is well."""
        time.sleep(2 * float(str(self.settings["resync"]).removesuffix("s")) + 0.5)

    # The issuer

    def start_issuer(self, *more: str) -> Process:
        arguments = [
            "issuer",
            "--namespace",
            self.namespace,
            "--listen",
            self.issuer_url.removeprefix("http://"),
            "--metrics-listen",
            self.issuer_metrics_url.removeprefix("http://"),
            "--usage-every",
            "0.5",
            *more,
        ]
        # As every ServiceAccount is: they may read the keys of their cluster's ServiceAccount tokens.
        self.issuer = self.run(arguments, self.user("issuer"), "issuer", "system:serviceaccounts")
        return self.issuer

    def wait_until_serving(self) -> None:
        def serving() -> bool:
            for process in (self.operator, self.issuer):
                assert process is not None
                process.check()
            return self.answers_at(self.health_url) and self.answers_at(self.issuer_url)

        until(serving, lambda: self.logs())
        until(self.leads, lambda: self.logs())

    def ready(self) -> str:
        """What the operator says of its readiness: `ok`, what is wrong, or nothing where it does not answer."""
        try:
            return self._http.get(f"{self.health_url}/readyz").text
        except httpx.HTTPError:
            return ""

    def answers_at(self, url: str, path: str = "/readyz") -> bool:
        try:
            return self._http.get(f"{url}{path}").status_code == 200
        except httpx.HTTPError:
            return False

    def post_token(self, client_id: str, secret: str, **parameters: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", **parameters}
        return self._http.post(f"{self.issuer_url}/token", data=form, auth=(client_id, secret))

    def token(self, client_id: str, secret: str, **parameters: str) -> str:
        """An access token, once the issuer has followed what was declared a moment ago."""
        deadline = time.monotonic() + 5
        while (answer := self.post_token(client_id, secret, **parameters)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)
        return str(answer.json()["access_token"])

    def error(self, client_id: str, secret: str, **parameters: str) -> str:
        """The error code of a refusal; "" where a token was issued."""
        answer = self.post_token(client_id, secret, **parameters)
        return "" if answer.status_code == 200 else str(answer.json()["error"])

    def accepts(self, client_id: str, secret: str) -> bool:
        """Whether the credential is good, whatever is granted."""
        error = self.error(client_id, secret, resource="https://nowhere.example")
        assert error in ("invalid_target", "invalid_client"), error
        return error == "invalid_target"

    def jwks(self) -> list[str]:
        """The kids that are served."""
        return [key["kid"] for key in self._http.get(f"{self.issuer_url}/jwks.json").json()["keys"]]

    # What is declared, and what comes of it

    def apply(self, *manifests: Manifest) -> None:
        """Manifests, as ours: `spec.issuer` names this installation."""
        for manifest in manifests:
            ours = manifest["kind"] in OUR_KINDS
            self.kube.apply({**manifest, "spec": {**manifest["spec"], "issuer": self.serves}} if ours else manifest)

    def favoured(self) -> str:
        """The namespace that the platform gives the audiences under hr.example/apis."""
        name = str(self.settings["audiences"][0]["namespaces"][0])
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def make_namespace(self, name: str) -> str:
        """One that goes with the control plane, not with the test."""
        made = f"{name}-{self.name}"
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}})
        return made

    def delete(self, *manifests: Manifest) -> None:
        for m in manifests:
            self.kube.delete(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"])

    def read(self, manifest: Manifest) -> Manifest:
        meta = manifest["metadata"]
        found = self.kube.get(manifest["kind"], meta["namespace"], meta["name"])
        assert found is not None, f"{manifest['kind']} {meta['namespace']}/{meta['name']} is not there"
        return found

    def status(self, manifest: Manifest) -> dict[str, Any]:
        status: dict[str, Any] = self.read(manifest).get("status") or {}
        return status

    def condition(self, manifest: Manifest, kind: str = "Ready") -> dict[str, Any]:
        """The condition of this type, if it speaks of the generation that there is; else one that says nothing."""
        found = self.read(manifest)
        for condition in found.get("status", {}).get("conditions", ()):
            current = condition.get("observedGeneration") == found["metadata"]["generation"]
            if condition["type"] == kind and current:
                return dict(condition)
        return {"status": "", "reason": "", "message": ""}

    def wait_for(self, manifest: Manifest, reason: str, kind: str = "Ready", seconds: float = 60) -> dict[str, Any]:
        """The condition once its reason is this."""

        def look() -> dict[str, Any] | None:
            condition = self.condition(manifest, kind)
            return condition if condition["reason"] == reason else None

        return until(look, lambda: self.condition(manifest, kind), seconds)

    def until_message(self, manifest: Manifest, kind: str, message: str) -> None:
        until(lambda: self.condition(manifest, kind)["message"] == message, lambda: self.condition(manifest, kind))

    def wait_until_ready(self, *manifests: Manifest, seconds: float = 60) -> None:
        for manifest in manifests:
            until(
                lambda m=manifest: self.condition(m)["status"] == "True",  # type: ignore[misc]
                lambda m=manifest: f"{m['kind']} {m['metadata']['name']}: {self.read(m).get('status')}",  # type: ignore[misc]
                seconds,
            )

    def have(self, *manifests: Manifest) -> None:
        """Apply, and wait until every one is Ready."""
        self.apply(*manifests)
        self.wait_until_ready(*manifests)

    def kubectl(self, *arguments: str, expect: int = 0) -> str:
        command = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """The entries of a Secret, once it is there."""
        found = until(lambda: self.kube.get("Secret", namespace, name))
        return decoded(found)

    def credentials(self, client: Manifest, secret_name: str = "") -> tuple[str, str]:
        """Client id and secret, as a service reads them from its Secret."""
        meta = client["metadata"]
        entries = self.secret(meta["namespace"], secret_name or f"{meta['name']}-oauth")
        self._secrets.add(entries["client_secret"])
        return entries["client_id"], entries["client_secret"]

    def new_credentials(self, client: Manifest, *other_than: str) -> tuple[str, str]:
        """The same once the secret is none of these."""
        meta = client["metadata"]

        def look() -> tuple[str, str] | None:
            if self.kube.get("Secret", meta["namespace"], f"{meta['name']}-oauth") is None:
                return None
            found = self.credentials(client)
            return found if found[1] not in other_than else None

        return until(look, lambda: self.status(client))

    def record(self, client: Manifest) -> Manifest | None:
        """The record of an OAuthClient, as the object it is."""
        return self.kube.get("Secret", self.namespace, self.record_name(client))

    @staticmethod
    def record_name(client: Manifest) -> str:
        return f"client.{client['metadata']['namespace']}.{client['metadata']['name']}"

    def versions(self, *namespaces: str) -> dict[str, str]:
        """The resourceVersion of everything declared and everything made, here and in the installation's namespace."""
        return {
            f"{kind} {item['metadata']['namespace']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for namespace in (self.namespace, *namespaces)
            for kind in (*OUR_KINDS, "Secret", "ConfigMap")
            for item in self.kube.list(kind, namespace)
        }

    def settled(self, *namespaces: str) -> dict[str, str]:
        """The versions once they stay as they are for longer than two comparisons take."""

        def look() -> dict[str, str] | None:
            before = self.versions(*namespaces)
            self.rounds()
            return before if self.versions(*namespaces) == before else None

        return until(look, seconds=90)

    # What they said

    def log(self, who: str = "operator") -> str:
        return "".join(log.read_text(errors="replace") for log in sorted(self.folder.glob(f"{who}*.log")))

    def logs(self, lines: int = 40) -> str:
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
            for log in sorted(self.folder.glob("*.log"))
        )

    def look_for_leaks(self) -> None:
        for log in self.folder.glob("*.log"):
            said = log.read_text(errors="replace")
            assert not _PRIVATE.search(said), f"{log.name} holds what is private"
            assert not any(secret in said for secret in self._secrets), f"{log.name} holds a client secret"
            if not self.kopf_may_fail:
                assert "Traceback (most recent call last)" not in said, f"{log.name}: {traceback_in(said)}"

    def run(self, arguments: list[str], user: str, name: str, *groups: str) -> Process:
        kubeconfig = self.cluster.kubeconfig_for(user, *groups)
        log = self.folder / f"{name}-{next(self._serial):03}.log"
        return Process([*arguments, "--kubeconfig", str(kubeconfig)], log, self.environment)


def decoded(secret: Manifest) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in (secret.get("data") or {}).items()}


def encoded(entries: dict[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in entries.items()}


def traceback_in(log: str) -> str:
    return log[log.index("Traceback (most recent call last)") - 300 :][:3000]


def _rule(group: str, resource: str, verb: str) -> Manifest:
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb]}


def _granted(kind: str, name: str, namespace: str, user: str, rules: Iterable[Manifest]) -> Iterator[Manifest]:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": meta, "rules": list(rules)}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }


Install = Callable[..., Installation]
"""install("name", resync="1s", …) puts up one more installation, which goes with the test or module that asked."""
