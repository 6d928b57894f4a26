"""The simulation finds real faults: each deliberate one is caught by an invariant that it breaks."""

import os

import pytest

from tests.simulation.defects import DEFECTS
from tests.simulation.dues import DUE
from tests.simulation.invariants import INVARIANTS
from tests.simulation.run import apart

EVERY = os.environ.get("SCOPEWRIGHT_EVERY_DEFECT") == "1"
"""Set to 1, it tries those too that take some minutes."""


def test_every_invariant_has_a_defect() -> None:
    assert {defect.invariant for defect in DEFECTS} == {*INVARIANTS, DUE}
    assert {defect.name for defect in DEFECTS if defect.quick}


def test_the_defects_are_caught() -> None:
    done = apart("--defects", *([] if EVERY else ["--quick"]), timeout=3600)
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
