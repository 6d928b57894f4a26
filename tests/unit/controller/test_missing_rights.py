"""A missing right is reported by name after a minute, and no longer once it is given."""

import pytest

from scopewright.controller.missing_rights import (
    MAX_NAMED,
    MAX_RIGHTS,
    MEMORY_SECONDS,
    MIN_MISSING_SECONDS,
    MissingRights,
    right_of,
)
from tests.harness.clock import Clock

SECRETS = "/api/v1/namespaces/leave/secrets"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rights(clock: Clock) -> MissingRights:
    return MissingRights(clock)


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/api/v1/secrets", "list secrets in the whole cluster"),
        ("WATCH", "/api/v1/secrets", "watch secrets in the whole cluster"),
        ("POST", SECRETS, "create secrets in namespace leave"),
        ("GET", f"{SECRETS}/one", "get secrets in namespace leave"),
        ("PUT", f"{SECRETS}/one", "update secrets in namespace leave"),
        ("DELETE", f"{SECRETS}/one", "delete secrets in namespace leave"),
        ("GET", "/api/v1/namespaces", "list namespaces in the whole cluster"),
        ("GET", "/api/v1/namespaces/leave", "get namespaces in the whole cluster"),
        (
            "PUT",
            "/apis/scopewright.dev/v1alpha1/namespaces/leave/oauthclients/worker/status",
            "update oauthclients/status.scopewright.dev in namespace leave",
        ),
        ("POST", "/api/v1/namespaces/leave/serviceaccounts/x/token", "create serviceaccounts/token in namespace leave"),
    ],
)
def test_each_request_needs_one_right(method: str, path: str, right: str) -> None:
    assert str(right_of(method, path)) == right


@pytest.mark.parametrize("path", ["/livez", "/openid/v1/jwks", "/.well-known/openid-configuration", "/api", "/apis/x"])
def test_requests_for_no_resource_need_no_right(path: str) -> None:
    assert right_of("GET", path) is None


def test_a_missing_right_is_reported_after_a_minute(rights: MissingRights, clock: Clock) -> None:
    rights.answered("POST", SECRETS, True)
    clock.advance(seconds=MIN_MISSING_SECONDS - 1)
    rights.answered("POST", SECRETS, True)
    assert (rights.problems, rights.count) == ([], 0)
    clock.advance(seconds=1)
    assert rights.problems == ["a right is missing for 60 s: create secrets in namespace leave"]
    assert rights.count == 1


def test_a_right_that_was_given_is_no_longer_reported(rights: MissingRights, clock: Clock) -> None:
    rights.answered("POST", SECRETS, True)
    clock.advance(seconds=MIN_MISSING_SECONDS)
    rights.answered("PUT", f"{SECRETS}/one", False)
    rights.answered("POST", "/api/v1/namespaces/other/secrets", False)
    assert rights.count == 1
    rights.answered("POST", SECRETS, False)
    assert (rights.problems, rights.count) == ([], 0)


def test_a_right_that_is_no_longer_needed_is_forgotten(rights: MissingRights, clock: Clock) -> None:
    rights.answered("POST", SECRETS, True)
    clock.advance(seconds=MEMORY_SECONDS)
    assert rights.count == 0


def test_the_number_of_remembered_and_named_rights_is_bounded(rights: MissingRights, clock: Clock) -> None:
    for n in range(2 * MAX_RIGHTS):
        rights.answered("POST", f"/api/v1/namespaces/n{n}/secrets", True)
    clock.advance(seconds=MIN_MISSING_SECONDS)
    assert rights.count == MAX_RIGHTS
    assert len(rights.problems) == MAX_NAMED + 1
