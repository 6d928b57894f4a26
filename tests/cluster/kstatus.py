"""What the kstatus library, and so Flux and kpt, says of an object: a small Go program, built once into a cache."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from .kube import Manifest

_SOURCES: Final = Path(__file__).resolve().parents[1] / "kstatus"


def kstatus(*objects: Manifest) -> dict[str, str]:
    """`Current`, `InProgress`, `Failed`, … by `<kind> <namespace>/<name>`."""
    given = "\n".join(json.dumps(each) for each in objects)
    done = subprocess.run([_program()], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{each['kind']} {each['namespace']}/{each['name']}": each["status"] for each in said}


def _program() -> Path:
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((_SOURCES / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "kstatus"
    program = cache / digest.hexdigest()[:20]
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _build(program)
    return program


def _build(program: Path) -> None:
    """Whole or not at all: two runs may build at once."""
    go = shutil.which("go")
    assert go, f"no kstatus in {program.parent}, and no 'go' on PATH to build it: install Go 1.26 or later"
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".building-") as scratch:
        built = Path(scratch) / "kstatus"
        command = [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o", str(built), "."]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        done = subprocess.run(command, cwd=_SOURCES, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"go build failed: {done.stderr}"
        built.rename(program)
