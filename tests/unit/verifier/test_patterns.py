"""`public=` and `optional=`: which paths need no token."""

import pytest

from scopewright.verifier.canonical_path import is_canonical
from scopewright.verifier.patterns import AuthenticationByPath, PathAuthentication, PathPattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/", ["", "/"], ["/a"]),
        ("/healthz", ["/healthz", "/healthz/"], ["/", "/Healthz", "/healthzx", "/healthz/a", "/a/healthz"]),
        ("/healthz/", ["/healthz", "/healthz/"], ["/"]),
        ("/users/*", ["/users/7", "/users/é", "/users/7/"], ["/users", "/users/", "/users/7/pay"]),
        ("/users/*/photo", ["/users/7/photo"], ["/users/7", "/users/photo", "/users/7/8/photo"]),
        (
            "/assets/**",
            ["/assets", "/assets/", "/assets/a", "/assets/a/b.css"],
            ["/", "/asset", "/assetsx", "/x/assets"],
        ),
        ("/**", ["", "/", "/a", "/a/b"], []),
        ("/*/**", ["/a", "/a/b"], ["/"]),
        ("/.well-known/jwks.json", ["/.well-known/jwks.json"], ["/well-known/jwks.json"]),
    ],
)
def test_pattern_matches_whole_segments(pattern: str, matching: list[str], others: list[str]) -> None:
    paths = AuthenticationByPath(public=[pattern])
    assert {path: paths.of(path) for path in matching} == dict.fromkeys(matching, PathAuthentication.NONE)
    assert {path: paths.of(path) for path in others} == dict.fromkeys(others, PathAuthentication.REQUIRED)


@pytest.mark.parametrize(
    "text",
    [
        "healthz",
        "",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/**/b",
        "/a*",
        "/***",
        "/a?b",
        "/a#b",
        "/a;b",
        "/%61",
        "/ä",
        "/a b",
    ],
)
def test_text_that_is_no_pattern_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        PathPattern.parse(text)
    with pytest.raises(ValueError, match="optional="):
        AuthenticationByPath(optional=[text])


def test_most_specific_pattern_decides_in_any_order() -> None:
    public, optional = ["/**", "/shop/cart/*"], ["/shop/**", "/shop/*/items"]
    expected = {
        "/": PathAuthentication.NONE,
        "/shop": PathAuthentication.OPTIONAL,
        "/shop/cart/7": PathAuthentication.NONE,
        "/shop/cart/items": PathAuthentication.NONE,
        "/shop/books/items": PathAuthentication.OPTIONAL,
    }
    for paths in (AuthenticationByPath(public, optional), AuthenticationByPath(public[::-1], optional[::-1])):
        assert {path: paths.of(path) for path in expected} == expected


def test_pattern_that_is_public_and_optional_is_refused() -> None:
    with pytest.raises(ValueError, match="same pattern /a"):
        AuthenticationByPath(public=["/a"], optional=["/a/"])


@pytest.mark.parametrize(
    "path",
    [
        *("//a", "/a//b", "/a//", "/./a", "/a/.", "/a/..", "/../a", "a", "*"),
        *(
            "/a;b",
            "/a#b",
            "/a?b",
            "/a%2Fb",
            "/a\\b",
            "/a\x00",
            "/a\x1f",
            "/a\x7f",
            "/\ufffd",
            "/\udcff",
            "/" + "a" * 4096,
        ),
    ],
)
def test_path_that_services_read_in_different_ways_is_not_canonical(path: str) -> None:
    assert not is_canonical(path)
    assert AuthenticationByPath(public=["/**"], optional=["/a/**"]).of(path) is PathAuthentication.REQUIRED


@pytest.mark.parametrize("escape", ["%2F", "%2f", "%5C", "%5c", "%3B", "%3F", "%23", "%25", "%00", "%1f", "%7F"])
def test_raw_path_with_an_ambiguous_escape_matches_no_pattern(escape: str) -> None:
    paths = AuthenticationByPath(public=["/**"])
    assert paths.of("/a/b", f"/a{escape}b") is PathAuthentication.REQUIRED
    assert paths.of("/a b", "/a%20b") is PathAuthentication.NONE
