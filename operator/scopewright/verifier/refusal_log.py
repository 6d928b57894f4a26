"""Logs refused requests for the service's owner: a limited number of lines in each second."""

import logging
import time
from typing import Final

from scopewright.verifier.canonical_path import PathRefused
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected, quotable

logger = logging.getLogger("scopewright.verifier")

_LINES_PER_SECOND: Final = 20
_WARNING_SECONDS: Final = 60.0
_MAX_CHARACTERS: Final = 200


class RefusalLog:
    """A flood of refused requests is counted, and not logged line by line.

    Threads need no lock: a race changes the number of lines only.
    """

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._left_out = 0
        self._warn_at = 0.0

    def refused(self, refusal: TokenRejected | KeysUnavailable, method: str, path: str, url: str = "") -> None:
        """`path` has no query. `url` is what a DPoP proof must name, if a proof was refused."""
        now = time.monotonic()
        level = self._level(refusal, now)
        if not logger.isEnabledFor(level) or not (level == logging.WARNING or self._has_line(now)):
            return
        request = f"{printable(method)} {printable(path)}"
        if isinstance(refusal, KeysUnavailable):
            logger.log(level, "refused %s: 503: %s", request, refusal.reason or refusal.description)
            return
        rule = f", rule {refusal.rule}" if refusal.rule else ""
        client = f", client {printable(refusal.client_id)}" if refusal.client_id else ""
        expected = f" (the URL of this request: {printable(url)})" if url else ""
        detail = f": {refusal.__cause__}" if isinstance(refusal.__cause__, PathRefused) else ""
        logger.log(
            level, "refused %s: %d %s%s%s: %s%s%s",
            request, refusal.status, refusal.reason, rule, client, refusal.description, detail, expected,
        )  # fmt: skip

    def denied(self, method: str, path: str, why: str) -> None:
        """For a request that is refused whatever its token is."""
        if logger.isEnabledFor(logging.INFO) and self._has_line(time.monotonic()):
            logger.info("refused %s %s: %s", printable(method), printable(path), why)

    def _level(self, refusal: TokenRejected | KeysUnavailable, now: float) -> int:
        """The failed request that caused a 503 has its own warning, and is the exception's cause."""
        if isinstance(refusal, TokenRejected) or refusal.__cause__ is not None or now < self._warn_at:
            return logging.INFO
        self._warn_at = now + _WARNING_SECONDS
        return logging.WARNING

    def _has_line(self, now: float) -> bool:
        if int(now) != self._second:
            if self._left_out:
                logger.info("refused %d more requests, too many to be logged", self._left_out)
            self._second, self._lines, self._left_out = int(now), 0, 0
        if self._lines >= _LINES_PER_SECOND:
            self._left_out += 1
            return False
        self._lines += 1
        return True


def expects_url(refusal: TokenRejected | KeysUnavailable) -> bool:
    return isinstance(refusal, TokenRejected) and refusal.reason is Reason.PROOF


def printable(sent: str) -> str:
    """A text of the caller for a log: one line, without control characters."""
    return quotable(sent[:_MAX_CHARACTERS])
