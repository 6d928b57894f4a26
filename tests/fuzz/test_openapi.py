"""Schemathesis against the running issuer: docs/openapi.yaml describes every response."""

import subprocess
import sys
from pathlib import Path

from tests.fuzz.target import Target
from tests.of_docs import of_docs

DESCRIPTION = Path(__file__).resolve().parents[2] / "docs/openapi.yaml"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
OPTIONS = (
    "--phases=examples,coverage,fuzzing",
    "--max-examples=200",
    "--workers=2",
    "--generation-deterministic",
    "--no-color",
    "--warnings=off",
)


def test_description_is_current() -> None:
    assert DESCRIPTION.read_text() == of_docs("openapi").text(), "run make docs"


def test_description_has_every_response(target: Target) -> None:
    command = [
        str(Path(sys.executable).with_name("st")),
        "run",
        str(DESCRIPTION),
        "--url",
        target.running.url,
        *OPTIONS,
    ]
    command += ["--checks", ",".join(CHECKS), "--auth", ":".join(target.worker)]
    done = subprocess.run(command, cwd=target.folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not target.running.error_lines()
