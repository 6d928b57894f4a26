"""Runs the pages of docs/protect, docs/call and docs/test, and docs/dpop.md; `page.py` has the conventions."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.documents import ROOT, commands, document
from tests.pages.installs import install_problems
from tests.pages.page import Page
from tests.running import Running, hr_example

FOLDERS: Final = ("protect", "call", "test")
PAGES: Final = [
    "dpop.md",
    "users/index.md",
    "users/delegate.md",
    *(
        file.relative_to(ROOT / "docs").as_posix()
        for folder in FOLDERS
        for file in sorted((ROOT / "docs" / folder).glob("*.md"))
        if file.name != "index.md"
    ),
]
NOT_RUN: Final[dict[str, str]] = {
    "protect/dotnet.md": "the test environments have no .NET SDK",
    "protect/keycloak.md": "tests/interop/test_keycloak.py runs it, with a Keycloak",
}
"""The pages that cannot run here, with the reason."""
CONTINUES: Final[dict[str, str]] = {"users/delegate.md": "users/index.md"}
"""Pages that need the files of another page."""
TOOLCHAINS: Final = frozenset({"go", "java", "javac", "mvn", "node", "npm"})
"""Where one is missing, the pages that use it are skipped, unless CI=true."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with hr_example(tmp_path_factory.mktemp("dev")) as dev:
        yield dev


def page_of(name: str) -> Page:
    return Page.of(document(ROOT / "docs" / name))


@pytest.mark.parametrize("name", PAGES)
def test_page_runs_as_it_stands(name: str, tmp_path: Path, dev: Running) -> None:
    page = page_of(name)
    assert page.scripts, "the page has no sh block"
    if name in NOT_RUN:
        pytest.skip(NOT_RUN[name])
    used = {words[0] for script in page.scripts for words in commands(script)}
    missing = sorted(tool for tool in TOOLCHAINS & used if shutil.which(tool) is None)
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"the page needs {', '.join(missing)} on PATH")
    if name in CONTINUES:
        page = replace(page, files={**page_of(CONTINUES[name]).files, **page.files})
    page.run(tmp_path, dev.port, dev.state)


@pytest.mark.parametrize("name", PAGES)
def test_page_installs_all_that_it_imports(name: str) -> None:
    assert install_problems(page_of(name)) == []


def test_every_page_that_is_not_run_exists() -> None:
    assert set(NOT_RUN) <= set(PAGES)
