"""A Secret that outlives its client: whose it is beside other owners, and what a client that comes back takes over."""

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
from tests.unit.controller.house import ISSUER, SEAL_KEY, House

RETAIN = {"credentials": {"deletionPolicy": "Retain"}}
ANOTHER = "uid-of-an-argo-application"


def applied(house: House, rotate: str = "") -> Ref:
    key = house.apply("OAuthClient", "leave", "worker", RETAIN, **({"rotate": rotate} if rotate else {}))
    house.settle()
    return key


def gone(house: House, key: Ref) -> None:
    del house.store.declared[key]
    house.settle()
    house.departed.clear()
    house.world.deleted.clear()
    house.happened.clear()


def secret(house: House) -> Existing:
    return house.store.objects[house.secret()].existing


def with_another_owner(house: House) -> None:
    held = house.store.objects[house.secret()]
    house.store.put(replace(held.existing, owner_uids=(*held.existing.owner_uids, ANOTHER)), held.entries)


def test_another_owner_makes_no_conflict_when_the_policy_becomes_retain() -> None:
    house = House()
    key = house.apply("OAuthClient", "leave", "worker")
    house.settle()
    value = house.value()
    with_another_owner(house)
    house.settle()
    applied(house)
    assert secret(house).owner_uids == (ANOTHER,)
    assert (house.condition(key), house.value()) == ("True Provisioned", value)
    house.apply("OAuthClient", "leave", "worker")
    house.settle()
    assert len(secret(house).owner_uids) == 2
    assert (house.condition(key), house.value()) == ("True Provisioned", value)


def test_a_retained_secret_with_another_owner_is_healed_and_sealed_anew_and_adopted() -> None:
    house = House()
    key = applied(house)
    with_another_owner(house)
    house.store.edit(house.secret(), client_secret=b"edited")
    house.settle()
    value = house.value()
    assert (house.condition(key), value) == ("True Provisioned", "secret2")
    house.seal_key = b"another key of the simulations!!"
    house.restart()
    house.settle()
    assert (house.condition(key), house.value()) == ("True Provisioned", value)
    gone(house, key)
    applied(house)
    assert (house.condition(key), house.value()) == ("True Provisioned", value)
    assert [h.reason for h in house.happened][:1] == ["CredentialAdopted"]


def test_what_only_says_that_it_is_retained_is_nobodys_beside_another_owner() -> None:
    house = House()
    key = house.apply("OAuthClient", "leave", "worker")
    house.settle()
    held = house.store.objects[house.secret()]
    forged = {**held.existing.annotations, DELETION_POLICY_ANNOTATION: "Retain"}
    house.store.put(replace(held.existing, annotations=forged, owner_uids=(ANOTHER,)), held.entries)
    gone(house, key)
    house.apply("OAuthClient", "leave", "worker", RETAIN)
    house.settle()
    assert house.condition(key) == "False SecretConflict"


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [("", "", True), ("1", "1", True), ("1", "", True), ("1", "leaked", False), ("", "leaked", False)],
)
def test_a_client_that_comes_back_with_another_request_gets_a_new_credential(
    before: str, after: str, *, stays: bool
) -> None:
    house = House()
    key = applied(house, before)
    value = house.value()
    gone(house, key)
    applied(house, after)
    assert house.condition(key) == "True Provisioned"
    assert (house.value() == value) == stays
    assert secret(house).annotations.get(ROTATE_DIGEST_ANNOTATION) == (digest(after) if after else None)
    value = house.value()
    applied(house, "yet another")
    assert house.value() != value


def test_the_request_that_was_served_is_under_the_seal() -> None:
    house = House()
    key = applied(house, "1")
    held = house.store.objects[house.secret()]
    forged = {**held.existing.annotations, ROTATE_DIGEST_ANNOTATION: digest("leaked")}
    house.store.put(replace(held.existing, annotations=forged), held.entries)
    gone(house, key)
    house.apply("OAuthClient", "leave", "worker", RETAIN, rotate="leaked")
    house.settle()
    assert house.condition(key) == "False SecretConflict"


def test_under_delete_the_seal_and_the_annotations_are_as_they_were() -> None:
    house = House()
    applied(house, "1")
    house.apply("OAuthClient", "leave", "worker", rotate="1")
    house.settle()
    found = secret(house)
    assert not {ROTATE_DIGEST_ANNOTATION, DELETION_POLICY_ANNOTATION} & found.annotations.keys()
    issued = found.annotations[ISSUE_TIME_ANNOTATION]
    assert found.annotations[SEAL_ANNOTATION] == seal(SEAL_KEY, ISSUER, "leave.worker", issued, found.entries)
