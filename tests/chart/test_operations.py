"""The commands of docs/operations.md, run unchanged on a release in use, including loss and restore."""

import base64
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from scopewright.core.objects import SEAL_ANNOTATION
from scopewright.core.records.names import identity_provider_record_name
from tests.cluster.kube import Kube
from tests.cluster.manifests import manifest
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane
from tests.debian import program

from .cases import GATEWAY
from .helm import CHART, NAMESPACE, helm_program
from .test_upgrade import NAMESPACES, UpgradedRelease

ROOT: Final = CHART.parents[1]
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
NEED_PODS: Final = ("rollout status", "port-forward", "--wait", " exec ")


def commands() -> list[tuple[str, str]]:
    """Every block of commands, with its heading."""
    heading, found = "", []
    for match in re.finditer(r"^## ([^\n]+)$|^( *)```sh\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        elif not any(words in match[3] for words in NEED_PODS):
            found.append((heading, re.sub(rf"^{match[2]}", "", match[3], flags=re.MULTILINE)))
    return found


class RunBooks:
    """The run-books, with a release to run them on."""

    def __init__(self, release: UpgradedRelease, folder: Path) -> None:
        self.release = release
        self.folder = folder
        self.left = commands()
        programs = folder / "bin"
        programs.mkdir()
        for name, path in (
            ("helm", helm_program()),
            ("kubectl", Path(release.plane.kubectl)),
            *((name, Path(program(name, package=name))) for name in ("curl", "jq")),
        ):
            (programs / name).symlink_to(path)
        for name in ("charts", "crds", "examples"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "values.yaml").write_text(json.dumps(release.values))
        self._environment = {
            "PATH": f"{programs}:{os.defpath}",
            "HOME": str(folder),
            "KUBECONFIG": str(release.plane.kubeconfig),
            "ISSUER": release.issuer_url,
            "HELD": "3",
            "TENANT": "leave",
            "FORMER": "leave",
        }

    def run(self, heading: str, *, words: str = "") -> str:
        """Run the next block below that heading that contains these words; returns its output."""
        text = self.take(heading, words)
        done = self.done(text)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def take(self, heading: str, words: str = "") -> str:
        block = next(each for each in self.left if each[0] == heading and words in each[1])
        self.left.remove(block)
        return block[1]

    def done(self, text: str) -> "subprocess.CompletedProcess[str]":
        command = ["/bin/bash", "-euo", "pipefail", "-c", text]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture(scope="module")
def books(plane: ControlPlane, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunBooks]:
    """Installed, with the HR example. Each test of this module continues in the state that the previous one left."""
    with contextlib.closing(UpgradedRelease(plane, kube, tmp_path_factory.mktemp("operated"))) as release:
        release.install()
        plane.restart_controllers()
        release.start()
        release.hr = release.apply_hr()
        release.wait_until_ready()
        release.first_token()
        yield RunBooks(release, tmp_path_factory.mktemp("books"))


def test_the_health_commands_report_a_healthy_release(books: RunBooks) -> None:
    first, not_ready, token = (books.run("Health checks") for _ in range(3))
    assert "oauthclient.scopewright.dev/leave-service" in first
    assert books.release.issuer_url in first
    assert not_ready == ""
    assert token == "employee.read\n"


def test_the_upgrade_and_rollback_commands_work(books: RunBooks) -> None:
    counted = [line.split() for line in books.run("Upgrade", words="utf8bytelength").splitlines()]
    assert {kind for namespace, kind, _, _ in counted if namespace == "leave"} >= {"oauthclients", "resourceservers"}
    assert all(int(count) > 0 and int(size) > 2 for *_, count, size in counted)
    assert "has been upgraded" in books.run("Upgrade")
    assert "Rollback was a success" in books.run("Upgrade")


def test_the_commands_after_a_leak_work(books: RunBooks) -> None:
    assert "issueTime" in books.run("Leaked client secret")
    output = books.run("Leaked signing key", words="jwks.json")
    assert all(kid in output for kid in books.release.public_keys())


def test_the_commands_for_a_gateway_that_is_not_ready_show_its_rights_and_records(books: RunBooks) -> None:
    books.release.upgrade(**GATEWAY)
    try:
        allowed, *records = books.run("Gateway not ready").splitlines()
        assert allowed == "yes"
        assert any(line.startswith("resourceserver.employee.") for line in records), records
    finally:
        books.release.upgrade(gateway={"enabled": False})


def test_a_pod_whose_issuer_is_not_ready_is_named(books: RunBooks) -> None:
    """Among a ready Pod, one without an issuer, and one without a status."""
    kube = books.release.kube
    deployed = kube.get("Deployment", NAMESPACE, "scopewright-operator")
    assert deployed is not None
    template = deployed["spec"]["template"]
    states = {"ready": True, "stuck": False, "unscheduled": None, "without-issuer": False}
    for name, ready in states.items():
        containers = [c for c in template["spec"]["containers"] if c["name"] != "issuer" or name != "without-issuer"]
        meta = {"name": name, "namespace": NAMESPACE, "labels": template["metadata"]["labels"]}
        spec = {**template["spec"], "containers": containers}
        kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        if ready is not None:
            statuses = [
                {"name": c["name"], "ready": ready, "image": "", "imageID": "", "restartCount": 0} for c in containers
            ]
            change = json.dumps({"status": {"containerStatuses": statuses}})
            where = ("pod", name, "--namespace", NAMESPACE)
            books.release.kubectl("patch", *where, "--subresource=status", "--type=merge", "--patch", change)
    try:
        named = books.run("Issuer not ready", words="containerStatuses").split()
        assert set(named) & set(states) == {"stuck", "unscheduled"}
    finally:
        for name in states:
            books.release.kubectl("delete", "pod", name, "--namespace", NAMESPACE, "--grace-period=0", "--force")


def test_the_commands_show_what_an_issuer_waits_for(books: RunBooks) -> None:
    output = books.run("Issuer not ready")
    assert "scopewright-jwks" in output
    assert output.endswith("yes\n")


def test_the_commands_heal_an_edited_secret(books: RunBooks) -> None:
    assert "scopewright" in books.run("Secret edited repeatedly")
    before = books.release.kube.get("Secret", "leave", "leave-service-oauth")
    books.run("Secret edited repeatedly")
    after = until(lambda: books.release.kube.get("Secret", "leave", "leave-service-oauth"))
    assert before is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    books.release.wait_until_ready()


def test_the_lease_names_the_leader(books: RunBooks) -> None:
    holder, renewed = books.run("No leader").split()
    assert holder
    assert renewed


def test_lost_rights_are_restored_by_an_upgrade(books: RunBooks) -> None:
    books.release.kube.delete("ClusterRoleBinding", "", "scopewright-operator")
    until(lambda: "a right is missing" in books.release.logs(), books.release.logs)
    books.run("Missing permission", words="helm")
    asking = books.take("Missing permission", words="-A")
    # The authorizer may lag behind.
    until(lambda: books.done(asking).stdout == "yes\n", books.release.logs)


def test_rights_in_some_namespaces_are_checked_by_name(books: RunBooks) -> None:
    release = books.release
    release.stop()
    release.upgrade(watchNamespaces=["employee", "leave"])
    everywhere = next(
        text for heading, text in commands() if heading == "Missing permission" and "list secrets -A" in text
    )
    until(lambda: books.done(everywhere).stdout == "no\n")
    asking = books.take("Missing permission", words="watchNamespaces")
    until(lambda: books.done(asking).stdout == "yes\n" * 3)
    release.upgrade(watchNamespaces=[])
    until(lambda: books.done(everywhere).stdout == "yes\n")
    release.start()


def test_a_left_over_name_claim_is_found_and_deleted(books: RunBooks) -> None:
    """A Lease in another namespace. For a running operator see tests/unit/controller/test_lease.py."""
    meta = {"name": "scopewright-operator", "namespace": "leave"}
    kube = books.release.kube
    kube.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}})
    found = books.run("Two installations with one name", words="jq").splitlines()
    assert sum(line.startswith(f"default: {NAMESPACE}, renewed 2") for line in found) == 1
    assert len(found) == 2
    books.run("Two installations with one name", words="delete lease")
    assert kube.get("Lease", "leave", "scopewright-operator") is None


