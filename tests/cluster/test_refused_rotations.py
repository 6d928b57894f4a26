"""Rotations that are due while a webhook without a backend refuses Secrets are done after its deletion."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.ports import free_port

from .installation import Installation
from .kube import Manifest
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import throughout, until

NAME = "refuses-secrets.example.org"
EVERY = {"rotation": {"every": "1m", "overlap": "30s"}}


@contextmanager
def refused(installation: Installation, namespace: str) -> Iterator[None]:
    """Every write of a Secret in this namespace is refused, because the webhook does not answer."""
    url = f"https://127.0.0.1:{free_port()}/"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}
    webhook = {
        "name": NAME,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "clientConfig": {"url": url},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    configuration: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"refuses-secrets-{namespace}"},
        "webhooks": [webhook],
    }
    installation.kube.apply(configuration)
    try:
        yield
    finally:
        installation.kube.delete("ValidatingWebhookConfiguration", "", configuration["metadata"]["name"])


def reasons(installation: Installation, client: Manifest) -> list[str]:
    return [entry["reason"] for entry in installation.status(client)["history"]]


def accepted(installation: Installation, client: Manifest) -> int:
    """The number of credentials in the client record."""
    meta = client["metadata"]
    record = installation.kube.get("Secret", installation.namespace, f"client.{meta['namespace']}.{meta['name']}")
    assert record is not None
    return len(json.loads(base64.b64decode(record["data"]["record.json"]))["credentials"])


def test_rotations_that_a_dead_webhook_refuses_are_done_after_its_deletion(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """By age and by hand; what the Secret holds works all the while, and the status names the webhook."""
    namespace = make_namespace("leave")
    by_age, by_hand = oauth_client(namespace, "aging", **EVERY), oauth_client(namespace, "leaked")
    installation.apply(by_age, by_hand)
    installation.wait_until_ready(by_age, by_hand)
    before = {m["metadata"]["name"]: installation.credentials(m) for m in (by_age, by_hand)}

    def fails(client: Manifest) -> Callable[[], bool]:
        return lambda: installation.condition(client, "RotationFailing")["status"] == "True"

    with refused(installation, namespace):
        change = {"metadata": {"annotations": {"scopewright.dev/rotate": "after a leak"}}}
        installation.kube.patch("OAuthClient", namespace, "leaked", change)
        for client in (by_hand, by_age):
            until(fails(client), lambda m=client: installation.status(m), seconds=120)  # type: ignore[misc]
            condition = installation.condition(client, "RotationFailing")
            assert condition["reason"] == "WebhookUnavailable"
            assert NAME in condition["message"]
        # By now every slot of a record would be used up, and the last time to look again forgotten.
        assert throughout(20, fails(by_age))
        assert throughout(1, fails(by_hand))
        for client in (by_age, by_hand):
            client_id, secret = before[client["metadata"]["name"]]
            assert installation.credentials(client) == (client_id, secret)
            assert installation.condition(client)["status"] == "True"
            assert installation.accepts(client_id, secret)
            assert "RotationFailing" in reasons(installation, client)
            assert accepted(installation, client) == 2, "retries use up the slots of the record"
    for client in (by_age, by_hand):
        client_id, secret = installation.new_credentials(client, before[client["metadata"]["name"]][1])
        assert installation.accepts(client_id, secret)
        until(lambda m=client: "RotationRecovered" in reasons(installation, m))  # type: ignore[misc]
        assert not fails(client)()
