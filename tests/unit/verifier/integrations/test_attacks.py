"""Every attack on tokens and headers, on every integration: nothing reaches a view, and no refusal is an error."""

import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from scopewright.verifier import Reason
from scopewright.verifier.refusals import code_of
from tests.cases.attacks import Attack, Forge, attacks
from tests.unit.verifier.integrations.service import Answer, Headers, Service, bearer, problems
from tests.unit.verifier.support import (
    KEY,
    NOW,
    URL,
    FakeIssuer,
    bound_token,
    claims,
    feed,
    proof,
    token,
)

PATH: Final = "/salaries/7"
ATTACKS: Final = attacks(Forge(KEY, claims(), int(NOW)))


@pytest.fixture(autouse=True)
def no_error(service: Service, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No refusal is logged as an error, or passed to what reports errors."""
    with caplog.at_level(logging.INFO):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert service.record.errors == []


def assert_refused(service: Service, answer: Answer, status: int, error: str | None) -> None:
    assert list(problems(answer, status, error)) == []
    assert service.record.seen == []


def sendable(attack: Attack) -> bool:
    """A header is one line of Latin-1 (RFC 9110 §5.5). Spaces before the token belong to the scheme (§11.4)."""
    in_latin_1 = all(ord(character) < 256 for character in attack.token)
    return attack.token.isprintable() and in_latin_1 and attack.token == attack.token.lstrip()


def expected(attack: Attack) -> tuple[int, str | None]:
    """In a header, no token is another reason than a malformed one, and a comma separates two tokens."""
    if not attack.token:
        return code_of(Reason.MISSING)
    return code_of(Reason.TWO_WAYS if "," in attack.token else attack.reason)


def test_every_attack_is_refused(service: Service) -> None:
    count = 0
    assert service.send(PATH, bearer(token())).status == 200
    service.record.seen.clear()
    for attack in filter(sendable, ATTACKS):
        answer = service.send(PATH, bearer(attack.token))
        status, error = expected(attack)
        assert list(problems(answer, status, error)) == [], attack.name
        assert service.record.seen == [], attack.name
        count += 1
    assert count > 200
    assert service.send(PATH, bearer(token())).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ([], 401, None),
        ([("Authorization", "")], 401, None),
        ([("Authorization", "Bearer")], 401, None),
        ([("Authorization", "Basic YTpi")], 401, None),
        ([("Authorization", "Token {}")], 401, None),
        ([("Authorization", "{}")], 401, None),
        ([("Authorization", "Bearer {} x")], 401, "invalid_token"),
        ([("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")], 400, "invalid_request"),
        ([("Authorization", "Bearer {}"), ("Authorization", "Basic YTpi")], 400, "invalid_request"),
        ([("Authorization", "Basic YTpi"), ("Authorization", "Bearer {}")], 400, "invalid_request"),
        ([("Authorization", "Bearer {}, Bearer {}")], 400, "invalid_request"),
        ([("X-Authorization", "Bearer {}")], 401, None),
        ([("Cookie", "access_token={}")], 401, None),
        ([("Authorization", "DPoP {}")], 401, "invalid_token"),
    ],
)
def test_other_ways_to_send_a_valid_token_are_refused(
    service: Service, headers: Headers, status: int, error: str | None
) -> None:
    sent = [(name, value.replace("{}", token())) for name, value in headers]
    assert_refused(service, service.send(PATH, sent), status, error)


def test_token_in_the_query_is_refused(service: Service) -> None:
    assert_refused(service, service.send(f"{PATH}?access_token={token()}"), 401, None)
    both = service.send(f"{PATH}?access_token={token()}", bearer(token()))
    assert_refused(service, both, 400, "invalid_request")


def test_bound_token_without_its_proof_is_refused(service: Service) -> None:
    sent = bound_token()
    assert_refused(service, service.send(PATH, bearer(sent)), 401, "invalid_token")
    dpop = [("Authorization", f"DPoP {sent}")]
    assert_refused(service, service.send(PATH, dpop), 401, "invalid_dpop_proof")
    for wrong in (proof(sent, htu=URL + "x"), proof(sent, htm="POST"), proof(bound_token()), "x"):
        assert_refused(service, service.send(PATH, [*dpop, ("DPoP", wrong)]), 401, "invalid_dpop_proof")
    twice = [("DPoP", proof(sent)), ("DPoP", proof(sent))]
    assert_refused(service, service.send(PATH, [*dpop, *twice]), 401, "invalid_dpop_proof")


def test_proof_is_accepted_once(service: Service) -> None:
    sent = bound_token()
    headers = [("Authorization", f"DPoP {sent}"), ("DPoP", proof(sent))]
    assert service.send(f"{PATH}?year=2027", headers).status == 200
    service.record.seen.clear()
    assert_refused(service, service.send(PATH, headers), 401, "invalid_dpop_proof")


def test_revoked_token_is_refused(service: Service, issuer: FakeIssuer) -> None:
    issuer.feed = feed(everybody=int(NOW))
    assert_refused(service, service.send(PATH, bearer(token())), 401, "invalid_token")
    assert service.send(PATH, bearer(token(iat=int(NOW) + 1))).status == 200


def test_unreachable_issuer_is_503_with_retry_after(service: Service, issuer: FakeIssuer) -> None:
    issuer.unavailable = True
    answer = service.send(PATH, bearer(token()))
    assert_refused(service, answer, 503, None)
    assert b"ConnectError" not in answer.body + str(answer.headers).encode()
    assert service.send("/healthz").status == 200


@pytest.mark.parametrize(
    ("path", "lacking", "sufficient"),
    [
        (PATH, {"scope": "payroll.write"}, {"scope": "payroll.read"}),
        ("/write", {"scope": "payroll.read"}, {"scope": "payroll.read payroll.write"}),
        ("/audit", {"scope": "payroll.write", "roles": ["owner"]}, {"scope": "payroll.audit", "roles": ["owner"]}),
        ("/audit", {"scope": "payroll.read", "roles": ["guest"]}, {"scope": "payroll.read", "roles": ["auditor"]}),
        ("/audit", {"scope": "payroll.read"}, {"scope": "payroll.read", "roles": ["auditor", "guest"]}),
    ],
)
def test_token_without_what_the_route_needs_is_403(service: Service, path: str, lacking: Any, sufficient: Any) -> None:
    answer = service.send(path, bearer(token(**lacking)))
    assert_refused(service, answer, 403, "insufficient_scope")
    assert service.send(path, bearer(token(**sufficient))).status == 200
    assert service.record.seen == [path]


def test_refusal_does_not_contain_the_token(service: Service) -> None:
    for sent in (token(exp=1), token(scope="x"), bound_token()):
        answer = service.send(PATH, bearer(sent))
        assert answer.status in (401, 403)
        assert sent not in answer.body.decode() + str(answer.headers)


def test_valid_token_reaches_the_view_without_a_challenge(service: Service) -> None:
    answer = service.send(PATH, bearer(token()))
    assert (answer.status, answer.challenge) == (200, "")
    assert b"leave.leave-worker" in answer.body
    assert service.record.seen == [PATH]
