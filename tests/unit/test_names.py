"""One name, one concept: no public class of the package is defined twice."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "operator" / "scopewright"
EXCEPTIONS: dict[str, str] = {}
"""Names that are defined twice, with the reason."""


def defined() -> dict[str, list[str]]:
    """The modules that define each public class, by name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(file.relative_to(PACKAGE)))
    return found


def test_no_public_class_name_is_defined_twice() -> None:
    classes = defined()
    assert len(classes) > 200
    assert {name: files for name, files in classes.items() if len(files) > 1 and name not in EXCEPTIONS} == {}


def test_every_exception_is_defined_twice() -> None:
    classes = defined()
    assert {name for name in EXCEPTIONS if len(classes[name]) < 2} == set()
