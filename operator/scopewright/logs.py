"""Structured fields of a log line: `log.info(…, extra=log_fields(key, reason="…"))`. Warnings that are not repeated."""

import logging
from typing import Any, Final

from scopewright.core.objects import Ref

FIELDS: Final = "scopewright"
"""Attribute of a LogRecord with the fields; the JSON format writes them as members of the line."""


def log_fields(ref: Ref, **more: Any) -> dict[str, Any]:
    """Return the fields for a declared object. Never pass a secret."""
    return {FIELDS: {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, **more}}


class OncePerProblem:
    """Logs a warning when a problem begins or changes, not each time it is reported. `message` has one `%s` for it."""

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._problem = ""

    def report(self, problem: str) -> None:
        if problem != self._problem:
            self._log.warning(self._message, problem)
        self._problem = problem

    def clear(self, recovered: str = "") -> None:
        """The problem has ended: log `recovered`, if any."""
        if self._problem and recovered:
            self._log.info(recovered)
        self._problem = ""
