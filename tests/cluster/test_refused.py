"""What is in the way of a write: the status says what and who, the writes slow down, and it recovers by itself."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .installation import Install, Installation
from .kube import Kube, Manifest
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
    """put(manifest, …) applies, and takes away when the test is over."""
    made: list[Manifest] = []

    def put(*manifests: Manifest) -> None:
        for manifest in manifests:
            kube.apply(manifest)
            made.append(manifest)

    yield put
    for manifest in reversed(made):
        take_away(kube, manifest)


def take_away(kube: Kube, *manifests: Manifest) -> None:
    for manifest in reversed(manifests):
        meta = manifest["metadata"]
        kube.delete(manifest["kind"], meta.get("namespace", ""), meta["name"])


def refuses_secrets(kube: Kube, namespace: str) -> bool:
    """Whether it has come into effect, which takes the API server a moment."""
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": namespace}}
    try:
        kube.create(probe)
    except Exception:
        return True
    kube.delete("Secret", namespace, "probe")
    return False


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
def test_who_denies_the_secret_is_named_until_it_is_gone(
    installation: Installation, make_namespace: MakeNamespace, put: Put, make: Any, reason: str, who: str
) -> None:
    namespace = make_namespace("leave")
    manifests = make(namespace, namespace)
    put(*manifests)
    until(lambda: refuses_secrets(installation.kube, namespace))
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    said = installation.wait_for(client, reason)
    assert said["status"] == "False"
    assert who.format(name=namespace) in said["message"]
    assert len(said["message"]) < 1200
    assert eventually(lambda: any(e.startswith(reason) for e in events(installation, namespace)))
    before = installation.settled(namespace)
    time.sleep(5)
    assert installation.versions(namespace) == before, "nothing is written again and again"
    take_away(installation.kube, *manifests)
    installation.wait_until_ready(client)
    assert installation.accepts(*installation.credentials(client))


def test_a_quota_is_named_and_is_no_missing_right(installation: Installation, make_namespace: MakeNamespace) -> None:
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
    said = installation.wait_for(client, "QuotaExceeded")
    assert "ResourceQuota few is exceeded" in said["message"]
    assert "right" not in said["message"]
    installation.kube.delete("ResourceQuota", namespace, "few")
    installation.wait_until_ready(client)


def test_a_missing_right_is_named(install: Install, make_namespace: MakeNamespace) -> None:
    installation = install("rights")
    namespace = make_namespace("leave")
    [role] = [r for r in installation.rights() if r["kind"] == "ClusterRole" and "operator" in r["metadata"]["name"]]
    fewer = [r for r in role["rules"] if not (r["resources"] == ["secrets"] and r["verbs"] == ["create"])]
    installation.kube.apply({**role, "rules": fewer})
    until(lambda: not installation.may("operator", "secrets", "create"))
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    said = installation.wait_for(client, "Forbidden")
    assert 'cannot create resource "secrets"' in said["message"]
    installation.kube.apply(role)
    installation.wait_until_ready(client)


def test_a_disabled_client_is_refused_although_its_secret_cannot_be_written(
    installation: Installation, make_namespace: MakeNamespace, put: Put
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.have(client)
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
