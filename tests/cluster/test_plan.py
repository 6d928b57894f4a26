"""`scopewright plan --cluster` on a real API server, with read-only rights."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scopewright.core.providers.static_users import STATIC_USERS_TYPE

from .installation import Installation
from .kube import Manifest
from .manifests import access_entry, identity_provider, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace, Payroll
from .processes import SCOPEWRIGHT
from .waiting import until

READER: Final = "scopewright-plan-reader"
HASH: Final = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"


def rights() -> list[Manifest]:
    """Exactly the rights in docs/plan.md."""
    text = (Path(__file__).parents[2] / "docs/plan.md").read_text()
    role = next(
        yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "ClusterRole" in part
    )
    name, group = role["metadata"]["name"], role["apiVersion"].partition("/")[0]
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": READER}],
    }
    return [role, binding]


def may_read(installation: Installation) -> bool:
    attributes = {"resource": "configmaps", "verb": "list"}
    spec = {"user": READER, "resourceAttributes": attributes}
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return bool(installation.kube.create(asked)["status"]["allowed"])


class Reviewer:
    """The manifests of a pull request, and the command that CI runs on them."""

    def __init__(self, installation: Installation, folder: Path, user: str) -> None:
        self.installation = installation
        self.folder = folder
        self.user = user

    def write(self, *manifests: Manifest) -> None:
        for number, manifest in enumerate(manifests):
            served = {**manifest, "spec": {**manifest["spec"], "issuer": self.installation.issuer_name}}
            (self.folder / f"{number}.json").write_text(json.dumps(served))

    def run(self, *flags: str, expect: int) -> "subprocess.CompletedProcess[str]":
        kubeconfig = self.installation.cluster.kubeconfig_for(self.user)
        command = [SCOPEWRIGHT, "plan", str(self.folder), "--cluster", "--kubeconfig", str(kubeconfig)]
        command += ["--namespace", self.installation.namespace, "--config", str(self.installation.config_file)]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def plan(self, *flags: str, expect: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("--output", "json", *flags, expect=expect).stdout)
        return found


@pytest.fixture
def reviewer(installation: Installation, tmp_path: Path) -> Iterator[Reviewer]:
    for right in rights():
        installation.kube.apply(right)
    until(lambda: may_read(installation))
    yield Reviewer(installation, tmp_path, READER)
    for right in rights():
        installation.kube.delete(right["kind"], "", right["metadata"]["name"])


def test_a_plan_predicts_the_result_and_writes_nothing(
    installation: Installation, make_namespace: MakeNamespace, reviewer: Reviewer
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(payroll.server, payroll.client)
    credentials = installation.credentials(payroll.client)
    installation.wait_for(payroll.client, "NotGranted", "AccessGranted")
    before = installation.settle(payroll.owner, payroll.caller)
    reviewer.write(
        *payroll.manifests, oauth_client(payroll.caller, "second", access_entry(payroll.owner, "no-api", "a"))
    )
    done = reviewer.run("--output", "json", expect=0)
    plan = json.loads(done.stdout)
    assert installation.versions(payroll.owner, payroll.caller) == before
    (gained,) = plan["access"]["gained"]
    assert gained["client"].split("/")[0] == payroll.caller
    assert [c["name"] for c in plan["credentials"]] == ["second"]
    assert [(s["name"], s["action"]) for s in plan["secrets"]] == [("second-oauth", "made")]
    assert [w["reason"] for w in plan["warnings"]] == ["NotGranted"]
    assert credentials[1] not in done.stdout
    installation.apply_and_wait(*payroll.manifests)
    until(lambda: not installation.error(*credentials))


def test_a_plan_of_applied_manifests_is_empty(
    installation: Installation, make_namespace: MakeNamespace, reviewer: Reviewer
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    installation.settle(payroll.owner, payroll.caller)
    reviewer.write(*payroll.manifests)
    plan = reviewer.plan("--prune")
    assert not any(plan[section] for section in ("refusals", "credentials", "keys", "secrets", "objects"))
    assert not any(plan["access"].values())


def test_a_plan_refuses_what_the_cluster_would_refuse(
    installation: Installation, make_namespace: MakeNamespace, reviewer: Reviewer
) -> None:
    owner = make_namespace("payroll")
    installation.kube.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "taken", "namespace": owner}, "data": {}}
    )
    client = oauth_client(owner, "caller", credentials={"secretName": "taken"})
    server = resource_server(owner, "api", "a", audience="https://elsewhere.example")
    grant = scope_grant(owner, "too-much", "api", ["b"], {"allNamespaces": True})
    reviewer.write(client, server, grant)
    refusals = {r["name"]: r["reason"] for r in reviewer.plan(expect=1)["refusals"]}
    assert refusals == {"caller": "SecretConflict", "api": "AudienceNotAllowed", "too-much": "UnknownScope"}
    installation.apply(client, server, grant)
    for manifest in (client, server, grant):
        installation.wait_for(manifest, refusals[manifest["metadata"]["name"]])


def test_a_plan_knows_the_groups_of_static_users_that_are_in_force(
    installation: Installation, reviewer: Reviewer
) -> None:
    namespace, users = installation.namespace, f"users: [{{id: ada, groups: [desk], passwordHash: '{HASH}'}}]"
    metadata = {"name": "plan-users", "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"users.yaml": users}}
    installation.kube.apply({**secret, "type": STATIC_USERS_TYPE})
    static = identity_provider(namespace, "plan-static", static={"usersRef": {"name": "plan-users"}})
    installation.apply_and_wait(static)
    upstream = {"issuerURL": "https://plan.invalid", "clientID": "a", "clientAuthentication": {"method": "None"}}
    groups = {"groups": {"claim": "groups", "allow": ["de*"]}}
    new = identity_provider(namespace, "plan-oidc", oidc=upstream, claimMappings=groups)
    reviewer.write(static, new)
    plan = reviewer.plan(expect=1)
    assert {r["name"]: r["reason"] for r in plan["refusals"]} == {"plan-oidc": "GroupsOverlap"}
    assert [each["name"] for each in plan["objects"]] == ["plan-oidc"], "the static users are as before"
    installation.apply(new)
    installation.wait_for(new, "GroupsOverlap")
    installation.delete(new, static)


def test_a_missing_right_to_read_is_named(installation: Installation, tmp_path: Path) -> None:
    stderr = Reviewer(installation, tmp_path, "scopewright-plan-without-rights").run(expect=2).stderr
    for what in ('resource "secrets"', 'resource "oauthclients"', 'resource "namespaces"'):
        assert what in stderr


def test_an_unreachable_cluster_is_an_error_and_not_a_refusal(tmp_path: Path) -> None:
    kubeconfig = {
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": {}}],
    }  # fmt: skip
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    command = [SCOPEWRIGHT, "plan", str(tmp_path), "--cluster", "--kubeconfig", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot be reached" in done.stderr
