"""The fixtures, in the pytest of a service."""

import subprocess
import sys
from pathlib import Path

import pytest

import scopewright

TESTS = """
import sys


def test_loaded_plugin_imports_no_library():
    assert "scopewright.pytest_plugin" in sys.modules
    assert not {"scopewright.testing", "scopewright.verifier", "scopewright.client", "jwt"} & sys.modules.keys()


def test_token_is_of_the_issuer(scopewright_issuer, scopewright_token):
    token = scopewright_token("payroll.read", client="leave.worker")
    assert scopewright_issuer.verifier().verify_sync(token).client_id == "leave.worker"


def test_issuer_is_that_of_the_session(scopewright_issuer, scopewright_token):
    assert scopewright_token.__self__ is scopewright_issuer
"""
OVERRIDE = """
import pytest

from scopewright.testing import FakeIssuer


@pytest.fixture(scope="session")
def scopewright_issuer():
    return FakeIssuer(audience="https://payroll.test")
"""
OVERRIDDEN = """
def test_token_has_the_audience(scopewright_issuer, scopewright_token):
    token = scopewright_issuer.verifier().verify_sync(scopewright_token())
    assert token.audience == ("https://payroll.test",)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with the metadata of an installed scopewright, as pip writes it."""
    metadata = tmp_path / "site/scopewright-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: scopewright\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{entry_point()}\n")
    (metadata / "RECORD").write_text("scopewright/__init__.py,,\n")  # pytest rewrites the assertions of these packages
    return metadata.parent


def entry_point() -> str:
    """The line of pyproject.toml."""
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    return text.partition("[project.entry-points.pytest11]\n")[2].partition("\n")[0].replace('"', "")


def run(folder: Path, site: Path, *, start: str = "import pytest", **files: str) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    environment = {"PYTHONPATH": f"{site}:{Path(scopewright.__file__).parents[1]}"}
    others = [option for name in ("asyncio", "schemathesis", "cacheprovider") for option in ("-p", f"no:{name}")]
    program = f"{start}; raise SystemExit(pytest.main())"
    command = [sys.executable, "-W", "error", "-c", program, "-W", "error", *others]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fixtures_are_found_by_the_entry_point(tmp_path: Path, installed: Path) -> None:
    assert "3 passed" in run(tmp_path / "service", installed, test_service=TESTS)


def test_issuer_is_configured_by_an_override(tmp_path: Path, installed: Path) -> None:
    assert "1 passed" in run(tmp_path / "service", installed, conftest=OVERRIDE, test_service=OVERRIDDEN)


def test_package_that_was_imported_before_pytest_causes_no_warning(tmp_path: Path, installed: Path) -> None:
    """As in a program that imports its service and calls `pytest.main`."""
    start = "import scopewright.client, pytest"
    assert "1 passed" in run(tmp_path / "service", installed, start=start, conftest=OVERRIDE, test_service=OVERRIDDEN)
