"""Each directory here is a case: the manifests before and after a change, and the four expected outputs of the plan.

Without a directory `before`, all of `after` is new. `UPDATE_GOLDEN=1` rewrites the outputs: review the diff.
"""

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from scopewright.cli.plan import ACCEPTED, NO_PLAN, REFUSED, Connect, Request, plan_to_outputs
from scopewright.plan.changes import NOT_READ
from tests.harness.clock import START

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/after"))
OUTPUTS = {"text": "plan.txt", "json": "plan.json", "markdown": "plan.md", "sarif": "plan.sarif"}
NO_CLUSTER = cast("Connect", nullcontext)


def write_plan(into: Path) -> int:
    """Plan the case in the working directory, and write its outputs. Returns the exit code."""
    outputs = tuple(f"{form}={into / file}" for form, file in OUTPUTS.items())
    against = "before" if Path("before").is_dir() else None
    return plan_to_outputs(Request("after", against, outputs=outputs), NO_CLUSTER, START)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_as_expected(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / case)
    updating = bool(os.environ.get("UPDATE_GOLDEN")) and not os.environ.get("CI")
    directory = HERE / case if updating else tmp_path
    code = write_plan(directory)
    for file in OUTPUTS.values():
        assert (directory / file).read_text() == (HERE / case / file).read_text(), file
    reasons = {refusal["reason"] for refusal in json.loads((directory / "plan.json").read_text())["refusals"]}
    assert code == (NO_PLAN if NOT_READ in reasons else REFUSED if reasons else ACCEPTED)


@pytest.mark.parametrize("case", CASES)
def test_no_output_contains_a_secret_digest_or_seal(case: str) -> None:
    """No secret, placeholder, digest, kid or seal: no long hexadecimal or base64url word, except in names."""
    for file in OUTPUTS.values():
        text = (HERE / case / file).read_text()
        assert "placeholder" not in text
        assert not re.search(r"(?<![\w.-])[0-9a-f]{32,}(?![\w.-])", text)
        assert not re.search(r"(?<![\w./-])[A-Za-z0-9_-]{43}(?![\w.-])", text)


@pytest.mark.parametrize("case", CASES)
def test_the_sarif_follows_the_standard(case: str) -> None:
    """A log as SARIF 2.1.0 §3 and GitHub require it."""
    log: dict[str, Any] = json.loads((HERE / case / "plan.sarif").read_text())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "scopewright"
    rules = [rule["id"] for rule in driver["rules"]]
    assert rules == sorted(set(rules))
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["baselineState"] in ("new", "unchanged")
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        assert (HERE / case / physical["artifactLocation"]["uri"]).is_file()
