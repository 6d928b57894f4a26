"""Imports the scripts in docs/, which is not a package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

_DOCS: Final = Path(__file__).resolve().parents[1] / "docs"


def of_docs(name: str) -> ModuleType:
    if str(_DOCS) not in sys.path:
        sys.path.append(str(_DOCS))
    spec = importlib.util.spec_from_file_location(name, _DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
