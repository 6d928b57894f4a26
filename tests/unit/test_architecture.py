"""docs/architecture.md names files, functions and invariants that exist; docs/glossary.md is in order."""

import ast
import re
from itertools import pairwise
from pathlib import Path

from tests.of_docs import of_docs
from tests.simulation.due_work import BOUNDED_TIME
from tests.simulation.invariants import INVARIANTS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator/scopewright"
PAGE = (ROOT / "docs/architecture.md").read_text()
GLOSSARY = (ROOT / "docs/glossary.md").read_text()

PATHS = sorted(set(re.findall(r"`([\w.-]+/[\w./-]*)(?:: [\w.]+)?`", PAGE)))
NAMES = sorted(set(re.findall(r"`([\w./-]+\.py): ([\w.]+)`", PAGE)))
DEFINED = {int(number) for number in re.findall(r"^### (\d+)\. ", PAGE.partition("\n## The walks")[0], re.MULTILINE)}
CITED = re.compile(r"\binvariants? ((?:\d+(?:, | and | or )?)+)", re.IGNORECASE)


def located(path: str) -> Path:
    """Paths on the page are relative to the repository or to the package."""
    return ROOT / path if (ROOT / path).exists() else PACKAGE / path


def test_every_file_on_the_page_exists() -> None:
    assert len(PATHS) > 50
    assert [path for path in PATHS if not located(path).exists()] == []


def test_every_function_and_class_on_the_page_is_in_its_file() -> None:
    assert len(NAMES) > 30
    assert [f"{path}: {name}" for path, name in NAMES if not _defines(path, name)] == []


def _defines(path: str, name: str) -> bool:
    if not located(path).is_file():
        return False
    found: ast.AST | None = ast.parse(located(path).read_text())
    for part in name.split("."):
        inside = ast.iter_child_nodes(found) if found else ()
        found = next((node for node in inside if _name_of(node) == part), None)
    return found is not None


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def test_every_invariant_is_checked_by_the_simulation() -> None:
    assert {*INVARIANTS, BOUNDED_TIME} == DEFINED


def test_every_cited_invariant_is_defined() -> None:
    cited: dict[int, Path] = {}
    for folder in ("tests", "docs", "operator"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".md", ".yaml") and "node_modules" not in file.parts:
                text = " ".join(file.read_text(errors="replace").split())
                numbers = " ".join(CITED.findall(text))
                cited |= {int(number): file for number in re.findall(r"\d+", numbers)}
    assert {1, 8, 11} <= cited.keys()
    assert {number: file for number, file in cited.items() if number not in DEFINED} == {}


def test_picture_is_generated_by_its_script() -> None:
    assert of_docs("flow").draw() == (ROOT / "docs/flow.svg").read_text(), "run make docs"


def test_glossary_is_sorted_and_every_term_has_a_definition_and_a_source() -> None:
    rows = re.findall(r'^\| <a id="([^"]+)"></a>(.+?) \| (.+) \| (.+) \|$', GLOSSARY, re.MULTILINE)
    assert len(rows) == GLOSSARY.count("<a id=") > 80
    terms = [term.lower() for _, term, _, _ in rows]
    assert all(before < after for before, after in pairwise(terms)), "alphabetical, each term once"
    assert all(
        anchor == re.sub(r"[^\w -]", "", term).replace(" ", "-") for (anchor, *_), term in zip(rows, terms, strict=True)
    )


def test_links_to_the_glossary_lead_to_a_term() -> None:
    anchors = set(re.findall(r'<a id="([^"]+)">', GLOSSARY))
    named = {target for file in (ROOT / "docs").rglob("*.md") for target in _into_glossary(file)}
    assert named <= anchors


def _into_glossary(file: Path) -> list[str]:
    return re.findall(r"\]\((?:\.\./)?glossary\.md#([^)]+)\)", file.read_text())
