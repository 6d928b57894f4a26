"""Plans in SARIF against the schema of the standard, from the package of a SARIF library."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.interop.toolchains import built

PLANS = sorted((Path(__file__).parents[1] / "plan").glob("*/plan.sarif"))


@pytest.fixture(scope="module")
def validator() -> Any:
    packages = built("node") / "node_modules"
    (file,) = packages.glob("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-*.json")
    # Two patterns, for languages, have a stray bracket that strict readers refuse. A plan has no language.
    schema = json.loads(file.read_text().replace("{2}]?$", "{2}$"))
    return jsonschema_rs.validator_for(schema, validate_formats=True)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.parent.name)
def test_plan_is_valid_sarif(plan: Path, validator: Any) -> None:
    assert [str(error) for error in validator.iter_errors(json.loads(plan.read_text()))] == []


def test_sarif_schema_refuses_an_invalid_plan(validator: Any) -> None:
    plan = json.loads(PLANS[0].read_text())
    plan["runs"][0]["results"] = [{"level": "dreadful"}]
    assert not validator.is_valid(plan)
