"""Eight seeds; `python -m tests.simulation --seeds 1..10000 --processes 2` simulates more."""

import pytest

from tests.simulation.run import run_in_subprocess

SEEDS = 8


def test_no_seed_breaks_an_invariant() -> None:
    done = run_in_subprocess("--seeds", f"1..{SEEDS}", "--processes", "2")
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)


def test_a_seed_repeats_its_history() -> None:
    first, second = (run_in_subprocess("--seed", "7", "-v").stdout for _ in range(2))
    assert first.count("\n") > 100
    assert first == second
