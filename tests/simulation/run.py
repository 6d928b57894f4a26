"""Simulates many seeds in several processes, and prints a summary."""

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
from tests.simulation.scenario import Outcome, simulate

ROOT = Path(__file__).parents[2]
SEEDS_PER_PROCESS = 20
"""Each seed leaves some 6 MB behind, which end with the process."""


def replay_command(seed: int, defect: str = "") -> str:
    """The command that prints the history of one seed."""
    return f"python -m tests.simulation --seed {seed} -v" + (f" --defect {defect!r}" if defect else "")


@dataclass(frozen=True)
class SeedResult:
    """An outcome that can be pickled, for another process."""

    seed: int
    invariant: int | None
    what: str
    outcome: Outcome


def run_seed(seed: int) -> SeedResult:
    try:
        outcome = simulate(seed)
    except Exception as error:
        return SeedResult(seed, -1, f"{type(error).__name__}: {error}", Outcome(seed, None))
    violation = outcome.violation
    outcome.violation = None
    return SeedResult(seed, violation.number if violation else None, str(violation or ""), outcome)


def run_each(seeds: range, processes: int) -> Iterator[SeedResult]:
    """Each process is forked from one that has imported all modules, and ends after its share of the seeds."""
    if processes == 1:
        yield from map(run_seed, seeds)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    share = max(min(SEEDS_PER_PROCESS, len(seeds) // (2 * processes)), 1)
    with context.Pool(processes, initializer=_prepare, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=share)


def _prepare() -> None:
    patches.install()
    gc.disable()


def run_seeds(seeds: range, processes: int) -> int:
    """Print progress and a summary. Returns the number of seeds that broke an invariant."""
    began, broken, total = time.monotonic(), Counter[int](), Counter[str]()
    failing: list[int] = []
    for count, line in enumerate(run_each(seeds, processes), 1):
        found = line.outcome
        total.update(writes=found.writes, tokens=found.tokens, checks=found.checks, keys=found.keys)
        total.update(credentials=found.credentials)
        if line.invariant is not None:
            broken[line.invariant] += 1
            failing.append(line.seed)
            print(f"seed {line.seed}: {line.what}\n  {replay_command(line.seed)}", flush=True)
        if count % 100 == 0:
            minutes = (time.monotonic() - began) / 60
            print(f"… {count} of {len(seeds)} seeds in {minutes:.0f} min, failing: {sorted(failing)}", flush=True)
    seconds = time.monotonic() - began
    figures = ", ".join(f"{value} {name}" for name, value in total.items())
    print(f"{len(seeds)} simulated months in {seconds:.0f} s ({len(seeds) / seconds:.1f} a second): {figures}")
    print(f"broken: {dict(broken)} by {sorted(failing)}" if broken else "no invariant was broken")
    return sum(broken.values())


def run_in_subprocess(*arguments: str, timeout: float = 600.0) -> "subprocess.CompletedProcess[str]":
    """Run the simulation in its own interpreter, because it patches modules of the product."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
