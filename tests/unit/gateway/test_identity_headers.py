"""Identity headers: one for each value, in every answer, with nothing that a header cannot have."""

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from scopewright.gateway.identity_headers import DEFAULT_NAMES, IdentityHeaders
from scopewright.verifier import Token, check
from tests.unit.verifier.support import KEYS, NOW, POLICY, token


def verified(**changes: Any) -> Token:
    return check(token(**changes), KEYS, POLICY, NOW)


def of(identity: IdentityHeaders, known: Token | None) -> dict[str, str]:
    return {name.decode(): value.decode("ascii") for name, value in identity.of(known)}


def test_token_has_one_header_for_each_value() -> None:
    known = verified(scope="payroll.write payroll.read", roles=["b", "a"], sub="user-7")
    assert of(IdentityHeaders(), known) == {
        "x-auth-subject": "user-7",
        "x-auth-client": "leave.leave-worker",
        "x-auth-scope": "payroll.read payroll.write",
        "x-auth-roles": "a b",
        "x-auth-token-id": "0",
    }


def test_request_without_a_token_has_every_header_empty() -> None:
    assert of(IdentityHeaders(), None) == {name.lower(): "" for name in DEFAULT_NAMES.values()}


def test_value_that_the_token_lacks_is_empty() -> None:
    headers = of(IdentityHeaders(), verified(scope=None))
    assert (headers["x-auth-scope"], headers["x-auth-roles"]) == ("", "")
    assert len(headers) == len(DEFAULT_NAMES)


@pytest.mark.parametrize(
    ("subject", "header"),
    [
        ("l\u00f6hne", "l%C3%B6hne"),
        ("a b", "a%20b"),
        ("a\r\nX-Auth-Roles: admin", "a%0D%0AX-Auth-Roles:%20admin"),
        ("100%", "100%25"),
        ("a%20b", "a%2520b"),
        ("\x7f\x00", "%7F%00"),
        ("~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}", "~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}"),
        ("\U0001f600", "%F0%9F%98%80"),
    ],
)
def test_all_but_printable_ascii_is_percent_encoded(subject: str, header: str) -> None:
    headers = of(IdentityHeaders(), verified(sub=subject))
    assert headers["x-auth-subject"] == header
    assert unquote(header) == subject


def test_role_with_a_space_is_not_two_roles() -> None:
    assert of(IdentityHeaders(), verified(roles=["a b", "c"]))["x-auth-roles"] == "a%20b c"


def test_names_can_be_replaced() -> None:
    headers = of(IdentityHeaders({"subject": "X-User"}), verified())
    assert headers["x-user"] == "leave.leave-worker"
    assert "x-auth-subject" not in headers
    assert "x-auth-client" in headers


@pytest.mark.parametrize(
    "names",
    [
        {"email": "X-Email"},
        {"subject": "X_Auth_Subject"},
        {"subject": "Authorization"},
        {"subject": "Content-Length"},
        {"subject": "X-Auth: a"},
        {"subject": ""},
        {"subject": "X-Auth-Client"},
        {"subject": "x-auth-client"},
    ],
)
def test_name_that_cannot_be_used_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="identity header"):
        IdentityHeaders(names)


def test_headers_are_those_of_this_token_and_not_of_one_that_was_seen_before() -> None:
    """Another audience may give the same text other roles, and a cached token is verified again."""
    identity, first = IdentityHeaders(), verified(roles=["a"])
    second = replace(first, roles=frozenset({"b"}))
    assert of(identity, first)["x-auth-roles"] == "a"
    assert of(identity, second)["x-auth-roles"] == "b"
    assert of(identity, first)["x-auth-roles"] == "a"


def test_headers_of_a_long_token_are_complete_and_not_remembered() -> None:
    identity = IdentityHeaders()
    long = verified(scope=" ".join(f"scope-{number}" for number in range(300)))
    assert len(of(identity, long)["x-auth-scope"].split()) == 300
    assert identity.of(long) is not identity.of(long)
    short = verified()
    assert identity.of(short) is identity.of(short)
