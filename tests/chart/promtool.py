"""promtool, built from its Go module once into a cache. It parses PromQL and tests alert rules."""

import subprocess
from pathlib import Path
from typing import Final

from tests.go_program import go_program

_SOURCES: Final = Path(__file__).resolve().parents[1] / "promtool"
_PACKAGE: Final = "github.com/prometheus/prometheus/cmd/promtool"
_TAGS: Final = "remove_all_sd"
"""Without service discovery, which needs the SDKs of all clouds."""


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool and return its output; an error fails the test. `given` is its standard input."""
    program = go_program("promtool", _SOURCES, ("go.mod", "go.sum"), package=_PACKAGE, ldflags="-s -w", tags=_TAGS)
    done = subprocess.run([str(program), *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
