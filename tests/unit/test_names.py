"""One name, one concept: no public class of the package is defined twice."""

import ast
from collections import defaultdict
from pathlib import Path

IN_EACH_FRAMEWORK = {"TokenAuth": ["verifier/fastapi.py", "verifier/flask.py"]}
"""What a service imports from the module of its framework, and from no other one."""

PACKAGE = Path(__file__).resolve().parents[2] / "operator" / "scopewright"


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
    assert {name: files for name, files in classes.items() if len(files) > 1} == IN_EACH_FRAMEWORK
