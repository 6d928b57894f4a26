"""The log of requests to providers that fail."""

import logging

import pytest

from scopewright.issuer.upstream.failure_log import INTERVAL_SECONDS, FailureLog
from scopewright.upstream import UpstreamFailed

AWAY = UpstreamFailed("Unreachable", "no connection to https://login.example/token")
MALFORMED = UpstreamFailed("AnswerMalformed", "https://login.example/token did not answer with JSON")


class Timer:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def failures(timer: Timer, caplog: pytest.LogCaptureFixture) -> FailureLog:
    caplog.set_level(logging.INFO)
    return FailureLog(timer)


def test_failure_and_its_end(failures: FailureLog, caplog: pytest.LogCaptureFixture) -> None:
    failures("company", "token", None)
    failures("company", "token", AWAY)
    failures("company", "token", None)
    failures("company", "token", None)
    assert caplog.messages == [
        f"a request to the identity provider company failed (token): Unreachable: {AWAY.message}",
        "the identity provider company answers again (token)",
    ]


def test_repeated_failure_is_logged_once_a_minute(
    failures: FailureLog, timer: Timer, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (0, 1, 1, INTERVAL_SECONDS - 3, 1):
        timer.seconds += seconds
        failures("company", "token", AWAY)
    assert len(caplog.messages) == 2


def test_other_reasons_operations_and_providers_are_logged(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    failures("company", "token", AWAY)
    failures("company", "token", MALFORMED)
    failures("company", "userinfo", AWAY)
    failures("partner", "token", AWAY)
    assert len(caplog.messages) == 4
