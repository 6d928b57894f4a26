"""The documents: links, what they cite, the navigation of the site, and what is generated from code."""

import re
from typing import Any, get_args

import pytest
import yaml

from scopewright.core.session_stores import NOT_SHARED
from scopewright.issuer.protocol.errors import ErrorCode
from tests.doc_checks import broken_links, cited_in_code, inline_problems, missing_citations, sources
from tests.documents import ROOT, Document, documents
from tests.of_docs import of_docs

SHORT = {"I": "tests/unit/issuer", "P": "tests/unit/issuer/test_protocol.py", "V": "tests/unit/verifier"}


@pytest.fixture
def planted() -> Document:
    """A document with each error, as if it were in docs/."""
    document = Document(ROOT / "docs/planted.md")
    document.__dict__["text"] = PLANTED
    return document


PLANTED = """# Planted

[no file](nowhere.md), [no heading](plan.md#nowhere), [no heading here](#nowhere), ![no picture](nowhere.svg),
[outside](../../nowhere), [a heading of what has none](openapi.yaml#info), <a href="nowhere.html">HTML</a>,
[text][undefined]; [good](plan.md), [good](#planted), [elsewhere](https://example.org/nowhere)

`docs/nowhere.md` `nowhere.md` `tests/unit/test_nowhere.py` `tests/unit/test_docs.py::test_nowhere` `issuer/nowhere.py`
`scopewright plan DIR --nowhere` `scopewright nowhere` `make nowhere`
`docs/plan.md` `plan.md` `scopewright plan --cluster` `make docs`

```yaml
a: b  # plan.md, nowhere.md, plan.md#nowhere
```
"""


def test_planted_errors_are_found(planted: Document) -> None:
    assert len(broken_links(planted)) == 7
    assert planted.undefined_references == ["[text][undefined]"]
    assert len(missing_citations(planted)) == 7
    assert len(inline_problems(planted)) == 3
    code = "docs/nowhere.md nowhere.md plan.md#nowhere docs/plan.md plan.md docs/plan.md#rights-nowhere"
    assert len(list(cited_in_code(code, ROOT))) == 4


@pytest.mark.parametrize("document", documents(), ids=str)
def test_links_lead_to_a_file_and_a_heading(document: Document) -> None:
    assert broken_links(document) == []
    assert document.undefined_references == []


@pytest.mark.parametrize("document", documents(), ids=str)
def test_files_tests_and_commands_in_the_text_exist(document: Document) -> None:
    assert missing_citations(document) == []
    assert inline_problems(document) == []


def test_code_cites_documents_that_exist() -> None:
    cited = {file: list(cited_in_code(file.read_text("utf-8", "replace"), file.parent)) for file in sources()}
    assert {str(file.relative_to(ROOT)): missing for file, missing in cited.items() if missing} == {}


def test_navigation_of_the_site_has_every_page_once() -> None:
    """mkdocs checks the same; this test runs without mkdocs."""
    hooks = of_docs("hooks")
    navigation = list(hooks.pages(hooks.navigation()))
    assert [page for page in navigation if not hooks.source(page).is_file()] == []
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(navigation) == sorted(pages | set(hooks.PAGES.values()))


def test_every_page_is_linked_from_an_index_or_a_page_of_a_reader() -> None:
    docs = ROOT / "docs"
    start = [Document(path) for path in (*docs.glob("index.md"), *docs.glob("*/index.md"), *docs.glob("readers/*.md"))]
    linked = {(document.path.parent / link.path).resolve() for document in start for link in document.links}
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path.name != "index.md"}
    assert {path for path in pages if not linked & {path, path.parent}} == set()


def test_lists_are_rendered_alike_on_the_site_and_on_github() -> None:
    hooks = of_docs("hooks")
    assert hooks.four_spaces("- a\n  b\n\n  ```yaml\n  - c:\n    - d\n  ```\n- e\n1. f\n   - g\n\nh\n") == (
        "- a\n    b\n\n    ```yaml\n    - c:\n      - d\n    ```\n\n- e\n1. f\n    - g\n\nh\n"
    )


def test_site_loads_nothing_from_other_hosts() -> None:
    """`make docs-site` checks it in the built site."""
    loads = of_docs("hooks").loads
    for load in (
        '<script src="https://x">',
        "<img alt=a src=//x>",
        '<link rel="icon" href="http://x">',
        "url(https://x)",
    ):
        assert loads(load), load
    assert not loads(
        '<a href="https://x">x</a> <img src="x.png"> url(data:image/svg+xml;…) <svg xmlns="http://www.w3.org">'
    )


