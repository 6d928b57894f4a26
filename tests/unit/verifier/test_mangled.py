"""Generated input: the result is a token or a refusal, and no other exception."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.verifier import TokenRejected, bearer_token
from tests.unit.verifier.support import KEY, claims, raw_token, refusal, token

GOOD = token()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.text())
def test_any_text_is_refused(sent: str) -> None:
    assert refusal(sent) is not None


@settings(max_examples=500)
@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_a_token_with_one_character_changed_is_refused(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    assert changed == GOOD or refusal(changed) is not None


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_truncated_or_repeated_token_is_refused(start: int, end: int) -> None:
    changed = GOOD[:start] + GOOD[end:]
    assert changed == GOOD or refusal(changed) is not None


@settings(max_examples=300)
@given(st.sampled_from(["iss", "aud", "sub", "client_id", "exp", "iat", "nbf", "scope", "scopes", "cnf"]), JSON)
def test_a_signed_token_with_any_claim_replaced_is_accepted_or_refused(name: str, value: Any) -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    refusal(raw_token(header, json.dumps(claims() | {name: value}, allow_nan=True)))


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["typ", "alg", "kid", "crit", "jwk", "jku", "zip", "enc"]), JSON))
def test_any_header_is_accepted_or_refused(header: dict[str, Any]) -> None:
    refusal(raw_token(json.dumps(header, allow_nan=True), json.dumps(claims())))


@given(st.lists(st.text(), max_size=3), st.text())
def test_any_authorization_header_is_a_token_or_a_refusal(values: list[str], query: str) -> None:
    with suppress(TokenRejected):
        assert bearer_token(values, query)
