"""From a provider's claims to a user."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.providers.groups import is_allowed
from scopewright.core.records.identity_provider import ClaimMappings, ClaimPath
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.claims import (
    MAX_GROUP,
    MAX_GROUPS,
    UpstreamClaims,
    groups_of,
    user_of,
    value_at,
)
from scopewright.issuer.upstream.login import LoginRefused
from tests.unit.issuer.upstream.support import RECORD

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def user(claims: dict[str, Any], userinfo: dict[str, Any] | None = None, **mappings: Any) -> AuthenticatedUser:
    record = replace(RECORD, claims=ClaimMappings(**mappings))
    return user_of(record, UpstreamClaims(claims, userinfo or {}), 0)


def groups(value: Any, allow: tuple[str, ...] = ("*",), prefix: str = "") -> tuple[str, ...]:
    mappings = ClaimMappings(groups=("groups",), groups_allow=allow, groups_prefix=prefix)
    return groups_of(UpstreamClaims({"groups": value}, {}), mappings)


def refusal(value: Any, allow: tuple[str, ...] = ("*",), prefix: str = "") -> str:
    with pytest.raises(LoginRefused) as raised:
        groups(value, allow, prefix)
    return raised.value.reason


# Paths


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("a",), {"b": {"c": 1}}),
        (("a", "b"), {"c": 1}),
        (("a", "b", "c"), 1),
        (("a", "b", "c", "d"), None),
        (("a", "x"), None),
        (("a.b",), 2),
        ((), None),
    ],
)
def test_value_at_a_path(path: ClaimPath, value: Any) -> None:
    assert value_at({"a": {"b": {"c": 1}}, "a.b": 2}, path) == value


@given(JSON, st.lists(st.text(), max_size=3))
def test_path_through_anything(value: Any, path: list[str]) -> None:
    value_at({"a": value}, ("a", *path))


# Subject and username


@pytest.mark.parametrize(("value", "subject"), [("ada", "ada"), (42, "42"), (0, "0"), ("x" * 255, "x" * 255)])
def test_subject(value: object, subject: str) -> None:
    assert user({"sub": value}).subject == subject_of(RECORD.subject_domain, subject)


@pytest.mark.parametrize("value", [None, "", "x" * 256, True, False, 1.5, ["ada"], {"id": "ada"}, 10**255])
def test_value_that_is_not_a_subject(value: object) -> None:
    with pytest.raises(LoginRefused) as raised:
        user({"sub": value})
    assert raised.value.reason == "subject"


def test_subject_of_another_claim_is_needed() -> None:
    assert user({"sub": "a", "oid": "b"}, subject=("oid",)).subject == subject_of(RECORD.subject_domain, "b")
    with pytest.raises(LoginRefused):
        user({"sub": "a"}, subject=("oid",))


@pytest.mark.parametrize("name", [None, 7, "", "a\nb", "\u202eadmin", "x" * 257])
def test_username_that_does_not_fit_is_dropped(name: object) -> None:
    assert "preferred_username" not in user({"sub": "a", "preferred_username": name}).claims


def test_username_of_another_claim() -> None:
    claims = {"sub": "a", "preferred_username": "b", "upn": "c"}
    assert user(claims, username=("upn",)).claims["preferred_username"] == "c"


# Groups


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ("a", "b")),
        ("a", ("a",)),
        ([], ()),
        (None, ()),
        (["b", "a", "b"], ("b", "a")),
        (["a b", "ä/ö"], ("a b", "ä/ö")),
    ],
)
def test_groups(value: object, expected: tuple[str, ...]) -> None:
    assert groups(value) == expected


def test_only_groups_that_are_allowed() -> None:
    names = ["hr", "hr-", "hr-staff", "HR-staff", "xhr-staff", "admins", "admin", "hr-*"]
    assert groups(names, ("hr-*", "admins")) == ("hr-", "hr-staff", "admins", "hr-*")


def test_prefix_is_added_after_the_filter() -> None:
    assert groups(["staff", "hr-staff"], ("staff", "hr-x"), "hr-") == ("hr-staff",)


def test_groups_of_a_path() -> None:
    mappings = ClaimMappings(groups=("realm_access", "roles"), groups_allow=("hr-*",))
    claims = {"realm_access": {"roles": ["hr-staff", "offline_access"]}}
    assert groups_of(UpstreamClaims(claims, {}), mappings) == ("hr-staff",)


def test_groups_that_are_not_mapped() -> None:
    assert user({"sub": "a", "groups": ["hr-staff"]}).groups == ()


def test_groups_are_not_a_claim() -> None:
    assert "groups" not in user({"sub": "a", "groups": ["x"]}, groups=("groups",), groups_allow=("*",)).claims


def test_most_groups() -> None:
    names = [f"hr-{number}" for number in range(MAX_GROUPS)]
    assert groups([*names, *(f"other-{number}" for number in range(1000))], ("hr-*",)) == tuple(names)


def test_one_group_more_is_refused() -> None:
    assert refusal([f"hr-{number}" for number in range(MAX_GROUPS + 1)], ("hr-*",)) == "too_many_groups"


@pytest.mark.parametrize("allow", [(), ("hr-*",)])
def test_names_that_are_not_allowed_have_a_bound_too(allow: tuple[str, ...]) -> None:
    """Each is compared with each entry of `groups.allow`: for a mebibyte of them, that would take seconds."""
    assert groups(["other"] * 10_000, allow) == ()
    with pytest.raises(LoginRefused) as raised:
        groups(["other"] * 10_001, allow)
    assert raised.value.reason == "too_many_groups"


def test_longest_group() -> None:
    assert groups(["x" * (MAX_GROUP - 3)], prefix="hr-") == ("hr-" + "x" * (MAX_GROUP - 3),)
    assert refusal(["x" * (MAX_GROUP - 2)], prefix="hr-") == "too_many_groups"


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "a\x7f"])
def test_name_that_no_grant_can_have(name: str) -> None:
    assert refusal([name]) == "too_many_groups"


@pytest.mark.parametrize("value", [7, True, {"hr-staff": True}, ["hr-staff", 7], [["hr-staff"]], [{"name": "x"}]])
def test_claim_that_is_not_a_list_of_names(value: object) -> None:
    assert refusal(value) == "id_token"


@pytest.mark.parametrize("elsewhere", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
@pytest.mark.parametrize("in_userinfo", [True, False])
def test_groups_that_the_provider_keeps_elsewhere(elsewhere: dict[str, Any], *, in_userinfo: bool) -> None:
    """Entra ID sends no groups of a user who has more than 200: that is not a user without groups."""
    claims = UpstreamClaims({} if in_userinfo else elsewhere, elsewhere if in_userinfo else {})
    with pytest.raises(LoginRefused) as raised:
        groups_of(claims, ClaimMappings(groups=("groups",), groups_allow=("*",)))
    assert raised.value.reason == "too_many_groups"


def test_other_claims_elsewhere_do_not_matter() -> None:
    claims = UpstreamClaims({"_claim_names": {"address": "src1"}, "hasgroups": False}, {})
    assert groups_of(claims, ClaimMappings(groups=("groups",), groups_allow=("*",))) == ()


@given(st.lists(st.text(max_size=12), max_size=30), st.lists(st.text(max_size=6), max_size=5), st.text(max_size=5))
def test_every_group_is_allowed_and_named_once(names: list[str], allow: list[str], prefix: str) -> None:
    try:
        found = groups(names, tuple(allow), prefix)
    except LoginRefused:
        return
    assert len(set(found)) == len(found)
    for group in found:
        name = group.removeprefix(prefix)
        assert group == prefix + name
        assert name in names
        assert is_allowed(name, allow)
    assert {name for name in names if is_allowed(name, allow)} == {group[len(prefix) :] for group in found}


# acr and amr


@pytest.mark.parametrize(
    ("allow", "acr", "amr"), [((), "", ()), (("gold",), "gold", ("pwd", "otp")), (("silver",), "", ("pwd", "otp"))]
)
def test_authentication_context(allow: tuple[str, ...], acr: str, amr: tuple[str, ...]) -> None:
    found = user({"sub": "a", "acr": "gold", "amr": ["pwd", "otp"]}, acr_allow=allow)
    assert (found.acr, found.amr) == (acr, amr)


@pytest.mark.parametrize("claims", [{"acr": ["gold"]}, {"acr": 1}, {"amr": "pwd"}, {"amr": ["pwd", 1]}])
def test_authentication_context_of_another_shape(claims: dict[str, Any]) -> None:
    found = user({"sub": "a", **claims}, acr_allow=("gold", "1"))
    assert (found.acr, found.amr) == ("", ())


def test_list_of_methods_has_a_bound() -> None:
    assert user({"sub": "a", "amr": ["pwd"] * 17}, acr_allow=("gold",)).amr == ()


@given(st.dictionaries(st.sampled_from(["sub", "groups", "acr", "amr", "name", "preferred_username"]), JSON))
def test_any_claims_give_a_user_or_a_refusal(claims: dict[str, Any]) -> None:
    try:
        found = user(claims, groups=("groups",), groups_allow=("*",), acr_allow=("a",))
    except LoginRefused:
        return
    assert len(found.subject) == 28
    assert all(isinstance(group, str) for group in found.groups)
    assert all(isinstance(method, str) for method in found.amr)


# Verified addresses


@pytest.mark.parametrize("name", ["email", "phone_number"])
@pytest.mark.parametrize(
    ("id_token", "userinfo", "expected"),
    [
        (("a@example", None), ("a@example", True), ("a@example", True)),
        (("a@example", None), ("b@example", True), ("a@example", None)),
        (("a@example", False), ("b@example", True), ("a@example", False)),
        ((None, None), ("b@example", True), ("b@example", True)),
        (("a@example", True), (None, None), ("a@example", True)),
        ((None, True), ("b@example", None), ("b@example", None)),
    ],
)
def test_an_address_is_verified_by_its_own_source(name: str, id_token: Any, userinfo: Any, expected: Any) -> None:
    def claims(values: tuple[str | None, bool | None]) -> dict[str, Any]:
        named = zip((name, f"{name}_verified"), values, strict=True)
        return {key: value for key, value in named if value is not None}

    found = user({"sub": "ada", **claims(id_token)}, {"sub": "ada", **claims(userinfo)}).claims
    assert {key: value for key, value in found.items() if key.startswith(name)} == claims(expected)
