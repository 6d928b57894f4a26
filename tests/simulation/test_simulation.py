"""A handful of simulated months; `python -m tests.simulation --seeds 1..10000 --processes 2` simulates many more."""

import pytest

from tests.simulation.run import apart

SEEDS = 8


def test_no_invariant_is_broken_in_any_of_the_months() -> None:
    done = apart("--seeds", f"1..{SEEDS}", "--processes", "2")
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)


def test_a_seed_tells_the_same_story_twice() -> None:
    first, second = (apart("--seed", "7", "-v").stdout for _ in range(2))
    assert first.count("\n") > 100
    assert first == second
