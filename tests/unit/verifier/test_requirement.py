"""What a route requires: scopes, one of several scopes, one of several roles."""

from typing import Any

import pytest

from scopewright.verifier import Token, TokenRejected
from scopewright.verifier.requirement import Requirement


def token(*scopes: str, roles: tuple[str, ...] = (), jkt: str | None = None) -> Token:
    return Token("s", "c", frozenset(scopes), "i", ("a",), 0.0, {}, "v", jkt, frozenset(roles))


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement.of(),
        Requirement.of("read"),
        Requirement.of("read write"),
        Requirement.of(any_of=["admin", "write"]),
        Requirement.of(any_of="admin write"),
        Requirement.of("read", any_of=["write"], roles=["auditor", "manager"]),
        Requirement.of(roles="manager"),
    ],
)
def test_sufficient_token_is_returned(requirement: Requirement) -> None:
    sufficient = token("read", "write", roles=("manager",))
    assert requirement.check(sufficient) is sufficient


@pytest.mark.parametrize(
    ("requirement", "scope", "named"),
    [
        (Requirement.of("read admin"), "admin read", "admin read"),
        (Requirement.of("read", any_of=["payroll.write", "admin"]), "payroll.write read", "payroll.write or admin"),
        (Requirement.of("read", roles=["manager", "auditor"]), "", "manager or auditor"),
    ],
)
def test_insufficient_token_is_refused_with_what_is_missing(requirement: Requirement, scope: str, named: str) -> None:
    with pytest.raises(TokenRejected, match=named) as refused:
        requirement.check(token("read", "write", roles=("clerk",)))
    assert (refused.value.status, refused.value.error) == (403, "insufficient_scope")
    assert sorted(refused.value.scope.split()) == sorted(scope.split())
    assert refused.value.scheme == "Bearer"


@pytest.mark.parametrize("requirement", [Requirement.of("a"), Requirement.of(any_of="a"), Requirement.of(roles="a")])
def test_refusal_of_a_bound_token_has_the_scheme_dpop(requirement: Requirement) -> None:
    with pytest.raises(TokenRejected) as refused:
        requirement.check(token(jkt="thumbprint"))
    assert refused.value.scheme == "DPoP"


def test_request_without_a_token_is_refused_with_401() -> None:
    with pytest.raises(TokenRejected) as refused:
        Requirement.of().check(None)
    assert (refused.value.status, refused.value.error) == (401, None)


@pytest.mark.parametrize(
    "arguments", [{"scopes": ['a"b']}, {"any_of": ["a\\b"]}, {"roles": [""]}, {"roles": ['a"b']}, {"roles": ["ä"]}]
)
def test_name_that_cannot_be_in_a_challenge_is_refused(arguments: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"scope|role"):
        Requirement.of(**arguments)


@pytest.mark.parametrize(("argument", "empty"), [("any_of", []), ("any_of", ""), ("roles", ()), ("roles", iter(()))])
def test_empty_list_of_alternatives_is_refused(argument: str, empty: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument}= is empty"):
        Requirement.of("read", **{argument: empty})


@pytest.mark.parametrize("arguments", [{"scopes": (["read"],)}, {"any_of": (["read"],)}, {"roles": (["auditor"],)}])
def test_list_in_place_of_a_name_is_refused_with_its_value(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"(scope|role).*\['(read|auditor)'\]"):
        Requirement.of(**arguments)  # as `require(request, ["read"])`
