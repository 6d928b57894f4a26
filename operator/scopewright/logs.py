"""What a line of the log says to machines, beside its message: `log.info(…, extra=about(key, reason="…"))`."""

from typing import Any, Final

from scopewright.core.objects import Ref

FIELDS: Final = "scopewright"
"""Where a LogRecord has them; as JSON they are members of the line."""


def about(ref: Ref, **more: Any) -> dict[str, Any]:
    """Of a declared object: which, and what else. Never a secret, whatever its name."""
    return {FIELDS: {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, **more}}
