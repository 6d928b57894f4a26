"""Each refused request is one line of the logger `scopewright.verifier`, in every integration."""

import logging
import time

import pytest

from scopewright.verifier import KeysUnavailable
from scopewright.verifier.protection import Protection
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusal_log import RefusalLog
from scopewright.verifier.refusals import Reason, TokenRejected
from tests.unit.verifier.integrations.service import BASE_URL, Service, bearer, new_verifier
from tests.unit.verifier.support import bound_token, proof, token

LOGGER = "scopewright.verifier"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)


def test_refused_token_is_logged_once_without_token_and_query(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    sent = token(aud="https://other.example")
    assert service.send("/salaries/7?name=secret", bearer(sent)).status == 401
    (line,) = lines(caplog)
    assert line.startswith("refused GET /salaries/7: 401 audience: The token is for another audience")
    assert "secret" not in line
    assert sent not in caplog.text


def test_lacking_scope_is_logged_once_with_the_client(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    assert service.send("/write", bearer(token())).status == 403
    (line,) = lines(caplog)
    assert line.startswith("refused GET /write: 403 scope, client leave.leave-worker: The access token lacks a scope")


def test_accepted_request_is_not_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    assert service.send("/salaries/7", bearer(token())).status == 200
    assert lines(caplog) == []


def test_refused_htu_is_logged_with_the_url_of_the_request(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    sent = bound_token()
    headers = [("Authorization", f"DPoP {sent}"), ("DPoP", proof(sent, htu="http://localhost:8000/salaries/7"))]
    answer = service.send("/salaries/7", headers)
    assert answer.status == 401
    (line,) = lines(caplog)
    assert f"(the URL of this request: {BASE_URL}/salaries/7)" in line
    assert BASE_URL.encode() not in answer.body


def test_path_and_client_are_bounded_and_printable(caplog: pytest.LogCaptureFixture) -> None:
    refusal = TokenRejected(Reason.SCOPE)
    refusal.client_id = "a\nb" + "c" * 1000
    RefusalLog().refused(refusal, "GET\r\n" * 1000, '/\x1b[31m"ä' + "x" * 10_000)
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 800


def test_flood_is_counted_and_not_logged_line_by_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = RefusalLog()
    for _ in range(1000):
        log.refused(TokenRejected(Reason.MALFORMED), "GET", "/")
    assert len(lines(caplog)) == 20
    now = 101.0
    log.refused(TokenRejected(Reason.MALFORMED), "GET", "/")
    assert lines(caplog)[20:] == [
        "refused 980 more requests, too many to be logged",
        "refused GET /: 401 malformed: " + TokenRejected(Reason.MALFORMED).description,
    ]


def test_cause_of_a_503_is_a_warning_once_unless_it_was_logged_already(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = RefusalLog()
    logged = KeysUnavailable(reason="the issuer answered 500")
    logged.__cause__ = OSError()
    for unavailable in (logged, KeysUnavailable(reason="100 requests are in progress")):
        for _ in range(2):
            log.refused(unavailable, "GET", "/x")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "refused GET /x: 503: the issuer answered 500"),
        ("INFO", "refused GET /x: 503: the issuer answered 500"),
        ("WARNING", "refused GET /x: 503: 100 requests are in progress"),
        ("INFO", "refused GET /x: 503: 100 requests are in progress"),
    ]


def test_garbage_costs_no_line_while_info_is_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
    protection = Protection(new_verifier())
    request = ReceivedRequest("GET", "/", url=str, authorization=["Bearer garbage"])
    with pytest.raises(TokenRejected):
        protection.token_sync(request)
    assert lines(caplog) == []
