"""The first steps of README.md, run as they stand but for the port. `tests/pages` runs the pages of the libraries."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents import ROOT, document
from tests.pages.page import Page
from tests.running import Running, hr_example

SECRET = ".scopewright/secrets/staff/hr-desk-oauth"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with hr_example(tmp_path_factory.mktemp("dev")) as dev:
        yield dev


def test_five_minutes_to_a_verified_token(tmp_path: Path, dev: Running) -> None:
    page = Page.of(document(ROOT / "README.md"))
    assert ".venv/bin/scopewright dev examples/hr/manifests\n" in page.scripts[0]
    page = replace(page, scripts=[script for script in page.scripts if SECRET in script])
    (tmp_path / ".venv").symlink_to(sys.prefix)
    [_, by_curl, by_library] = page.run(tmp_path, dev.port, dev.state)
    assert json.loads(by_curl)["scope"] == "payroll.read payroll.classes"
    assert by_library.startswith("Token(subject='staff.hr-desk'")
    assert len(page.commands[-1].expected) == 1
