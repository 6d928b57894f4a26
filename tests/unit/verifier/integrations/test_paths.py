"""Which requests need a token, on every integration: judged by what the views see, not by the status alone."""

from typing import Final

import pytest

from tests.unit.verifier.integrations.service import Service, bearer, is_public, problems
from tests.unit.verifier.support import token

TRICKS: Final = (
    "//healthz",
    "/healthz//",
    "/./healthz",
    "/healthz/.",
    "/healthz/..",
    "/healthz/../salaries/7",
    "/healthz/%2e%2e/salaries/7",
    "/healthz%2f..%2fsalaries%2f7",
    "/healthz%2Fx",
    "/healthz;/../salaries/7",
    "/healthz;x=1",
    "/healthz%3bx",
    "/healthz%00",
    "/healthz%0a",
    "/healthz%20",
    "/healthz%23",
    "/healthz%3f/salaries/7",
    "/healthz%",
    "/healthz%zz",
    "/healthz%252f..",
    "/healthz\\..\\salaries\\7",
    "/healthz%5c..%5csalaries",
    "/healthz%ff",
    "/healthz%c0%ae%c0%ae/salaries/7",
    "/HEALTHZ",
    "/Healthz",
    "/healthz.json",
    "/salaries/7/healthz",
    "/salaries/../healthz",
    "/salaries/7?x=/healthz",
    "/salaries/7#/healthz",
    "/salaries/7;/healthz",
    "/assets/../salaries/7",
    "/assets/..%2fsalaries/7",
    "/assets/%2e%2e%2fsalaries/7",
    "/assets/.%2e/salaries/7",
    "/assets/%2e./salaries/7",
    "/assets/x/../../salaries/7",
    "/assets/..;/salaries/7",
    "/assets/..\\salaries\\7",
    "/assets/%5c../salaries/7",
    "/assets//salaries/7",
    "/assets/%2f/salaries/7",
    "/assets/%252e%252e/salaries/7",
    "/assets/\xe4",
    "/assets%2f..%2fsalaries%2f7",
    "/assetsx",
    "/a%73sets/..%2fsalaries/7",
    "http://elsewhere.example/healthz",
    "//elsewhere.example/healthz",
    "*",
    "healthz",
    "",
)


@pytest.mark.parametrize("target", TRICKS, ids=repr)
def test_trick_with_the_path_reaches_no_protected_view(service: Service, target: str) -> None:
    answer = service.send(target)
    assert [path for path in service.record.seen if not is_public(path)] == []
    assert answer.status < 500
    assert service.record.errors == []


@pytest.mark.parametrize(
    "target", ["/healthz", "/healthz?x=1", "/assets/logo.svg", "/assets/a/b%20c", "/assets/%7Eann"]
)
def test_public_path_needs_no_token_and_ignores_one(service: Service, target: str) -> None:
    for headers in ([], bearer("garbage"), bearer(token(exp=1)), [*bearer("a"), *bearer("b")]):
        assert service.send(target, headers).status == 200
    assert len(service.record.seen) == 4


def test_optional_path_needs_no_token_and_refuses_an_invalid_one(service: Service) -> None:
    assert b"anonymous" in service.send("/maybe").body
    assert b"anonymous" in service.send("/maybe", [("Authorization", "Basic YTpi")]).body
    assert b"leave.leave-worker" in service.send("/maybe", bearer(token())).body
    service.record.seen.clear()
    for headers in (bearer("garbage"), bearer(token(exp=1)), [("Authorization", "Bearer")]):
        assert service.send("/maybe", headers).status == 401
    for twice in ([*bearer("a"), *bearer("b")], [("Authorization", "Basic YTpi"), *bearer(token())]):
        assert service.send("/maybe", twice).status == 400
    assert service.record.seen == []


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "PURGE"])
def test_every_method_needs_a_token(service: Service, method: str) -> None:
    answer = service.send("/salaries/7", method=method)
    assert service.record.seen == []
    assert answer.status in (401, 405)  # FastAPI compares the method before it resolves dependencies
    if answer.status == 401:
        assert list(problems(answer, 401, None)) == []


def test_error_of_a_view_is_an_error(service: Service) -> None:
    """The tests of this folder could not find an error that is reported otherwise."""
    if service.send("/broken", bearer(token())).status == 500:
        assert service.record.errors != []
