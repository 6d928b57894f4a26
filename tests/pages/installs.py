"""`pip install` on a page: the extras exist, and the page needs no package that its commands do not install."""

import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, distributions, packages_distributions
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.documents import ROOT, commands, heredocs
from tests.pages.page import Page

_OWN: Final = "scopewright"


def install_problems(page: Page) -> list[str]:
    """What is wrong with the commands, and the imports and programs of packages that they do not install."""
    installs = [
        Requirement(word) for command in page.commands if command.is_install for word in _packages(command.text)
    ]
    extras = {extra for each in installs if each.name == _OWN for extra in each.extras}
    unknown = sorted(extras - _project()["optional-dependencies"].keys())
    if unknown:
        return [f"pyproject.toml has no extra {extra}" for extra in unknown]
    programs = [*_python_files(page), *(text for script in page.scripts for text in heredocs(script, "python"))]
    imports = sorted({name for text in programs for name in _imports(text)})
    if any(name.split(".")[0] == _OWN for name in imports) and not any(each.name == _OWN for each in installs):
        return [f"it imports {_OWN}, and no command installs it"]
    installed = _with_dependencies(installs)
    return [
        *(
            f"`import {name}` needs {_OWN}[{extra}]"
            for name in imports
            for extra in _extra_of(name)
            if extra not in extras
        ),
        *(f"`import {name}` needs {missing}" for name in imports for missing in _missing_import(name, page, installed)),
        *(
            f"`{name}` needs {missing}"
            for name in _started(page)
            for missing in {_scripts().get(name, _OWN)} - installed
        ),
    ]


def _packages(install: str) -> list[str]:
    words = shlex.split(install, comments=True)
    return [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]


@cache
def _project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def _python_files(page: Page) -> list[str]:
    return [text for title, text in page.files.items() if title.endswith(".py")]


def _imports(program: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def _extra_of(module: str) -> set[str]:
    """`scopewright.verifier.flask` needs the extra `flask`."""
    parts = module.split(".")
    return {parts[2]} & _project()["optional-dependencies"].keys() if parts[0] == _OWN and len(parts) > 2 else set()


def _missing_import(module: str, page: Page, installed: set[str]) -> set[str]:
    """The packages one of which the module needs, if none is installed."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == _OWN or _is_of(page, top):
        return set()
    packages: set[str] = {canonicalize_name(name) for name in packages_distributions().get(top, [top])}
    return set() if packages & installed else packages


def _is_of(page: Page, module: str) -> bool:
    """A module or folder of the page, or one that a tool generates from a file of the page (`payroll_pb2`)."""
    stems = {Path(part).stem for title in page.files for part in Path(title).parts}
    return re.sub(r"_pb2(_grpc)?$", "", module) in stems


def _started(page: Page) -> list[str]:
    """The programs that packages provide, as commands of the page or by `python -m`."""
    found = []
    for script in page.scripts:
        for words in commands(script):
            is_module = re.fullmatch(r"python3?", words[0].rpartition("/")[2]) and words[1:2] == ["-m"]
            program = words[2] if is_module else words[0].rpartition("/")[2]
            if program in _scripts() and program != "pip":
                found.append(program)
    return found


@cache
def _scripts() -> dict[str, str]:
    """The packages of the installed programs. The project's own are not listed: every extra includes them."""
    found = {
        point.name: canonicalize_name(each.metadata["Name"])
        for each in distributions()
        for point in each.entry_points
        if point.group == "console_scripts"
    }
    return {program: package for program, package in found.items() if package != _OWN}


def _with_dependencies(installs: Iterable[Requirement]) -> set[str]:
    """The canonical names of the packages with all that they require; the project's own from pyproject.toml."""
    found: set[str] = set()
    waiting = list(installs)
    seen = set()
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        if (key := (name, frozenset(each.extras))) in seen:
            continue
        seen.add(key)
        found.add(name)
        waiting += _required_by(name, each.extras)
    return found


def _required_by(name: str, extras: set[str]) -> list[Requirement]:
    if name == _OWN:
        optional = _project()["optional-dependencies"]
        return [Requirement(line) for line in [*_project()["dependencies"], *(r for e in extras for r in optional[e])]]
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    required = [Requirement(line) for line in lines]
    return [
        each
        for each in required
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]
