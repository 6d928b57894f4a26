"""The credential Secret follows its OAuthClient, and keeps what others have added."""

import pytest

from .installation import Installation, encoded
from .kube import Manifest, Refused
from .manifests import oauth_client
from .payroll import MakeNamespace
from .waiting import throughout, until


def metadata(installation: Installation, namespace: str, name: str) -> Manifest:
    found = installation.kube.get("Secret", namespace, name)
    assert found is not None
    meta: Manifest = found["metadata"]
    return meta


def test_metadata_removed_from_the_template_is_removed_and_foreign_metadata_stays(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    template = {"labels": {"replicate": "yes", "team": "hr"}, "annotations": {"copy.example/to": "everywhere"}}
    client = oauth_client(namespace, "worker", credentials={"secretTemplate": template})
    installation.apply_and_wait(client)
    credentials = installation.credentials(client)
    foreign = {"metadata": {"labels": {"backup": "yes"}, "annotations": {"note.example/x": "1"}}}
    installation.kube.patch("Secret", namespace, "worker-oauth", foreign)
    for template in ({"labels": {"team": "hr"}}, {}):
        spec = {"credentials": {"secretTemplate": template}} if template else {}
        installation.apply_and_wait(oauth_client(namespace, "worker", **spec))
        kept = {"backup", "app.kubernetes.io/managed-by", "scopewright.dev/client", *template.get("labels", {})}
        until(lambda kept=kept: metadata(installation, namespace, "worker-oauth")["labels"].keys() == kept)  # type: ignore[misc]
        annotations = metadata(installation, namespace, "worker-oauth")["annotations"]
        assert "copy.example/to" not in annotations
        assert annotations["note.example/x"] == "1"
    assert installation.credentials(client) == credentials


def test_recommended_labels_are_allowed(installation: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("leave")
    labels = {"app.kubernetes.io/part-of": "hr", "app.kubernetes.io/name": "leave"}
    installation.apply_and_wait(oauth_client(namespace, "worker", credentials={"secretTemplate": {"labels": labels}}))
    assert labels.items() <= metadata(installation, namespace, "worker-oauth")["labels"].items()


def test_a_duration_in_days_is_refused_with_the_hours_to_write(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    with pytest.raises(Refused) as refused:
        installation.apply(oauth_client(make_namespace("leave"), "worker", rotation={"every": "30d"}))
    assert "spec.rotation.every: Invalid value" in refused.value.message
    assert "720h for 30d" in refused.value.message
    assert refused.value.message.count("Invalid value") == 1


def test_clients_that_swap_their_secret_names_settle(installation: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("leave")
    first = oauth_client(namespace, "first", credentials={"secretName": "a"})
    second = oauth_client(namespace, "second", credentials={"secretName": "b"})
    installation.apply_and_wait(first, second)
    before = installation.credentials(first, "a"), installation.credentials(second, "b")
    swapped = (
        oauth_client(namespace, "first", credentials={"secretName": "b"}),
        oauth_client(namespace, "second", credentials={"secretName": "a"}),
    )
    installation.apply_and_wait(*swapped)
    until(lambda: installation.secret(namespace, "a")["client_id"] == f"{namespace}.second")
    until(lambda: installation.secret(namespace, "b")["client_id"] == f"{namespace}.first")
    installation.wait_until_ready(*swapped)
    assert installation.accepts(*installation.credentials(first, "b"))
    assert installation.accepts(*installation.credentials(second, "a"))
    assert all(installation.accepts(*credentials) for credentials in before), "during the overlap"


def test_no_status_advises_to_delete_another_clients_secret(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    first = oauth_client(namespace, "first", credentials={"secretName": "shared"})
    installation.apply_and_wait(first)
    second = oauth_client(namespace, "second", credentials={"secretName": "shared"})
    installation.apply(second)
    message = installation.wait_for(second, "SecretConflict")["message"]
    assert "belongs to another client, first" in message
    assert "delete" not in message
    assert installation.accepts(*installation.credentials(first, "shared"))


def test_an_immutable_secret_is_reported_and_its_deletion_helps(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.apply_and_wait(client)
    _, before = installation.credentials(client)
    installation.kube.patch("Secret", namespace, "worker-oauth", {"immutable": True})
    change = {"metadata": {"annotations": {"scopewright.dev/rotate": "now"}}}
    installation.kube.patch("OAuthClient", namespace, "worker", change)

    def message() -> str:
        conditions = installation.status(client)["conditions"]
        return next((c["message"] for c in conditions if "immutable" in c["message"]), "")

    assert "delete it" in until(message)
    assert throughout(2, lambda: installation.secret(namespace, "worker-oauth")["client_secret"] == before)
    installation.kube.delete("Secret", namespace, "worker-oauth")
    _, after = installation.new_credentials(client, before)
    installation.wait_until_ready(client)
    assert installation.accepts(f"{namespace}.worker", after)


def test_the_status_does_not_advise_to_delete_a_foreign_secret(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    foreign = {"metadata": {"name": "worker-oauth", "namespace": namespace}, "data": encoded({"password": "x"})}
    installation.kube.create({"apiVersion": "v1", "kind": "Secret", **foreign})
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    message = installation.wait_for(client, "SecretConflict")["message"]
    assert message.endswith("choose another spec.credentials.secretName, or delete the Secret if nothing uses it")
