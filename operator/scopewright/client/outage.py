"""Limits the requests to an issuer that is unavailable. No I/O. Times are in seconds."""

import threading
from collections.abc import Callable
from typing import Final

from scopewright.client.errors import TokenError

_MIN_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 30.0
_PROBE_SECONDS: Final = 5.0  # for one request; then another one is sent


class IssuerOutage:
    """After a request that failed for lack of an answer, one at a time finds out whether the issuer is available again.
    The others fail at once: they would all wait, and repeat their requests to an issuer that is overloaded.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._error: TokenError | None = None
        self._retry_at = 0.0

    def check(self) -> None:
        """Raises the last error, as a copy, unless a request may be sent."""
        with self._lock:
            if self._error is None:
                return
            now = self._now()
            if now < self._retry_at <= now + _MAX_PAUSE_SECONDS:  # the clock may have been set back
                raise self._error.again()
            self._retry_at = now + _PROBE_SECONDS

    def ended(self, error: TokenError | None) -> None:
        """A request has ended with this error, or has succeeded."""
        with self._lock:
            self._error = error.again() if error and error.error == "temporarily_unavailable" else None
            if self._error is not None:
                pause = max(_MIN_PAUSE_SECONDS, min(self._error.retry_after or 0.0, _MAX_PAUSE_SECONDS))
                self._retry_at = self._now() + pause
