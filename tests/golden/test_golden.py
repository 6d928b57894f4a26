"""Each file under tests/golden/<kind>/ is a promise: from this, the core plans that."""

from pathlib import Path

import pytest

from tests.golden.runner import HERE, Case, cases, difference


@pytest.mark.parametrize("path", cases(), ids=lambda p: str(p.relative_to(HERE).with_suffix("")))
def test_the_plan_is_as_expected(path: Path) -> None:
    Case(path).check()


def test_ci_never_rewrites_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    monkeypatch.setenv("CI", "true")
    before = cases()[0].read_text()
    with pytest.raises(RuntimeError, match="never in CI"):
        Case(cases()[0]).check()
    assert cases()[0].read_text() == before


def test_an_update_rewrites_the_plan_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = cases()[0].read_text()
    copy = tmp_path / "case.yaml"
    copy.write_text(original.split("\nplan:")[0] + "\nplan: {writes: nonsense}\n")
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    monkeypatch.delenv("CI", raising=False)
    Case(copy).check()
    assert copy.read_text() == original


def test_a_difference_shows_both_sides() -> None:
    shown = difference({"due": "today", "status": 1}, {"due": "tomorrow", "status": 1})
    assert "-due: today" in shown
    assert "+due: tomorrow" in shown


def test_no_case_shows_a_secret_or_a_private_key() -> None:
    for path in cases():
        text = path.read_text()
        assert "PRIVATE KEY" not in text, path
