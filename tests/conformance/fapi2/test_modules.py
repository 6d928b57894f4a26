"""Each module of the plan has one test, which has its name."""

import ast
from collections import Counter
from pathlib import Path

from tests.conformance.fapi2.modules import MODULES, name_of_test


def test_every_module_has_a_test_and_every_test_is_of_a_module() -> None:
    assert len(set(MODULES)) == 56
    files = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    trees = [ast.parse(file.read_text()) for file in files]
    functions = [f for t in trees for f in t.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = Counter(f.name for f in functions if f.name.startswith("test_"))
    assert found == Counter(map(name_of_test, MODULES))
