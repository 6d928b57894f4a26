"""Conversion between the API server's JSON and the core's types."""

import base64
from typing import Any

import pytest

from scopewright.core.failures import Conflict
from scopewright.core.objects import Desired, Existing, Owner, PreservedEntry, Ref, digest
from scopewright.stores.kubernetes.objects import collection, compose, parse
from tests.unit.stores_kubernetes.fake_api import secret

REF = Ref("Secret", "leave", "one")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def desired(**more: Any) -> Desired:
    usual: dict[str, Any] = {"entries": {"client_secret": b"new"}, "type": "servicebinding.io/oauth2"}
    return Desired(REF, **(usual | more))


def test_new_object_has_exactly_the_desired_fields() -> None:
    body = compose(desired(labels={"a": "b"}, owner=Owner("OAuthClient", "worker", "uid-1")), None)
    assert body["metadata"] == {
        "name": "one",
        "namespace": "leave",
        "labels": {"a": "b"},
        "annotations": {},
        "ownerReferences": [
            {
                "apiVersion": "scopewright.dev/v1alpha1",
                "kind": "OAuthClient",
                "name": "worker",
                "uid": "uid-1",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    assert body["data"] == {"client_secret": b64("new")}


def test_foreign_labels_annotations_and_finalizers_are_kept() -> None:
    live = secret(
        "one", "7", labels={"foreign": "1", "managed": "old"}, annotations={"note": "x"}, finalizers=["f"],
        managedFields=[{"manager": "kubectl"}],
    )  # fmt: skip
    meta = compose(desired(labels={"managed": "new"}, annotations={"seal": "s"}), live)["metadata"]
    assert meta["labels"] == {"foreign": "1", "managed": "new"}
    assert meta["annotations"] == {"note": "x", "seal": "s"}
    assert meta["finalizers"] == ["f"]
    assert (meta["uid"], meta["resourceVersion"]) == ("uid of one", "7")
    assert "managedFields" not in meta


def test_owner_references_are_kept_if_none_is_desired() -> None:
    owners = [{"uid": "another"}]
    assert compose(desired(), secret("one", "7", ownerReferences=owners))["metadata"]["ownerReferences"] == owners


def test_preserved_entry_is_copied_under_another_name() -> None:
    live = secret("one", "7", b64("old"))
    body = compose(desired(entries={"password": PreservedEntry("client_secret", digest("old"))}), live)
    assert body["data"] == {"password": b64("old")}


@pytest.mark.parametrize(
    "kept", [PreservedEntry("client_secret", digest("another")), PreservedEntry("missing", digest("s3cret"))]
)
def test_preserved_entry_with_another_digest_is_a_conflict(kept: PreservedEntry) -> None:
    with pytest.raises(Conflict) as conflict:
        compose(desired(entries={"client_secret": kept}), secret("one", "7", b64("s3cret")))
    assert "s3cret" not in conflict.value.message


def test_entries_are_read_as_digests() -> None:
    raw = secret("one", "7", b64("s3cret"), ownerReferences=[{"uid": "u"}], labels=None)
    existing, entries = parse("Secret", raw)
    assert existing.entries == {"client_secret": digest("s3cret")}
    assert entries == {"client_secret": b"s3cret"}
    assert existing.owner_uids == ("u",)
    assert existing.labels == {}
    assert "s3cret" not in repr(existing)


def test_config_map_may_have_text_and_bytes() -> None:
    raw = {**secret("one", "7"), "data": {"a": "ä"}, "binaryData": {"b": "AAE="}}
    assert parse("ConfigMap", raw)[1] == {"a": "ä".encode(), "b": b"\x00\x01"}
    body = compose(Desired(Ref("ConfigMap", "x", "y"), {"a": "ä".encode()}), None)
    assert body["data"] == {"a": "ä"}
    assert "type" not in body


def test_malformed_base64_is_read_as_empty() -> None:
    assert parse("Secret", secret("one", "7", "!"))[1]["client_secret"] == b""
    empty = {**secret("one", "7"), "data": None}
    assert parse("Secret", empty)[1] == {}


def test_repr_of_a_write_omits_secrets() -> None:
    assert "hidden" not in repr(desired(entries={"client_secret": b"hidden"}))


def test_collection_paths() -> None:
    assert collection("Secret", None) == "/api/v1/secrets"
    assert collection("ConfigMap", "x") == "/api/v1/namespaces/x/configmaps"


def test_object_without_owner_references_has_no_owner_uids() -> None:
    existing, _ = parse("Secret", secret("one", "7"))
    assert isinstance(existing, Existing)
    assert existing.owner_uids == ()
