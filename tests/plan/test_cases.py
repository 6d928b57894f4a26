"""Each directory here is a promise: from `before` to `after`, or from nothing, the plan says just that, in each form.

`UPDATE_GOLDEN=1` rewrites what is expected, to be read in the diff.
"""

import json
import os
import re
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from scopewright.cli.plan import ACCEPTED, NO_PLAN, REFUSED, Connect, Request, plan_to_outputs
from scopewright.plan.changes import NOT_READ

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CASES = sorted(path.parent.name for path in HERE.glob("*/after"))
FORMS = {"text": "plan.txt", "json": "plan.json", "markdown": "plan.md", "sarif": "plan.sarif"}
NO_CLUSTER = cast("Connect", nullcontext)


def planned(case: str, into: Path) -> int:
    outputs = tuple(f"{form}={into / file}" for form, file in FORMS.items())
    against = "before" if Path("before").is_dir() else None
    return plan_to_outputs(Request("after", against, outputs=outputs), NO_CLUSTER, NOW)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_as_expected(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / case)
    updating = bool(os.environ.get("UPDATE_GOLDEN")) and not os.environ.get("CI")
    code = planned(case, HERE / case if updating else tmp_path)
    folder = HERE / case if updating else tmp_path
    for file in FORMS.values():
        assert (folder / file).read_text() == (HERE / case / file).read_text(), file
    reasons = {refusal["reason"] for refusal in json.loads((folder / "plan.json").read_text())["refusals"]}
    assert code == (NO_PLAN if NOT_READ in reasons else REFUSED if reasons else ACCEPTED)


@pytest.mark.parametrize("case", CASES)
def test_no_output_contains_a_secret_digest_or_seal(case: str) -> None:
    """No secret, placeholder, digest, kid or seal; the longest word of a plan is a name."""
    for file in FORMS.values():
        text = (HERE / case / file).read_text()
        assert "placeholder" not in text
        assert not re.search(r"(?<![\w.-])[0-9a-f]{32,}(?![\w.-])", text)
        assert not re.search(r"(?<![\w./-])[A-Za-z0-9_-]{43}(?![\w.-])", text)


@pytest.mark.parametrize("case", CASES)
def test_the_sarif_follows_the_standard(case: str) -> None:
    """What SARIF 2.1.0 §3 asks of a log, and GitHub beyond that."""
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
