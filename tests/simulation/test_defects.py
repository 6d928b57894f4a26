"""The simulation finds faults: each deliberate defect breaks an invariant within a few seeds."""

import os

import pytest

from tests.simulation.defects import DEFECTS
from tests.simulation.due_work import BOUNDED_TIME
from tests.simulation.invariants import INVARIANTS
from tests.simulation.run import run_in_subprocess

ALL_DEFECTS = os.environ.get("SCOPEWRIGHT_EVERY_DEFECT") == "1"
"""Whether to try the defects that take minutes as well."""


def test_every_invariant_has_a_defect() -> None:
    assert {defect.invariant for defect in DEFECTS} == {*INVARIANTS, BOUNDED_TIME}
    assert {defect.name for defect in DEFECTS if defect.quick}


def test_every_defect_patches_an_existing_attribute() -> None:
    assert [defect.name for defect in DEFECTS if not hasattr(defect.target, defect.attribute)] == []


def test_the_simulation_catches_every_defect() -> None:
    done = run_in_subprocess("--defects", *([] if ALL_DEFECTS else ["--quick"]), timeout=3600)
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
