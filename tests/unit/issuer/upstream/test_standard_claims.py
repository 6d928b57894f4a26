"""Standard claims of a provider: what does not fit is dropped."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.issuer.upstream.standard_claims import standard_claims
from scopewright.issuer.users.claims import CLAIMS_BY_SCOPE

FIT: dict[str, Any] = {
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "middle_name": "Augusta",
    "nickname": "ada",
    "gender": "female",
    "birthdate": "1815-12-10",
    "zoneinfo": "Europe/London",
    "locale": "en-GB",
    "profile": "https://hr.example/ada",
    "picture": "https://hr.example/ada.png?size=1",
    "website": "https://ada.example/",
    "email": "ada@hr.example",
    "email_verified": True,
    "phone_number": "+44 20 7946 0000",
    "phone_number_verified": False,
    "updated_at": 1796000000,
    "address": {"formatted": "12 St James's Square\r\nLondon", "country": "UK"},
}
MAPPED = {"preferred_username", "groups"}


def test_claims_that_fit() -> None:
    assert standard_claims(FIT) == FIT


def test_every_claim_of_a_scope_is_known() -> None:
    """`users.claims` sends no other ones to applications."""
    assert {name for names in CLAIMS_BY_SCOPE.values() for name in names} == FIT.keys() | MAPPED


@pytest.mark.parametrize("name", ["sub", "iss", "groups", "preferred_username", "roles", "acr", "realm_access"])
def test_other_claims_are_dropped(name: str) -> None:
    assert standard_claims({name: "a"}) == {}


@pytest.mark.parametrize("name", ["name", "locale", "phone_number", "zoneinfo"])
@pytest.mark.parametrize("value", ["", "x" * 257, "a\nb", "a\x00", "\u202eevil", "a\u2028b", 7, True, ["Ada"], {}])
def test_text_that_does_not_fit(name: str, value: object) -> None:
    assert standard_claims({name: value}) == {}


@pytest.mark.parametrize("name", ["José", "李小龙", "محمد", "می\u200cخواهم", "O'Neil-Śmith", "<b>"])
def test_names_of_all_languages(name: str) -> None:
    assert standard_claims({"name": name}) == {"name": name}


@pytest.mark.parametrize(
    "value", ["ada", "@hr.example", "a@b@c", "a b@c", "a@b\nBcc: eve@evil.example", "a@b,eve@c", "<a@b>", "x" * 400, 7]
)
def test_text_that_is_not_an_email(value: object) -> None:
    assert standard_claims({"email": value, "email_verified": True}) == {}


@pytest.mark.parametrize("value", ["true", "True", 1, None, "false", [True]])
def test_verified_is_a_boolean(value: object) -> None:
    assert standard_claims({"email": "a@b.example", "email_verified": value}) == {"email": "a@b.example"}


def test_nothing_is_verified_without_its_claim() -> None:
    assert standard_claims({"email_verified": True, "phone_number_verified": True}) == {}


@pytest.mark.parametrize("name", ["profile", "picture", "website"])
@pytest.mark.parametrize(
    "value",
    [
        "http://hr.example/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "//hr.example/a",
        'https://hr.example/"onload=',
        "https://hr.example/" + "a" * 2048,
        7,
    ],
)
def test_link_that_is_not_https(name: str, value: object) -> None:
    assert standard_claims({name: value}) == {}


@pytest.mark.parametrize("value", ["1796000000", True, -1, 1e300, None])
def test_time_that_does_not_fit(value: object) -> None:
    assert standard_claims({"updated_at": value}) == {}


@pytest.mark.parametrize(
    "value", ["London", [], {}, {"planet": "Earth"}, {"country": 7}, {"country": "x" * 513}, {"country": "a\x00"}]
)
def test_address_that_does_not_fit(value: object) -> None:
    assert standard_claims({"address": value}) == {}


_ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400) | st.lists(st.text(max_size=3))


@given(st.dictionaries(st.sampled_from(sorted(FIT)), _ANY | st.dictionaries(st.sampled_from(["country", "x"]), _ANY)))
def test_any_claims_have_a_bound(claims: dict[str, Any]) -> None:
    found = standard_claims(claims)
    assert found.keys() <= claims.keys()
    assert len(json.dumps(found, ensure_ascii=False)) < 10_000
