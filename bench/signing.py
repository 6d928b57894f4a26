"""Measures the bare ES256 signature of `cryptography`, the lower bound of the cost of a token in Python."""

import asyncio
import sys
import time
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_INPUT: Final = b"x" * 400
"""As long as the signing input of a typical token."""


def bare_signature(seconds: float) -> float:
    """CPU seconds of one signature, measured for the given wall-clock seconds."""
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    count, started, end = 0, time.thread_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            private.sign(_INPUT, algorithm)
        count += 100
    return (time.thread_time() - started) / count


async def signing_limit(processes: int, seconds: float) -> float:
    """Signatures a second in all, of that many processes that only sign."""
    command = [sys.executable, "-m", "bench.signing", str(seconds)]
    running = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(processes)]
    outs = await asyncio.gather(*(process.communicate() for process in running))
    return sum(float(out) for out, _ in outs)


def _rate(seconds: float) -> float:
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    count, started = 0, time.monotonic()
    while time.monotonic() < started + seconds:
        for _ in range(100):
            private.sign(_INPUT, algorithm)
        count += 100
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    print(_rate(float(sys.argv[1])))
