"""`python -m tests.simulation --seed N [-v]`, or `--seeds A..B [--processes 2]`, or `--defects [NAME]`."""

import argparse
import os
import sys

# Sets are iterated in an order that depends on it: without it no seed would tell the same story twice.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(
        sys.executable,
        [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
        {**os.environ, "PYTHONHASHSEED": "0"},
    )

from contextlib import nullcontext

from tests.simulation import patches
from tests.simulation.defects import DEFECTS, Defect, applied
from tests.simulation.run import many, one, replay
from tests.simulation.story import tell

PATIENCE = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell its story")
    parser.add_argument("--seeds", help="A..B, both included")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--defect", help="the seed, with this defect in the code")
    parser.add_argument("--defects", nargs="?", const="", help="which seed catches each defect (or those named so)")
    parser.add_argument("--quick", action="store_true", help="only the defects that every `make test` tries")
    given = parser.parse_args()
    patches.install()
    if given.defects is not None:
        found = [d for d in DEFECTS if given.defects in d.name and (d.quick or not given.quick)]
        return sum(not caught(defect) for defect in found)
    if given.seed is not None:
        return single(given.seed, given.verbose, next((d for d in DEFECTS if d.name == given.defect), None))
    first, _, last = (given.seeds or "1..100").partition("..")
    return min(many(range(int(first), int(last or first) + 1), given.processes), 1)


def single(seed: int, verbose: bool, defect: Defect | None) -> int:
    with applied(defect) if defect else nullcontext():
        outcome = tell(seed, print if verbose else None)
    print(f"seed {seed}: {outcome.broken or 'no invariant was broken'}")
    return 1 if outcome.broken else 0


def caught(defect: Defect) -> bool:
    """Whether one of the first 200 seeds breaks its invariant."""
    others: set[int] = set()
    with applied(defect):
        for seed in range(1, PATIENCE + 1):
            line = one(seed)
            if line.invariant in (defect.invariant, *defect.also):
                print(f"{defect.name}: caught by seed {seed}: {line.what}", flush=True)
                return True
            if line.invariant is not None:
                others.add(line.invariant)
    print(f"{defect.name}: NOT caught in {PATIENCE} seeds (others broken: {others})\n  {replay(1, defect.name)}")
    return False


if __name__ == "__main__":
    sys.exit(main())
