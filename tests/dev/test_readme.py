"""README.md as it stands: from the manifests of the HR example to a verified token."""

import json
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT, document
from tests.running import Running

SECRET = ".scopewright/secrets/staff/hr-desk-oauth"


def test_five_minutes_to_a_verified_token(tmp_path: Path) -> None:
    """Only the port and the place of the packages are others."""
    scripts = [block.text for block in document(ROOT / "README.md").blocks if block.language == "sh"]
    assert ".venv/bin/scopewright dev examples/hr/manifests\n" in scripts[0]
    [by_curl, by_library] = [script for script in scripts if SECRET in script]
    manifests = {file.name: file.read_text() for file in (ROOT / "examples/hr/manifests").glob("*.yaml")}
    with Running(tmp_path, manifests) as dev:
        (tmp_path / ".scopewright").symlink_to(dev.state)
        (tmp_path / ".venv").symlink_to(sys.prefix)
        assert json.loads(_run(by_curl, tmp_path))["scope"] == "payroll.read payroll.classes"
        verified = _run(by_library.replace("http://127.0.0.1:8080", dev.url), tmp_path)
        expected = by_library.partition("# ")[2].partition("…")[0]
        assert expected.startswith("Token(subject=")
        assert verified.startswith(expected)


def _run(script: str, folder: Path) -> str:
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
