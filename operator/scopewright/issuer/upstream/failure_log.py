"""Logs why requests to providers fail: a failing one repeats the same line once a minute at most."""

import logging
import time
from dataclasses import dataclass
from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.issuer.upstream.connection import Operation
from scopewright.issuer.upstream.refetched import Timer
from scopewright.upstream import UpstreamFailed

log: Final = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 60.0
"""Between two lines for one operation of a provider, unless the reason changes."""
_MAX_FAILING: Final = 1024


@dataclass(frozen=True, slots=True)
class _Logged:
    reason: str
    at: float


class FailureLog:
    """A `Report`."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._timer = timer
        self._logged: BoundedDict[tuple[str, Operation], _Logged] = BoundedDict(_MAX_FAILING)

    def __call__(self, provider: str, operation: Operation, failure: UpstreamFailed | None) -> None:
        logged = self._logged.get((provider, operation))
        now = self._timer()
        if failure is None:
            if logged is not None:
                del self._logged[provider, operation]
                log.info("the identity provider %s answers again (%s)", provider, operation)
        elif logged is None or logged.reason != failure.reason or now >= logged.at + INTERVAL_SECONDS:
            self._logged[provider, operation] = _Logged(failure.reason, now)
            log.warning(
                "a request to the identity provider %s failed (%s): %s: %s",
                provider,
                operation,
                failure.reason,
                failure.message,
            )
