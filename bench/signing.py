"""The bare ES256 signature of `cryptography`: what no issuer in Python can do without."""

import asyncio
import sys
import time
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_INPUT: Final = b"x" * 400
"""About as long as the signing input of a token."""


def bare_signature(seconds: float) -> float:
    """CPU seconds for one."""
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    count, began, end = 0, time.thread_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            private.sign(_INPUT, algorithm)
        count += 100
    return (time.thread_time() - began) / count


async def signing_limit(processes: int, seconds: float) -> float:
    """Signatures a second of so many processes that do nothing else."""
    command = [sys.executable, "-m", "bench.signing", str(seconds)]
    running = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(processes)]
    outs = await asyncio.gather(*(process.communicate() for process in running))
    return sum(float(out) for out, _ in outs)


def _rate(seconds: float) -> float:
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    count, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        for _ in range(100):
            private.sign(_INPUT, algorithm)
        count += 100
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    print(_rate(float(sys.argv[1])))