def test_the_commands_allow_the_deletion_of_orphans(books: RunBooks) -> None:
    """The number of deletions is tested in tests/cluster/test_deletion_guard.py."""
    assert not books.run("Many orphaned records", words="orphanedTime"), "no orphan is kept"
    books.run("Many orphaned records")
    found = books.release.kube.get("ConfigMap", NAMESPACE, "scopewright-issuer")
    assert found is not None
    assert found["metadata"]["annotations"]["scopewright.dev/allow-orphans"] == "leave=3"


def test_a_new_seal_key_reseals_secrets_and_changes_no_credential(books: RunBooks) -> None:
    """Without a restart: issuers must not be stopped during an emergency."""
    release = books.release
    credentials, sealed, key = release.credentials(), seals(release), seal_key(release)
    books.run("Leaked signing key", words="scopewright-seal")
    until(lambda: len(seals(release) - sealed) == len(sealed), release.logs)
    assert not seals(release) & sealed
    assert release.credentials() == credentials
    assert release.token()
    assert seal_key(release) != key


def seal_key(release: UpgradedRelease) -> str:
    found = release.kube.get("Secret", NAMESPACE, "scopewright-seal")
    assert found is not None
    return str(found["data"]["key"])


def seals(release: UpgradedRelease) -> set[str]:
    found = [secret for name in NAMESPACES for secret in release.kube.list("Secret", name)]
    return {a[SEAL_ANNOTATION] for s in found if SEAL_ANNOTATION in (a := s["metadata"].get("annotations", {}))}


