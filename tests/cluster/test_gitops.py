"""kubectl, Argo CD and Flux: manifests of Git are applied once, report when they are done, and show no diff."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scopewright.core.objects import PAUSED_ANNOTATION

from .gitops import argocd, flux
from .installation import Install, Installation
from .kstatus import kstatus
from .kube import SCOPEWRIGHT_KINDS, Manifest
from .manifests import identity_provider, oauth_client, resource_server, scope_grant, signing_key
from .payroll import MakeNamespace, Payroll
from .waiting import until

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = str(ROOT / "examples" / "hr" / "manifests")
NAMESPACES = ("employee", "payroll", "leave", "staff")
USERS = {"usersRef": {"name": "company-users"}}
KINDS = ",".join(f"{kind.lower()}s.scopewright.dev" for kind in SCOPEWRIGHT_KINDS)


@pytest.fixture(scope="module")
def hr(install: Install) -> Iterator[Installation]:
    """The HR system, applied as its README says, on an installation that serves `spec.issuer: default`."""
    installation = install("hr", issuer_name="default")
    installation.kubectl("apply", "--server-side", "--filename", MANIFESTS)
    yield installation
    installation.kubectl("delete", "--wait=false", "--ignore-not-found", "--filename", MANIFESTS)


def declared(installation: Installation) -> list[Manifest]:
    found = [obj for kind in SCOPEWRIGHT_KINDS for space in NAMESPACES for obj in installation.kube.list(kind, space)]
    assert len(found) >= 10
    return found


def everything(installation: Installation) -> dict[str, str]:
    return installation.versions(*NAMESPACES)


def test_every_object_becomes_ready_and_kubectl_can_wait_for_it(hr: Installation) -> None:
    for namespace in (*NAMESPACES, hr.namespace):
        if any(hr.kube.list(kind, namespace) for kind in SCOPEWRIGHT_KINDS):
            hr.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "--namespace", namespace, "--all", KINDS)
    assert all(ready(obj) for obj in declared(hr))


def ready(obj: Manifest) -> bool:
    found = {c["type"]: c for c in obj["status"]["conditions"]}
    observed = {found["Ready"]["observedGeneration"], obj["status"]["observedGeneration"]}
    return found["Ready"]["status"] == "True" and observed == {obj["metadata"]["generation"]}


def test_a_second_apply_and_a_second_reconcile_write_nothing(hr: Installation) -> None:
    before = hr.settle(*NAMESPACES)
    hr.kubectl("apply", "--server-side", "--filename", MANIFESTS)
    hr.wait_two_resyncs()
    assert everything(hr) == before


def test_a_restarted_operator_writes_nothing(hr: Installation) -> None:
    before = hr.settle(*NAMESPACES)
    assert hr.stop_operator() == 0
    hr.start_operator()
    hr.wait_until_ready_and_leader()
    hr.wait_two_resyncs()
    assert everything(hr) == before


def test_kubectl_diff_is_empty(hr: Installation) -> None:
    hr.settle(*NAMESPACES)
    assert hr.kubectl("diff", "--server-side", "--filename", MANIFESTS) == ""


def test_nothing_but_the_status_is_written_to_users_objects(hr: Installation) -> None:
    hr.settle(*NAMESPACES)
    for obj in declared(hr):
        meta = obj["metadata"]
        assert not meta.keys() & {"annotations", "finalizers", "labels", "ownerReferences"}, meta
        operators = [m for m in meta["managedFields"] if m["manager"] != "kubectl"]
        assert all(m.get("subresource") == "status" for m in operators), operators
        assert all(list(m["fieldsV1"]) == ["f:status"] for m in operators), operators


def test_created_objects_have_scopewrights_label_and_no_tracking_label(hr: Installation) -> None:
    for namespace in (*NAMESPACES, hr.namespace):
        for kind in ("Secret", "ConfigMap"):
            for made in hr.kube.list(kind, namespace):
                labels = made["metadata"].get("labels", {})
                if made["metadata"]["name"] != "kube-root-ca.crt":
                    assert labels["app.kubernetes.io/managed-by"] == "scopewright"
                    assert not made["metadata"].get("finalizers")


def test_kubectl_shows_ready_first_and_lists_them_all_by_category(hr: Installation) -> None:
    hr.kube.apply(identity_provider(hr.namespace, "company", static=USERS))
    shown = hr.kubectl("get", "oauth", "--all-namespaces")
    hr.kube.delete("IdentityProvider", hr.namespace, "company")
    assert all(f"{kind.lower()}.scopewright.dev/" in shown for kind in SCOPEWRIGHT_KINDS)
    header = hr.kubectl("get", "swc", "--namespace", "leave").splitlines()[0].split()
    assert header[:4] == ["NAME", "READY", "REASON", "GRANTED"]


def test_deleting_all_manifests_leaves_nothing_stuck(hr: Installation) -> None:
    """The last test of this module: all manifests and namespaces are deleted while the operator runs."""
    hr.kubectl("delete", "--wait=false", "--filename", MANIFESTS)
    until(lambda: all(hr.kube.get("Namespace", "", space) is None for space in NAMESPACES))
    until(lambda: not [s for s in hr.kube.list("Secret", hr.namespace) if s["metadata"]["name"].startswith("client.")])


# Health by kstatus, and by Argo CD and Flux with the health checks of examples/gitops


READY = ("Current", "Healthy", "Current")
WAITING = ("InProgress", "Progressing", "InProgress")
FAILED = ("Failed", "Degraded", "Failed")


def health_of(*objects: Manifest) -> set[tuple[str, str, str]]:
    """The distinct results of kstatus, Argo CD and Flux for these objects."""
    of_kstatus = kstatus(*objects)
    assert len(of_kstatus) == len(objects)
    of_argocd = [health for health, _ in argocd(*objects)]
    return set(zip(of_kstatus.values(), of_argocd, flux(*objects), strict=True))


def test_ready_objects_are_healthy(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    key = signing_key(installation.namespace)
    ungranted = oauth_client(payroll.caller, "ungranted", *payroll.client["spec"]["access"])
    installation.apply_and_wait(ungranted)
    objects = [installation.read(m) for m in (*payroll.manifests, key, ungranted)]
    assert health_of(*objects) == {READY}
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    clients = installation.read(payroll.client), installation.read(ungranted)
    [granted_too] = re.findall(r"```cel\n(.*?)```", (ROOT / "docs/gitops.md").read_text(), re.DOTALL)
    assert flux(*clients, and_current=granted_too) == ["Current", "InProgress"]


def test_new_objects_are_progressing(installation: Installation, make_namespace: MakeNamespace) -> None:
    """No operator serves their issuer."""
    payroll = Payroll(make_namespace)
    unserved = f"unserved-{uuid.uuid4().hex[:6]}"
    objects = []
    of_platform = (signing_key(payroll.owner), identity_provider(payroll.owner, "company", static=USERS))
    for given in (*payroll.manifests, *of_platform):
        installation.kube.apply({**given, "spec": {**given["spec"], "issuer": unserved}})
        objects.append(installation.read(given))
    assert {o["kind"] for o in objects} == set(SCOPEWRIGHT_KINDS)
    assert health_of(*objects) == {WAITING}


def test_waiting_objects_are_progressing(installation: Installation, make_namespace: MakeNamespace) -> None:
    server = resource_server(make_namespace("payroll"), "api", "a", tokens={"signingKey": "none-such"})
    installation.apply(server)
    installation.wait_for(server, "SigningKeyNotReady")
    assert health_of(installation.read(server)) == {WAITING}
    [(_, message)] = argocd(installation.read(server))
    assert "none-such" in message


def test_stalled_objects_are_degraded(installation: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("payroll")
    installation.kube.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "worker-oauth", "namespace": namespace}}
    )
    stalled = {
        "SecretConflict": oauth_client(namespace, "worker"),
        "AudienceNotAllowed": resource_server(namespace, "api", "a", audience="https://not-allowed.example"),
        "ResourceServerNotFound": scope_grant(namespace, "grant", "none", ["a"], {"allNamespaces": True}),
        "WrongNamespace": signing_key(namespace),
    }
    installation.apply(*stalled.values())
    for reason, manifest in stalled.items():
        installation.wait_for(manifest, reason)
    objects = [installation.read(m) for m in stalled.values()]
    assert health_of(*objects) == {FAILED}
    for health, obj in zip(argocd(*objects), objects, strict=True):
        assert health[1] == next(c["message"] for c in obj["status"]["conditions"] if c["type"] == "Ready")


def test_disabled_and_paused_objects_are_not_failures(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """A client that a user disabled must not fail its Kustomization."""
    namespace = make_namespace("leave")
    disabled = oauth_client(namespace, "disabled", disabled=True)
    installation.apply(disabled)
    installation.wait_for(disabled, "Disabled")
    assert health_of(installation.read(disabled)) == {("Failed", "Suspended", "Current")}
    paused = resource_server(namespace, "paused", "a")
    installation.apply_and_wait(paused)
    installation.apply({**paused, "metadata": {**paused["metadata"], "annotations": {PAUSED_ANNOTATION: "true"}}})
    assert health_of(installation.read(paused)) == {("Current", "Suspended", "Current")}


def test_an_applications_health_makes_sync_waves_wait() -> None:
    application: Manifest = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {}}
    degraded = {**application, "status": {"health": {"status": "Degraded", "message": "why"}}}
    assert argocd(application, {**application, "status": {}}, degraded) == [
        ("Progressing", ""),
        ("Progressing", ""),
        ("Degraded", "why"),
    ]


def test_without_the_operator_edits_are_reported_and_deletions_do_not_hang(
    install: Install, make_namespace: MakeNamespace
) -> None:
    """The operator is stopped or uninstalled."""
    installation = install("away")
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    installation.kill_operator()
    edited = {**payroll.client, "spec": {**payroll.client["spec"], "disabled": True}}
    installation.apply(edited)
    assert health_of(installation.read(edited)) == {WAITING}, "the Ready condition is of an older generation"
    for namespace in (payroll.caller, payroll.owner):
        installation.kube.delete("Namespace", "", namespace)
    until(lambda: all(installation.kube.get("Namespace", "", n) is None for n in (payroll.caller, payroll.owner)))
