"""From the declared and existing objects of each file under tests/golden/<kind>/, the core makes the plan in it."""

from pathlib import Path

import pytest

from tests.golden.runner import HERE, Case, cases
from tests.golden.yaml_text import difference


@pytest.mark.parametrize("path", cases(), ids=lambda p: str(p.relative_to(HERE).with_suffix("")))
def test_the_plan_is_as_expected(path: Path) -> None:
    Case(path).check()


def test_update_golden_fails_in_ci_and_rewrites_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    monkeypatch.setenv("CI", "true")
    before = cases()[0].read_text()
    with pytest.raises(RuntimeError, match="never in CI"):
        Case(cases()[0]).check()
    assert cases()[0].read_text() == before


def test_update_golden_rewrites_only_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = cases()[0].read_text()
    copy = tmp_path / "case.yaml"
    copy.write_text(original.split("\nplan:")[0] + "\nplan: {writes: nonsense}\n")
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    monkeypatch.delenv("CI", raising=False)
    Case(copy).check()
    assert copy.read_text() == original


def test_a_difference_shows_both_plans() -> None:
    shown = difference({"due": "today", "status": 1}, {"due": "tomorrow", "status": 1})
    assert "-due: today" in shown
    assert "+due: tomorrow" in shown


def test_no_case_contains_a_private_key() -> None:
    for path in cases():
        text = path.read_text()
        assert "PRIVATE KEY" not in text, path
