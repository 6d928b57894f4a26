"""Refusals as `WWW-Authenticate` headers (RFC 6750 §3)."""

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from scopewright.verifier import KeysUnavailable, Reason, TokenRejected, bearer_token, check
from scopewright.verifier.frameworks import refusal_as
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEYS, NOW, POLICY, token


def test_challenge_for_a_missing_token_has_no_error_code() -> None:
    assert TokenRejected(Reason.MISSING).www_authenticate == "Bearer"
    assert TokenRejected(Reason.MISSING).challenge("payroll") == 'Bearer realm="payroll"'
    assert TokenRejected(Reason.MISSING).status == 401


def test_challenge_for_an_invalid_token_is_invalid_token() -> None:
    assert TokenRejected(Reason.EXPIRED).www_authenticate == (
        'Bearer error="invalid_token", error_description="The access token has expired; ask the issuer for a new one"'
    )


def test_challenge_for_a_missing_scope_has_the_scope() -> None:
    rejected = TokenRejected(Reason.SCOPE, scopes=["payroll.read", "payroll.write"])
    assert rejected.status == 403
    assert rejected.www_authenticate.endswith(', scope="payroll.read payroll.write"')
    assert 'error="insufficient_scope"' in rejected.www_authenticate


@pytest.mark.parametrize("reason", list(Reason))
def test_every_description_is_valid_in_a_header_and_unique(reason: Reason) -> None:
    expected = {Reason.ISSUER: ISSUER, Reason.AUDIENCE: AUDIENCE}.get(reason, "")
    rejected = TokenRejected(reason, expected=expected, scopes=["a"] if reason is Reason.SCOPE else ())
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", rejected.description)
    assert str(rejected) == rejected.description
    assert [r for r in Reason if TokenRejected(r, expected=expected).description == rejected.description] in (
        [reason],
        [],
    )
    assert rejected.www_authenticate.isascii()


def test_realm_is_quoted_safely() -> None:
    assert TokenRejected(Reason.MISSING).challenge('a", error="x\r\n') == 'Bearer realm="a?, error=?x??"'


def test_keys_unavailable_has_retry_after_in_whole_seconds() -> None:
    assert [KeysUnavailable(seconds).retry_after for seconds in (-5, 0, 0.2, 1.2, 30)] == [1, 1, 1, 2, 30]
    assert KeysUnavailable().status == 503


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc ", ["Bearer abc"]])
def test_scheme_is_case_insensitive(header: str | list[str]) -> None:
    assert bearer_token(header) == "abc"


@pytest.mark.parametrize(
    ("header", "query", "reason"),
    [
        (None, "", Reason.MISSING),
        ([], "", Reason.MISSING),
        ("", "", Reason.MISSING),
        ("Bearer", "", Reason.MISSING),
        ("Bearer ", "", Reason.MISSING),
        ("Basic YTpi", "", Reason.MISSING),
        ("DPoP abc", "", Reason.SCHEME),
        ([], "access_token=abc", Reason.MISSING),
        ("Bearer a b", "", Reason.MALFORMED),
        ("Bearer a, Bearer b", "", Reason.TWO_WAYS),
        ("Bearer ä", "", Reason.MALFORMED),
        ("Bearer abc", "x=1&access_token=abc", Reason.TWO_WAYS),
        ("Bearer abc", "access%5Ftoken=abc", None),
        ("Bearer abc", "access_token", Reason.TWO_WAYS),
        (["Bearer a", "Bearer a"], "", Reason.TWO_WAYS),
        (["Basic YTpi", "Bearer a"], "", Reason.TWO_WAYS),
        ("Bearer abc", "my_access_token=1", None),
    ],
)
def test_token_is_accepted_from_one_header_only(
    header: str | list[str] | None, query: str, reason: Reason | None
) -> None:
    if reason is None:
        assert bearer_token(header, query) == "abc"
        return
    with pytest.raises(TokenRejected) as caught:
        bearer_token(header, query)
    assert caught.value.reason is reason
    assert (caught.value.status == 400) is (reason is Reason.TWO_WAYS)


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "refusal",
    [
        TokenRejected(Reason.SCOPE, scopes=["payroll.read"]),
        refusal_as((HTTPException,), TokenRejected(Reason.EXPIRED), headers={"WWW-Authenticate": "Bearer"}),
        KeysUnavailable(7, "The issuer is down", "connection refused"),
        refusal_as((HTTPException,), KeysUnavailable(7), headers={}),
    ],
)
def test_refusal_is_the_same_after_pickling(refusal: Any, copied: Callable[[Any], Any]) -> None:
    after = copied(refusal)
    assert type(after) in (TokenRejected, KeysUnavailable)
    assert (str(after), after.args, vars(after)) == (str(refusal), refusal.args, vars(refusal))


@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy])
def test_token_is_the_same_after_pickling(copied: Callable[[Any], Any]) -> None:
    verified = check(token(), KEYS, POLICY, NOW)
    after = copied(verified)
    assert after == verified
    with pytest.raises(TypeError, match="does not support item assignment"):
        after.claims["sub"] = "other"
