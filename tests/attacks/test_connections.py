"""Connections that cost memory, against a fresh process with the chart's settings.

Other callers get every token meanwhile, the process stays within its limit, and memory is released afterwards. The
waits of the others are printed and not asserted: they depend on the load of the machine.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.attacks.attack import KINDS
from tests.attacks.callers import Callers, Seen
from tests.attacks.target import CHART_LIMIT, MIB, Issuer
from tests.controlplane.certificates import Authority

_ATTACK_SECONDS: Final = 6.0
"""Duration of each attack, once it has all of its connections."""
_MAX_GROWTH: Final = 100 * MIB
"""Memory that connections may take in addition to an idle process."""
_MAX_REMAINING: Final = 75 * MIB
"""Memory that may remain afterwards: Python keeps arenas that are partly in use, and later connections use them."""
_RELEASE_SECONDS: Final = 30.0


@contextmanager
def attacked(kind: str, port: int) -> Iterator[None]:
    """Inside, the attack runs. It begins when all of its connections are open."""
    command = [sys.executable, "-m", "tests.attacks.attack", kind, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "attacking\n"
            yield
        finally:
            process.stdin.close()
            process.wait(20)


async def withstand(issuer: Issuer, kind: str, tls: ssl.SSLContext | None = None) -> None:
    async with Callers(issuer.port, issuer.client, tls) as calm:
        await asyncio.sleep(1)
    assert not calm.failures
    idle = peak = issuer.resident()
    async with Callers(issuer.port, issuer.client, tls) as seen:
        attack = attacked(kind, issuer.port)
        await asyncio.to_thread(attack.__enter__)
        try:
            for _ in range(int(_ATTACK_SECONDS / 0.1)):
                await asyncio.sleep(0.1)
                peak = max(peak, issuer.resident())
        finally:
            await asyncio.to_thread(attack.__exit__, None, None, None)
    await report(issuer, kind, idle, peak, seen)
    assert not seen.failures, seen.failures[:5]
    assert peak - idle <= _MAX_GROWTH
    assert peak <= CHART_LIMIT
    for _ in range(int(_RELEASE_SECONDS / 0.25)):
        if issuer.resident() - idle <= _MAX_REMAINING:
            break
        await asyncio.sleep(0.25)
    assert issuer.resident() - idle <= _MAX_REMAINING
    print(f"{kind}: {(issuer.resident() - idle) / MIB:.0f} MiB above idle afterwards")


async def report(issuer: Issuer, kind: str, idle: int, peak: int, seen: Seen) -> None:
    ended = {
        name.partition("{")[2]: int(value)
        for name, value in (await asyncio.to_thread(issuer.metrics)).items()
        if value and ("connections_closed_total" in name or "transport_refusals_total" in name)
    }
    print(f"\n{kind}: idle {idle / MIB:.0f} MiB, at most {peak / MIB:.0f} MiB; {seen.line()}; ended {ended}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "handshakes" not in kind])
async def test_other_callers_get_tokens_and_memory_stays_within_the_limit(tmp_path: Path, kind: str) -> None:
    with Issuer(tmp_path) as issuer:
        await withstand(issuer, kind)


@pytest.mark.parametrize("kind", ["handshakes", "handshakes from many"])
async def test_unfinished_handshakes_do_not_block_other_callers(tmp_path: Path, kind: str) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority.at(tmp_path / "ca")
    for name, content in zip(("tls.crt", "tls.key"), authority.server(), strict=True):
        (tmp_path / name).write_bytes(content)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with Issuer(tmp_path, (tmp_path / "tls.crt", tmp_path / "tls.key")) as issuer:
        await withstand(issuer, kind, context)
