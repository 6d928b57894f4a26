"""Many seeds, in as many processes as there are, and what to say about them."""

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.simulation import patches
from tests.simulation.story import Outcome, tell

ROOT = Path(__file__).parents[2]
LIFETIME = 20
"""Seeds that a process tells at most: what they leave behind goes with it, some 6 MB each."""


def replay(seed: int, defect: str = "") -> str:
    """The command that tells the story of one seed."""
    return f"python -m tests.simulation --seed {seed} -v" + (f" --defect {defect!r}" if defect else "")


@dataclass(frozen=True)
class Line:
    """An outcome, as it comes from another process."""

    seed: int
    invariant: int | None
    what: str
    outcome: Outcome


def one(seed: int) -> Line:
    try:
        outcome = tell(seed)
    except Exception as error:
        return Line(seed, -1, f"{type(error).__name__}: {error}", Outcome(seed, None))
    broken = outcome.broken
    outcome.broken = None
    return Line(seed, broken.number if broken else None, str(broken or ""), outcome)


def outcomes(seeds: range, processes: int) -> Iterator[Line]:
    """Each process is a copy of one that has imported everything, and ends after its share of the seeds."""
    if processes == 1:
        yield from map(one, seeds)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    share = max(min(LIFETIME, len(seeds) // (2 * processes)), 1)
    with context.Pool(processes, initializer=_prepare, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=share)


def _prepare() -> None:
    patches.install()
    gc.disable()


def many(seeds: range, processes: int) -> int:
    """Progress and a summary; how many seeds broke an invariant."""
    began, broken, total = time.monotonic(), Counter[int](), Counter[str]()
    failing: list[int] = []
    for count, line in enumerate(outcomes(seeds, processes), 1):
        found = line.outcome
        total.update(writes=found.writes, tokens=found.tokens, checks=found.checks, keys=found.keys)
        total.update(credentials=found.credentials)
        if line.invariant is not None:
            broken[line.invariant] += 1
            failing.append(line.seed)
            print(f"seed {line.seed}: {line.what}\n  {replay(line.seed)}", flush=True)
        if count % 100 == 0:
            minutes = (time.monotonic() - began) / 60
            print(f"… {count} of {len(seeds)} seeds in {minutes:.0f} min, failing: {sorted(failing)}", flush=True)
    took = time.monotonic() - began
    figures = ", ".join(f"{value} {name}" for name, value in total.items())
    print(f"{len(seeds)} simulated months in {took:.0f} s ({len(seeds) / took:.1f} a second): {figures}")
    print(f"broken: {dict(broken)} by {sorted(failing)}" if broken else "no invariant was broken")
    return sum(broken.values())


def apart(*arguments: str, timeout: float = 600.0) -> "subprocess.CompletedProcess[str]":
    """The simulation in an interpreter of its own, where it may exchange what it likes."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