def test_each_package_and_each_directory_of_tests_is_described() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text().partition("## Layout")[2].partition("## Conventions")[0]
    packages = {file.parent.name for file in (ROOT / "operator/scopewright").glob("*/__init__.py")}
    suites = {f"tests/{file.relative_to(ROOT / 'tests').parts[0]}" for file in (ROOT / "tests").glob("*/**/test_*.py")}
    assert sorted(name for name in packages | suites if f"`{name}`" not in layout) == []


def test_fields_in_the_notes_of_the_chart_exist() -> None:
    crds = [yaml.safe_load(file.read_text()) for file in (ROOT / "crds").glob("*.yaml")]
    specs = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] for crd in crds]
    named = set(re.findall(r"\bspec\.[\w.]*\w", (ROOT / "charts/scopewright/templates/NOTES.txt").read_text()))
    assert "spec.http" in named
    assert sorted(field for field in named if not any(_has(spec, field.split(".")[1:]) for spec in specs)) == []


def _has(schema: dict[str, Any], path: list[str]) -> bool:
    for name in path:
        if name not in schema.get("properties", {}):
            return False
        schema = schema["properties"][name]
    return True


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_rule_of_the_protocol_names_existing_tests() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    named = re.findall(r"`([IPV])(/[\w.]+)?::(\w+)`", text)
    assert len(named) > 30
    for short, file, test in named:
        source = (ROOT / f"{SHORT[short]}{file}").read_text()
        assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), test


def test_threat_model_names_existing_tests() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 40
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_run_books_quote_existing_metrics_and_messages() -> None:
    """Metrics, log lines and responses."""
    page = (ROOT / "docs/operations.md").read_text()
    code = "".join(file.read_text() for file in (ROOT / "operator").rglob("*.py"))
    quoted = re.findall(r"`([a-z]\w*(?: \w+)+|[a-z]+(?:_[a-z]+)+)`", page)
    assert len(quoted) >= 8
    for text in quoted:
        part = re.sub(r"_total$|(?<=the list of) \w+", "", text)
        assert part in code, text


NO_CONDITIONS = {
    "SealKeyConflict", "SessionKeyConflict",  # the operator does not start
    "Invalid", "UnknownKind",  # of manifests that no API server has accepted
    "MalformedRecord",  # of a record that another program wrote
}  # fmt: skip


def test_every_reason_of_a_condition_has_what_to_do() -> None:
    """As far as a regular expression finds reasons: where they are raised."""
    listed = (ROOT / "docs/configuration.md").read_text().partition("## Status conditions")[2]
    reasons = set[str]()
    for file in (ROOT / "operator/scopewright/core").rglob("*.py"):
        text = file.read_text()
        reasons |= set(re.findall(r'\b(?:Rejected|ready|waiting)\(\s*"([A-Z]\w+)"', text))
    reasons.add(NOT_SHARED)
    assert len(reasons) > 40
    assert {reason for reason in reasons if f"`{reason}`" not in listed} <= NO_CONDITIONS


def test_programs_that_log_users_in_are_those_of_the_tests() -> None:
    """A title with a folder is the path of a file, of which the block is a copy."""
    blocks = Document(ROOT / "docs/users/log-in.md").blocks
    programs = {block.title: block.text for block in blocks if "/" in block.title}
    assert len(programs) == 6
    assert programs == {title: (ROOT / title).read_text() for title in programs}
    proxy = next(block.text for block in blocks if block.text.startswith("oauth2-proxy"))
    tested = (ROOT / "tests/interop/users/test_oauth2_proxy.py").read_text()
    assert set(re.findall(r"--[a-z-]+=", proxy)) <= set(re.findall(r"--[a-z-]+=", tested))


def test_figures_of_the_rotation_page_match_the_code() -> None:
    text = (ROOT / "docs/rotation.md").read_text()
    for what, figure in of_docs("timeline").figures().items():
        assert figure in text, f"{what} is {figure}"


def test_page_of_errors_has_every_error() -> None:
    errors = of_docs("errors")
    assert errors.page() == (ROOT / "docs/errors.md").read_text(), "run make docs"
    of_userinfo = {"invalid_token", "insufficient_scope"}  # those of a service that verifies tokens
    of_par = {"unsupported_response_type"}  # those of /authorize
    described = {error.error for error in errors.issuer_errors()} | of_userinfo | of_par
    assert described == {*get_args(ErrorCode), "not_found"}


def test_page_of_metrics_has_every_metric_and_bounds_every_label() -> None:
    metrics = of_docs("metrics")
    assert metrics.page() == (ROOT / "docs/metrics.md").read_text(), "run make docs"
    for metric in (*metrics.operator(), *metrics.issuer()):
        for label, values in metric.labels.items():
            assert label in metrics.OPEN or len(values) <= 24, (metric.name, label)
