"""Refused writes: the status names the cause, attempts slow down, and the operator recovers by itself."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .installation import Install, Installation
from .kube import Kube, Manifest, Refused
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import eventually, until

_ADMISSION = "admissionregistration.k8s.io/v1"
WRITES = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE", "UPDATE"]}
Put = Callable[..., None]


def only_in(namespace: str) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def denying_policy(name: str, namespace: str) -> list[Manifest]:
    matching = {"resourceRules": [WRITES], "namespaceSelector": only_in(namespace)}
    validation = {"expression": "false", "message": "no Secrets today"}
    return [
        {
            "apiVersion": _ADMISSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"failurePolicy": "Fail", "matchConstraints": matching, "validations": [validation]},
        },
        {
            "apiVersion": _ADMISSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def adding_policy(name: str, namespace: str) -> list[Manifest]:
    """A policy that adds an entry with a new value on each write."""
    value = """object.metadata.?resourceVersion.orValue("") == "" ? "Zmlyc3Q=" : "bGF0ZXI=" """
    expression = f"""[JSONPatch{{op: "add", path: "/data/injected", value: {value}}}]"""
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
    matching = {"resourceRules": [WRITES], "namespaceSelector": only_in(namespace)}
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": matching,
        "matchConditions": [{"name": "has-data", "expression": "has(object.data)"}],
        "mutations": [mutation],
    }
    meta = {"name": name}
    return [
        {"apiVersion": _ADMISSION, "kind": "MutatingAdmissionPolicy", "metadata": meta, "spec": spec},
        {
            "apiVersion": _ADMISSION,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": meta,
            "spec": {"policyName": name},
        },
    ]


def dead_webhook(name: str, namespace: str) -> list[Manifest]:
    webhook = {
        "name": f"{name}.guard.example",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [WRITES],
        "namespaceSelector": only_in(namespace),
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    meta = {"name": name}
    return [
        {
            "apiVersion": _ADMISSION,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": meta,
            "webhooks": [webhook],
        }
    ]


@pytest.fixture
def put(kube: Kube) -> Iterator[Put]:
    """put(manifest, …) applies manifests, which are deleted after the test."""
    made: list[Manifest] = []

    def put(*manifests: Manifest) -> None:
        for manifest in manifests:
            kube.apply(manifest)
            made.append(manifest)

    yield put
    for manifest in reversed(made):
        delete(kube, manifest)


def delete(kube: Kube, *manifests: Manifest) -> None:
    for manifest in reversed(manifests):
        meta = manifest["metadata"]
        kube.delete(manifest["kind"], meta.get("namespace", ""), meta["name"])


def refuses_secrets(kube: Kube, namespace: str) -> bool:
    """Whether the policy is in effect, which takes the API server a moment."""
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": namespace}}
    try:
        kube.create(probe)
    except Refused:
        return True
    kube.delete("Secret", namespace, "probe")
    return False


def check_no_write_loop(installation: Installation, namespace: str) -> None:
    """After the first seconds nothing in the namespace is written."""

    def versions() -> dict[str, str]:
        return {at: version for at, version in installation.versions(namespace).items() if f" {namespace}/" in at}

    time.sleep(3)
    before = versions()
    time.sleep(8)
    assert versions() == before


def events(installation: Installation, namespace: str) -> list[str]:
    return [f"{e['reason']}: {e['note']}" for e in installation.kube.list("Event", namespace)]


@pytest.mark.parametrize(
    ("make", "reason", "who"),
    [
        (denying_policy, "AdmissionDenied", "ValidatingAdmissionPolicy {name} denied the write"),
        (dead_webhook, "WebhookUnavailable", "admission webhook {name}.guard.example does not answer"),
    ],
    ids=["policy", "dead webhook"],
)
def test_the_policy_that_denies_the_secret_is_named_until_it_is_deleted(
    installation: Installation, make_namespace: MakeNamespace, put: Put, make: Any, reason: str, who: str
) -> None:
    namespace = make_namespace("leave")
    manifests = make(namespace, namespace)
    put(*manifests)
    until(lambda: refuses_secrets(installation.kube, namespace))
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    condition = installation.wait_for(client, reason)
    assert condition["status"] == "False"
    assert who.format(name=namespace) in condition["message"]
    assert len(condition["message"]) < 1200
    assert eventually(lambda: any(e.startswith(reason) for e in events(installation, namespace)))
    check_no_write_loop(installation, namespace)
    delete(installation.kube, *manifests)
    installation.wait_until_ready(client)
    assert installation.accepts(*installation.credentials(client))


def test_a_quota_is_named_and_not_reported_as_a_missing_right(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    meta = {"name": "few", "namespace": namespace}
    hard = {"count/secrets": "0"}
    installation.kube.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}})
    status = json.dumps({"status": {"hard": hard, "used": hard}})
    where = ("resourcequota", "few", "-n", namespace, "--subresource=status", "--type=merge", "-p", status)
    installation.kubectl("patch", *where)
    until(lambda: refuses_secrets(installation.kube, namespace))
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    condition = installation.wait_for(client, "QuotaExceeded")
    assert "ResourceQuota few is exceeded" in condition["message"]
    assert "right" not in condition["message"]
    installation.kube.delete("ResourceQuota", namespace, "few")
    installation.wait_until_ready(client)


def test_a_missing_right_is_named(install: Install, make_namespace: MakeNamespace) -> None:
    installation = install("rights")
    namespace = make_namespace("leave")
    [role] = [r for r in installation.rights() if r["kind"] == "ClusterRole" and "operator" in r["metadata"]["name"]]
    fewer = [r for r in role["rules"] if not (r["resources"] == ["secrets"] and r["verbs"] == ["create"])]
    installation.kube.apply({**role, "rules": fewer})
    until(lambda: not installation.is_allowed("operator", "secrets", "create"))
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    condition = installation.wait_for(client, "Forbidden")
    assert 'cannot create resource "secrets"' in condition["message"]
    installation.kube.apply(role)
    installation.wait_until_ready(client)


def test_a_disabled_client_is_refused_although_its_secret_cannot_be_written(
    installation: Installation, make_namespace: MakeNamespace, put: Put
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.apply_and_wait(client)
    credentials = installation.credentials(client)
    manifests = denying_policy(namespace, namespace)
    put(*manifests)
    until(lambda: refuses_secrets(installation.kube, namespace))
    change = {"metadata": {"annotations": {"scopewright.dev/rotate": "now"}}}
    installation.kube.patch("OAuthClient", namespace, "worker", change)
    until(lambda: installation.condition(client, "RotationFailing")["status"] == "True")
    assert installation.condition(client)["status"] == "True", "what the Secret holds still works"
    installation.kube.patch("OAuthClient", namespace, "worker", {"spec": {"disabled": True}})
    assert eventually(lambda: installation.error(*credentials) == "invalid_client", seconds=10)


def test_a_policy_that_adds_an_entry_is_reported_without_a_write_loop(
    installation: Installation, make_namespace: MakeNamespace, put: Put
) -> None:
    namespace = make_namespace("leave")
    manifests = adding_policy(namespace, namespace)
    put(*manifests)
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": namespace}}

    def in_effect() -> bool:
        made = installation.kube.create({**probe, "data": {"a": "eA=="}})
        installation.kube.delete("Secret", namespace, "probe")
        return "injected" in made["data"]

    until(in_effect)
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    condition = installation.wait_for(client, "AlteredOnWrite", "SecretAltered")
    assert "entry injected was added" in condition["message"]
    installation.wait_until_ready(client)
    assert installation.accepts(*installation.credentials(client)), "what was added does no harm"
    assert eventually(lambda: any(e.startswith("AlteredOnWrite") for e in events(installation, namespace)))
    check_no_write_loop(installation, namespace)
    credentials = installation.credentials(client)
    delete(installation.kube, *manifests)
    until(lambda: "injected" not in installation.secret(namespace, "worker-oauth"))
    until(lambda: installation.condition(client, "SecretAltered")["status"] == "")
    assert installation.credentials(client) == credentials


def test_another_controller_that_changes_the_secret_each_time_is_named(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.apply_and_wait(client)
    edits = 0
    deadline = time.monotonic() + 60
    while installation.condition(client, "SecretAltered")["status"] != "True":
        assert time.monotonic() < deadline
        if "added" not in installation.secret(namespace, "worker-oauth"):
            installation.kube.patch("Secret", namespace, "worker-oauth", {"data": {"added": "eA=="}})
            edits += 1
    assert edits <= 12
    assert "entry added was added" in installation.condition(client, "SecretAltered")["message"]
    installation.wait_until_ready(client)
    until(lambda: "added" not in installation.secret(namespace, "worker-oauth"))
    until(lambda: installation.condition(client, "SecretAltered")["status"] == "")
