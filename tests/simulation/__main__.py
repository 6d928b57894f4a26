"""`python -m tests.simulation --seed N [-v]`, or `--seeds A..B [--processes 2]`, or `--defects [NAME]`."""

import argparse
import os
import sys

# The order of sets depends on it; without it a seed would not repeat its history.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(
        sys.executable,
        [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
        {**os.environ, "PYTHONHASHSEED": "0"},
    )

from contextlib import nullcontext

from tests.simulation import patches
from tests.simulation.defects import DEFECTS, Defect, applied
from tests.simulation.run import replay_command, run_seed, run_seeds
from tests.simulation.scenario import simulate

MAX_SEEDS = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="print its history")
    parser.add_argument("--seeds", help="A..B, both included")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--defect", help="simulate the seed with this defect in the product")
    parser.add_argument(
        "--defects",
        nargs="?",
        const="",
        help="find the seed that catches each defect, or each whose name contains NAME",
    )
    parser.add_argument("--quick", action="store_true", help="only the defects that `make test` tries")
    arguments = parser.parse_args()
    patches.install()
    if arguments.defects is not None:
        found = [d for d in DEFECTS if arguments.defects in d.name and (d.quick or not arguments.quick)]
        return sum(not is_caught(defect) for defect in found)
    if arguments.seed is not None:
        return run_single(
            arguments.seed, arguments.verbose, next((d for d in DEFECTS if d.name == arguments.defect), None)
        )
    first, _, last = (arguments.seeds or "1..100").partition("..")
    return min(run_seeds(range(int(first), int(last or first) + 1), arguments.processes), 1)


def run_single(seed: int, verbose: bool, defect: Defect | None) -> int:
    with applied(defect) if defect else nullcontext():
        outcome = simulate(seed, print if verbose else None)
    print(f"seed {seed}: {outcome.violation or 'no invariant was broken'}")
    return 1 if outcome.violation else 0


def is_caught(defect: Defect) -> bool:
    """Whether one of the first 200 seeds breaks its invariant."""
    others: set[int] = set()
    with applied(defect):
        for seed in range(1, MAX_SEEDS + 1):
            line = run_seed(seed)
            if line.invariant in (defect.invariant, *defect.also):
                print(f"{defect.name}: caught by seed {seed}: {line.what}", flush=True)
                return True
            if line.invariant is not None:
                others.add(line.invariant)
    print(f"{defect.name}: not caught in {MAX_SEEDS} seeds (other invariants broken: {others})")
    print(f"  {replay_command(1, defect.name)}")
    return False


if __name__ == "__main__":
    sys.exit(main())
