"""One namespace with as many objects as it can declare fills the memory of neither operator nor issuer."""

import json
import subprocess
import sys
from typing import Any

import pytest

# The chart's limits are 512 MiB for the operator and 384 MiB for an issuer; idle they take some 100 MiB.
OPERATOR_MIB, ISSUER_MIB, SNAPSHOT_MIB = 512, 384, 8


def measured(process: str, clients: int, scopes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.unit.controller.one_namespace", process, str(clients), str(scopes)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


# Clients of 543 KB, which an earlier CRD allowed; the largest that the CRD allows now; small ones.
@pytest.mark.parametrize(("clients", "scopes"), [(120, 4096), (1000, 256), (5000, 1)])
def test_the_largest_namespace_fits_into_the_memory_of_operator_and_issuer(clients: int, scopes: int) -> None:
    for process, limit in (("operator", OPERATOR_MIB), ("issuer", ISSUER_MIB)):
        found = measured(process, clients, scopes)
        assert found["after"] < limit, found
        assert found["after"] - found["before"] < 100, found
        assert found["snapshot"] < SNAPSHOT_MIB, found
        assert found["other"], "the client of another namespace has no record"
        assert 0 < found["served"] <= 2000, found
