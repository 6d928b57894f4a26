"""The lists of events, results and reasons: those of the code, and those of docs/observability.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import scopewright.issuer
from scopewright.issuer.observability import user_events, user_metrics
from scopewright.issuer.observability.user_events import EndReason, UserEvent
from scopewright.issuer.users.login_pages import PasswordProblem
from tests.harness.users import UsersHarness

ISSUER_CODE = Path(scopewright.issuer.__file__).parent
PAGE = Path(__file__).resolve().parents[4] / "docs/observability.md"
OF_FAILURES = ("provider_unavailable", "session_store_not_shared", "store_unavailable")
"""Reasons of `protocol.errors.from_failure`."""
PROBLEMS = ("PageProblem", "UntrustedRequest", "PoolExhausted")


def calls(folder: str, *names: str) -> Iterator[ast.Call]:
    """Calls of these names in modules of the issuer."""
    for module in sorted(ISSUER_CODE.glob(f"{folder}/*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in names:
                yield node


def literals(found: Iterator[ast.Call], keyword: str | None = None) -> set[Any]:
    """Their first arguments, or those with this keyword, that are literals."""
    arguments = (
        next((k.value for k in call.keywords if k.arg == keyword), None) if keyword else next(iter(call.args), None)
        for call in found
    )
    return {argument.value for argument in arguments if isinstance(argument, ast.Constant)}


def documented(event: str) -> list[set[str]]:
    """The words in code of the row of an event: its results, and its reasons."""
    [row] = re.findall(rf"^\| `{event}` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    return [set(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")]


def test_each_reason_of_an_error_page_has_a_label() -> None:
    reasons = literals(calls("users", *PROBLEMS), "reason") | {"busy", "timeout", "store", "session_store_not_shared"}
    assert len(reasons) > 20
    assert reasons | {user_events.OTHER} == set(user_events.ERROR_PAGES)


def test_each_reason_of_a_refused_code_or_refresh_token_has_a_label() -> None:
    reasons = literals(calls("endpoints", "invalid_grant"))
    known = {*user_events.CODE_REFUSALS, *user_events.REFRESH_REFUSALS, *user_events.GRANT_REFUSALS}
    assert len(reasons) > 10
    assert known - reasons == {*OF_FAILURES, user_events.OTHER}
    assert reasons <= known


def test_each_problem_of_a_password_has_a_label() -> None:
    problems = {f"password_{problem}" for problem in get_args(PasswordProblem) if problem}
    assert problems < set(user_events.LOGIN_REASONS["static"])


async def test_each_page_has_a_label(users: UsersHarness) -> None:
    application: Any = users.issuer.issuer.users
    assert application._names == set(user_metrics.HANDLERS)


@pytest.mark.parametrize("event", get_args(UserEvent))
def test_the_documented_results_and_reasons_are_those_of_the_code(event: UserEvent) -> None:
    results, reasons = documented(event)
    assert results == set(user_events.RESULTS[event])
    expected: dict[UserEvent, set[str]] = {
        "login": {reason for of_way in user_events.LOGIN_REASONS.values() for reason in of_way},
        "access": {user_events.POLICY, user_events.NO_SCOPES},
        "session": set(get_args(EndReason)),
        "user_error": {*user_events.ERROR_PAGES} - {user_events.OTHER},
    }
    assert reasons == expected.get(event, set())


def test_the_documented_reasons_of_refused_grants_are_those_of_the_code() -> None:
    known = {*user_events.CODE_REFUSALS, *user_events.REFRESH_REFUSALS, *user_events.GRANT_REFUSALS}
    assert documented("token")[1] == known - {user_events.OTHER}
