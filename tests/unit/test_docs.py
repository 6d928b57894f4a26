"""What the documents point at is there."""

import re
from pathlib import Path
from typing import get_args

import pytest

from scopewright.issuer.protocol.errors import ErrorCode
from tests.of_docs import of_docs

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SHORT = {"I": "tests/unit/issuer", "P": "tests/unit/issuer/test_protocol.py", "V": "tests/unit/verifier"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [t for t in targets if not (document.parent / t).exists()] == []


def test_every_line_of_the_protocol_names_tests_that_are_there() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    named = re.findall(r"`([IPV])(/[\w.]+)?::(\w+)`", text)
    assert len(named) > 30
    for short, file, test in named:
        source = (ROOT / f"{SHORT[short]}{file}").read_text()
        assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), test


def test_the_threat_model_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 40
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_the_run_books_quote_what_there_is() -> None:
    """Metrics, and what is said in logs and answers."""
    page = (ROOT / "docs/operations.md").read_text()
    code = "".join(file.read_text() for file in (ROOT / "operator").rglob("*.py"))
    quoted = re.findall(r"`([a-z]\w*(?: \w+)+|[a-z]+(?:_[a-z]+)+)`", page)
    assert len(quoted) >= 8
    for text in quoted:
        part = re.sub(r"_total$|(?<=the list of) \w+", "", text)
        assert part in code, text


def test_links_to_headings_lead_to_one() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
            page = (document.parent / target).resolve() if target else document
            headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            anchors |= set(re.findall(r'<a id="([^"]+)"></a>', page.read_text()))
            assert anchor in anchors, f"{document.name}: {target}#{anchor}"


def test_the_figures_of_the_rotation_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/rotation.md").read_text()
    for what, figure in of_docs("timeline").figures().items():
        assert figure in text, f"{what} is {figure}"


def test_the_page_of_errors_has_every_error_of_the_code() -> None:
    errors = of_docs("errors")
    assert errors.page() == (ROOT / "docs/errors.md").read_text(), "run make docs"
    assert {error.error for error in errors.issuer_errors()} == {*get_args(ErrorCode), "not_found"}


def test_the_page_of_metrics_has_every_metric_of_the_code_and_bounds_every_label() -> None:
    metrics = of_docs("metrics")
    assert metrics.page() == (ROOT / "docs/metrics.md").read_text(), "run make docs"
    for metric in (*metrics.operator(), *metrics.issuer()):
        for label, values in metric.labels.items():
            assert label in metrics.OPEN or len(values) <= 20, (metric.name, label)
