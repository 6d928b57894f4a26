"""Programs from Go modules, built once into a cache. After that neither network nor Go is needed."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.build_cache import cache, locked


def go_program(
    name: str, sources: Path, files: Iterable[str], *, package: str = ".", ldflags: str = "", tags: str = ""
) -> Path:
    """Build `package` of the module in `sources`. `files` determine the cache key."""
    flags = ["-ldflags", ldflags, *(["-tags", tags] if tags else [])]
    digest = hashlib.sha256((ldflags + tags).encode())
    for file in files:
        digest.update((sources / file).read_bytes())
    program = cache() / name / digest.hexdigest()[:20]
    if not program.exists():
        with locked(program):
            if not program.exists():
                _build(program, sources, package, flags)
    return program


def _build(program: Path, sources: Path, package: str, flags: list[str]) -> None:
    """Build with an atomic rename: a build that is cut short leaves no program."""
    name, go = program.parent.name, shutil.which("go")
    assert go, f"no {name} in {program.parent}, and no 'go' on PATH to build it: install Go 1.26 or later"
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".building-") as scratch:
        built = Path(scratch) / name
        command = ["nice", "-n", "10", go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", *flags]
        command += ["-o", str(built), package]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"go build failed: {done.stderr}"
        built.rename(program)
