"""Secrets with deletionPolicy Retain: their owners, and what a recreated client adopts."""

from dataclasses import replace

import pytest

from scopewright.core.client.seal import seal
from scopewright.core.objects import (
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    Existing,
    Ref,
    digest,
)
from tests.harness.operator import SEAL_KEY, OperatorHarness
from tests.harness.samples import ISSUER

RETAIN = {"credentials": {"deletionPolicy": "Retain"}}
ANOTHER = "uid-of-an-argo-application"


def apply_retaining(harness: OperatorHarness, rotate: str = "") -> Ref:
    key = harness.apply("OAuthClient", "leave", "worker", RETAIN, **({"rotate": rotate} if rotate else {}))
    harness.settle()
    return key


def delete_client(harness: OperatorHarness, key: Ref) -> None:
    harness.delete(key, collect=False)
    harness.settle()
    harness.deleted.clear()
    harness.cache.deleted.clear()
    harness.events.clear()


def secret(harness: OperatorHarness) -> Existing:
    return harness.store.objects[harness.secret_ref()].existing


def add_owner(harness: OperatorHarness) -> None:
    stored = harness.store.objects[harness.secret_ref()]
    harness.store.put(replace(stored.existing, owner_uids=(*stored.existing.owner_uids, ANOTHER)), stored.entries)


def test_a_secret_with_another_owner_has_no_conflict_when_the_policy_becomes_retain() -> None:
    harness = OperatorHarness()
    key = harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    value = harness.client_secret()
    add_owner(harness)
    harness.settle()
    apply_retaining(harness)
    assert secret(harness).owner_uids == (ANOTHER,)
    assert (harness.condition(key), harness.client_secret()) == ("True Provisioned", value)
    harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    assert len(secret(harness).owner_uids) == 2
    assert (harness.condition(key), harness.client_secret()) == ("True Provisioned", value)


def test_a_retained_secret_with_another_owner_is_healed_resealed_and_adopted() -> None:
    harness = OperatorHarness()
    key = apply_retaining(harness)
    add_owner(harness)
    harness.store.edit(harness.secret_ref(), client_secret=b"edited")
    harness.settle()
    value = harness.client_secret()
    assert (harness.condition(key), value) == ("True Provisioned", "secret2")
    harness.seal_key = b"another seal key of the tests...."
    harness.restart()
    harness.settle()
    assert (harness.condition(key), harness.client_secret()) == ("True Provisioned", value)
    delete_client(harness, key)
    apply_retaining(harness)
    assert (harness.condition(key), harness.client_secret()) == ("True Provisioned", value)
    assert [event.reason for event in harness.events][:1] == ["CredentialAdopted"]


def test_a_secret_with_a_forged_retain_annotation_is_not_adopted() -> None:
    harness = OperatorHarness()
    key = harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    stored = harness.store.objects[harness.secret_ref()]
    forged = {**stored.existing.annotations, DELETION_POLICY_ANNOTATION: "Retain"}
    harness.store.put(replace(stored.existing, annotations=forged, owner_uids=(ANOTHER,)), stored.entries)
    delete_client(harness, key)
    harness.apply("OAuthClient", "leave", "worker", RETAIN)
    harness.settle()
    assert harness.condition(key) == "False SecretConflict"


@pytest.mark.parametrize(
    ("before", "after", "keeps"),
    [("", "", True), ("1", "1", True), ("1", "", True), ("1", "leaked", False), ("", "leaked", False)],
)
def test_a_recreated_client_with_another_rotate_annotation_gets_a_new_credential(
    before: str, after: str, *, keeps: bool
) -> None:
    harness = OperatorHarness()
    key = apply_retaining(harness, before)
    value = harness.client_secret()
    delete_client(harness, key)
    apply_retaining(harness, after)
    assert harness.condition(key) == "True Provisioned"
    assert (harness.client_secret() == value) == keeps
    assert secret(harness).annotations.get(ROTATE_DIGEST_ANNOTATION) == (digest(after) if after else None)
    value = harness.client_secret()
    apply_retaining(harness, "yet another")
    assert harness.client_secret() != value


def test_the_seal_covers_the_rotate_annotation() -> None:
    harness = OperatorHarness()
    key = apply_retaining(harness, "1")
    stored = harness.store.objects[harness.secret_ref()]
    forged = {**stored.existing.annotations, ROTATE_DIGEST_ANNOTATION: digest("leaked")}
    harness.store.put(replace(stored.existing, annotations=forged), stored.entries)
    delete_client(harness, key)
    harness.apply("OAuthClient", "leave", "worker", RETAIN, rotate="leaked")
    harness.settle()
    assert harness.condition(key) == "False SecretConflict"


def test_under_the_policy_delete_seal_and_annotations_name_no_policy() -> None:
    harness = OperatorHarness()
    apply_retaining(harness, "1")
    harness.apply("OAuthClient", "leave", "worker", rotate="1")
    harness.settle()
    found = secret(harness)
    assert not {ROTATE_DIGEST_ANNOTATION, DELETION_POLICY_ANNOTATION} & found.annotations.keys()
    issued = found.annotations[ISSUE_TIME_ANNOTATION]
    assert found.annotations[SEAL_ANNOTATION] == seal(SEAL_KEY, ISSUER, "leave.worker", issued, found.entries)
