"""TCP ports on loopback for processes that a test or a benchmark starts."""

import contextlib
import random
import socket
from typing import Final

_RANGE: Final = range(10_000, 32_000)
"""Below the kernel's ephemeral range: no outgoing connection takes such a port, even while its process is down."""
_random: Final = random.SystemRandom()
"""Hypothesis seeds the shared generator, so two pytest processes would choose the same ports."""


def free_port() -> int:
    """A port that nothing listens on now. Raises OSError where 100 of them are all in use."""
    for port in _random.sample(_RANGE, 100):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind(("127.0.0.1", port))
                return port
    raise OSError("100 ports in a row are in use; end the processes that listen on loopback")
