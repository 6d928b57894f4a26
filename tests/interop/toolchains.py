"""The programs of the suite, built once from pinned packages into a cache; after that no network is needed.

A cache entry is named after its sources, and made whole or not at all: two runs may build at once.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

_HERE: Final = Path(__file__).parent
_MAVEN_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_NEEDED: Final = {
    "node": ("node", "npm"),
    "go": ("go",),
    "java": ("java", "javac", "mvn"),
    "python": (),
}
_BUILDING: Final = 600.0
_RUNNING: Final = 120.0


def run(program: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """The output of the program for a job. Without its toolchain it skips, and fails if CI=true."""
    command = [sys.executable, "-m", "tests.interop.authlib_program"] if program == "python" else _command(program)
    return json.loads(_output(command, _HERE.parents[1], _RUNNING, json.dumps(job)))  # type: ignore[no-any-return]


def _command(program: str) -> list[str]:
    home = built(program)
    return {
        "node": ["node", str(home / "main.mjs")],
        "go": [str(home / "interop")],
        "java": ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{home / 'classes'}:{home / 'lib'}/*", "Interop"],
    }[program]


def built(program: str) -> Path:
    """The folder with the built program and its sources."""
    _require(program)
    sources = sorted(file for file in (_HERE / program).iterdir() if file.is_file())
    digest = hashlib.sha256()
    for file in sources:
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "interop"
    home = cache / f"{program}-{digest.hexdigest()[:20]}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as scratch:
            built = Path(scratch) / "built"
            built.mkdir()
            for file in sources:
                shutil.copy(file, built)
            _BUILD[program](built)
            try:
                built.rename(home)
            except OSError:
                assert home.exists(), f"{built} cannot be moved to {home}"
    return home


def _require(program: str) -> None:
    missing = [tool for tool in _NEEDED[program] if shutil.which(tool) is None]
    if missing:
        message = f"the {program} clients need {', '.join(missing)} on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def _build_node(home: Path) -> None:
    _output(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], home, _BUILDING)


def _build_go(home: Path) -> None:
    environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    command = ["go", "build", "-buildvcs=false", "-trimpath", "-o", "interop", "."]
    _output(command, home, _BUILDING, environment=environment)


def _build_java(home: Path) -> None:
    """Maven resolves, `jars.sha256` pins the bytes, javac compiles; no build lifecycle is downloaded."""
    lib = home / "lib"
    command = ["mvn", "--quiet", "--batch-mode", f"{_MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={lib}"]
    _output(command, home, _BUILDING)
    jars = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in lib.iterdir()}
    pinned = dict(line.split()[::-1] for line in (home / "jars.sha256").read_text().splitlines())
    assert jars == pinned, "jars that Maven fetched differ from jars.sha256: " + "\n".join(
        f"{digest}  {name}" for name, digest in sorted(jars.items())
    )
    sources = sorted(str(file) for file in home.glob("*.java"))
    _output(["javac", "-Xlint:all", "-Werror", "-cp", f"{lib}/*", "-d", "classes", *sources], home, _BUILDING)


_BUILD: Final[dict[str, Callable[[Path], None]]] = {"node": _build_node, "go": _build_go, "java": _build_java}


def _output(
    command: list[str], folder: Path, seconds: float, given: str = "", *, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stderr}\n{done.stdout}"
    return done.stdout
