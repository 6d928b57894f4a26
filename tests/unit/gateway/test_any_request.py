"""Whatever a caller sends, every profile decides in the same way, and no path is allowed but by its own rule."""

import contextlib
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.gateway.decide import Decision, Result
from scopewright.gateway.profiles import PROFILES
from scopewright.http.parser import RequestRefused
from tests.unit.gateway.support import HOST, MemoryGateway, question

PIECES = (
    "/",
    "/healthz",
    "/salaries",
    "/hello",
    "..",
    ".",
    "%2e",
    "%2F",
    "%5c",
    "\\",
    ";",
    "%25",
    "%00",
    "?",
    "#",
    "*",
)
LATIN = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f")
TARGETS = st.lists(st.sampled_from(PIECES) | st.text(LATIN, max_size=3), max_size=6).map(
    lambda parts: "/" + "".join(parts)
)
"""Proxies refuse all but the origin form (RFC 9112 §3.2.1)."""
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])

GATEWAY = MemoryGateway()


def decided(profile: str, target: str, method: str) -> Decision | None:
    """None if the server refuses the proxy's request."""
    with contextlib.suppress(RequestRefused):
        decision = GATEWAY.decide_at_once(question(profile, target, method))
        assert isinstance(decision, Decision), "without a token, nothing is awaited"
        return decision
    return None


@given(TARGETS, METHODS)
def test_profiles_agree(target: str, method: str) -> None:
    allowed = set()
    for profile in PROFILES:
        decision = decided(profile, target, method)
        allowed.add(decision.rule if decision is not None and decision.result is Result.ALLOWED else "")
        assert decision is None or decision.original == (method, target.encode("latin-1"), HOST)
    assert len(allowed) == 1


@given(TARGETS, METHODS)
def test_request_without_a_token_is_allowed_only_on_paths_that_need_none(target: str, method: str) -> None:
    """Also after the normalisations that a service may apply."""
    for profile in PROFILES:
        decision = decided(profile, target, method)
        if decision is None or decision.result is not Result.ALLOWED:
            continue
        path = unquote_to_bytes(target.partition("?")[0]).decode()
        assert path.removesuffix("/") == {"health": "/healthz", "greeting": "/hello"}[decision.rule]


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("target", [f"/{'a' * 4096}", f"/salaries?{'a' * 5000}"])
def test_only_the_path_has_a_maximum_length(profile: str, target: str) -> None:
    decision = decided(profile, target, "GET")
    assert decision is not None
    assert decision.reason == ("path" if target.startswith("/a") else "missing")
