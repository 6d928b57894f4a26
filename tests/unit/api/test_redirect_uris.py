"""Redirect URIs: the module's own functions agree with the CEL rules, and only the registered URI is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.api.redirect_uris import redirect_host, redirect_kind, redirect_matches, redirect_origin
from scopewright.api.validation import validate
from tests.cases.crd_rules import manifest
from tests.cases.login_rules import ACCEPTED, MALFORMED_URIS, PRIVATE_USE, REFUSED, WEB, login, public

APP = "http://127.0.0.1:8000/callback"

_POLICY = ("have-no-response-parameter",)
"""Rules about the meaning of a URI: it is canonical all the same."""


@pytest.mark.parametrize("uri", [*ACCEPTED, *PRIVATE_USE])
def test_canonical_uris_have_a_kind_and_a_host(uri: str) -> None:
    assert redirect_kind(uri)
    assert redirect_host(uri)
    assert redirect_origin(uri)


@pytest.mark.parametrize(
    "uri", [*MALFORMED_URIS, *(uri for rule, uris in REFUSED.items() if rule not in _POLICY for uri in uris)]
)
def test_refused_uris_have_no_kind(uri: str) -> None:
    """The operator's policy does not rely on the CEL rules."""
    assert redirect_kind(uri) is None
    with pytest.raises(ValueError, match="canonical"):
        redirect_host(uri)


_STARTS = ("https:", "http:", "com.example:", "//", "/", "hr.example", "127.0.0.1", "localhost", "[::1]")
_PARTS = st.sampled_from(
    (*_STARTS, ":8000", ":443", "@", "?", "#", "..", ".", "%2e", "%", "*", "a", "A", "&", "=", "\\", "[")
)


@given(st.lists(_PARTS, min_size=1, max_size=9).map("".join))
def test_a_uri_has_a_kind_if_and_only_if_the_rules_accept_it(uri: str) -> None:
    accepted = not validate(manifest("OAuthClient", public(login(uri))))
    assert (redirect_kind(uri) is not None) is accepted


@pytest.mark.parametrize(
    ("uri", "kind", "host", "origin"),
    [
        (WEB, "https", "hr.example", "https://hr.example"),
        ("https://hr.example:8443?a=b", "https", "hr.example", "https://hr.example:8443"),
        (APP, "loopback", "127.0.0.1", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/callback", "loopback", "[::1]", "http://[::1]:8000"),
        ("com.example.hr:/callback", "private-use", "hr.example.com", "com.example.hr:"),
        ("com.example.hr://evil.example/callback", "private-use", "hr.example.com", "com.example.hr:"),
    ],
)
def test_kind_host_and_origin(uri: str, kind: str, host: str, origin: str) -> None:
    assert (redirect_kind(uri), redirect_host(uri), redirect_origin(uri)) == (kind, host, origin)


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        f"{WEB}/",
        f"{WEB}?",
        f"{WEB}#",
        f"{WEB}?a=b",
        f"{WEB}2",
        "https://hr.example/Callback",
        "https://HR.example/callback",
        "https://hr.example:443/callback",
        "https://hr.example:8443/callback",
        "https://hr.example/a/../callback",
        "https://hr.example/%63allback",
        "https://hr.example@evil.example/callback",
        "https://hr.example.evil.example/callback",
        "http://hr.example/callback",
        f" {WEB}",
        f"{WEB}\n",
        "",
    ],
)
def test_another_uri_does_not_match(sent: str, public: bool) -> None:
    assert not redirect_matches(WEB, sent, public=public)
    assert redirect_matches(WEB, WEB, public=public)


@pytest.mark.parametrize("sent", ["http://127.0.0.1/callback", "http://127.0.0.1:1/callback", f"{APP}"])
def test_a_native_app_chooses_its_port_on_loopback(sent: str) -> None:
    """RFC 8252 §7.3."""
    for registered in (APP, "http://127.0.0.1/callback"):
        assert redirect_matches(registered, sent, public=True)
    assert redirect_matches(APP, sent, public=False) is (sent == APP)


@pytest.mark.parametrize(
    "sent",
    [
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:8000/callback2",
        "http://127.0.0.1:8000/callback?a",
        "http://127.0.0.1:8000/callback#a",
        "http://127.0.0.1:8000/callback\n",
        "http://127.0.0.1:8000@evil.example/callback",
        "http://127.0.0.1:8000.evil.example/callback",
        "http://127.0.0.1:8000\\@evil.example/callback",
        "http://127.0.0.2:8000/callback",
        "http://localhost:8000/callback",
        "http://[::1]:8000/callback",
        "https://127.0.0.1:8000/callback",
        "HTTP://127.0.0.1:8000/callback",
        "http://127.0.0.1:８000/callback",
    ],
)
def test_only_the_port_on_loopback_may_differ(sent: str) -> None:
    assert not redirect_matches(APP, sent, public=True)


def test_the_port_of_a_private_use_scheme_and_of_https_is_compared() -> None:
    assert not redirect_matches("com.example.hr://a:1/b", "com.example.hr://a:2/b", public=True)
    assert not redirect_matches("https://127.0.0.1:1/b", "https://127.0.0.1:2/b", public=True)
