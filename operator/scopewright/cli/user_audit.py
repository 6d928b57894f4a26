"""The audit line of `scopewright users end`, in the log of the issuer's Pod.

The output of `kubectl exec` is not part of that log. The issuer is process 1 of the container, so its standard output
is `/proc/1/fd/1`.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from scopewright.serving import audit

POD_LOG: Final = Path("/proc/1/fd/1")


def write_audit(result: str, more: dict[str, Any], log: Path = POD_LOG) -> None:
    """Write a line to the log of the Pod. Elsewhere, and if that fails, write it to standard error."""
    line = audit.line(audit.entry("users_end", time.time(), "", result, more)) + b"\n"
    if not ("KUBERNETES_SERVICE_HOST" in os.environ and _append(log, line)):
        with suppress(OSError, AttributeError):  # it is full, or closed (None)
            sys.stderr.write(f"audit: {line.decode()}")


def _append(log: Path, line: bytes) -> bool:
    """Append the line in one write, so lines of the issuer do not interrupt it. Do not wait for a reader of the log."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(descriptor, line) == len(line)
    except OSError:
        return False
    finally:
        os.close(descriptor)