def test_everything_is_restored_from_a_backup_without_new_credentials(books: RunBooks) -> None:
    release = books.release
    issued = release.token()
    credentials, keys = release.credentials(), release.public_keys()
    books.run("Restore or move to another cluster", words="paused=true")
    books.run("Backup")
    release.stop()
    books.run("Uninstall", words="helm")
    books.run("Uninstall", words="delete")
    for name in NAMESPACES:
        release.kube.delete("Namespace", "", name)
    until(lambda: not [name for name in NAMESPACES if release.kube.get("Namespace", "", name)])
    assert release.kube.get("CustomResourceDefinition", "", "oauthclients.scopewright.dev") is None
    books.run("Restore or move to another cluster", words="helm install")
    release.plane.restart_controllers()
    release.forget_accounts()
    release.start()
    books.run("Restore or move to another cluster", words="paused-")
    release.wait_until_ready()
    # The issuer follows changes within seconds.
    assert release.first_token()
    assert release.is_valid(issued)
    assert (release.credentials(), release.public_keys()) == (credentials, keys)


def test_the_commands_end_all_logins(books: RunBooks) -> None:
    """Of each provider."""
    kube, names = books.release.kube, ("company", "partner")
    for name in names:
        oidc = {"issuerURL": f"https://{name}.example", "clientID": "x", "clientAuthentication": {"method": "None"}}
        kube.create(manifest("IdentityProvider", NAMESPACE, name, {"oidc": oidc}))
    books.run("Restored session store")
    declared = {
        name: at["spec"]["revokedBefore"] for name in names if (at := kube.get("IdentityProvider", NAMESPACE, name))
    }
    until(lambda: {name: time_in_force(books.release, name) for name in names} == declared, books.release.logs)
    for name in names:
        kube.delete("IdentityProvider", NAMESPACE, name)


def time_in_force(release: UpgradedRelease, provider: str) -> str | None:
    found = release.kube.get("Secret", NAMESPACE, identity_provider_record_name(provider))
    record = json.loads(base64.b64decode(found["data"]["record.json"])) if found else {}
    time: str | None = record.get("revokedBefore")
    return time


def test_every_command_of_the_page_was_run(books: RunBooks) -> None:
    assert books.left == []
    release = books.release
    release.remove(NAMESPACES)
