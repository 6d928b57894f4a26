"""The first steps of README.md and docs/libraries.md, run as they stand but for the ports."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.documents import ROOT, document
from tests.ports import free_port
from tests.running import Running

SECRET = ".scopewright/secrets/staff/hr-desk-oauth"


def test_five_minutes_to_a_verified_token(tmp_path: Path) -> None:
    scripts = [block.text for block in document(ROOT / "README.md").blocks if block.language == "sh"]
    assert ".venv/bin/scopewright dev examples/hr/manifests\n" in scripts[0]
    [by_curl, by_library] = [script for script in scripts if SECRET in script]
    with hr(tmp_path) as dev:
        (tmp_path / ".venv").symlink_to(sys.prefix)
        assert json.loads(_run(by_curl, tmp_path))["scope"] == "payroll.read payroll.classes"
        verified = _run(by_library.replace("http://127.0.0.1:8080", dev.url), tmp_path)
        expected = by_library.partition("# ")[2].partition("…")[0]
        assert expected.startswith("Token(subject=")
        assert verified.startswith(expected)


def test_a_service_and_its_caller(tmp_path: Path) -> None:
    program, commands = document(ROOT / "docs/libraries.md").blocks[:2]
    serve, call = commands.text.splitlines()
    port = str(free_port())
    with hr(tmp_path) as dev:
        text = program.text.replace("http://127.0.0.1:8080", dev.url).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        (tmp_path / "hello.py").write_text(text)
        wait = f"until (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"
        started = [serve.replace("8000", port), "trap 'kill $!; wait $! || true' EXIT", wait, call]
        output = _run("\n".join(started), tmp_path)
    assert ast.literal_eval(call.partition("# ")[2]) == {"caller": "staff.hr-desk"}
    assert call.partition("# ")[2] in output


@contextmanager
def hr(folder: Path) -> Iterator[Running]:
    """`scopewright dev` with the manifests of the HR example; its state is in `.scopewright`, as in a clone."""
    manifests = {file.name: file.read_text() for file in (ROOT / "examples/hr/manifests").glob("*.yaml")}
    with Running(folder, manifests) as dev:
        (folder / ".scopewright").symlink_to(dev.state)
        yield dev


def _run(script: str, folder: Path) -> str:
    command = ["bash", "-euo", "pipefail", "-c", script]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
