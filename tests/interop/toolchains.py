"""The programs of the suite, built once from pinned packages into a cache; after that no network is needed.

A cache entry is named after its sources, and made whole or not at all.
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

from tests.build_cache import cache, locked

_HERE: Final = Path(__file__).parent
_MAVEN_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_NEEDED: Final = {
    "node": ("node", "npm"),
    "go": ("go",),
    "java": ("java", "javac", "mvn"),
    "spring": ("java", "javac", "mvn"),
    "keycloak": ("java", "mvn"),
    "python": (),
}
JAVA: Final = ("java", "-XX:TieredStopAtLevel=1")
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
        "java": [*JAVA, "-cp", f"{home / 'classes'}:{home / 'lib'}/*", "Interop"],
    }[program]


def built(program: str) -> Path:
    """The folder with the built program and its sources."""
    return built_from(program, sources(program), _BUILD[program])


def sources(program: str, *names: str) -> dict[str, bytes]:
    """The files of a program, or those with these names, by name."""
    files = sorted(file for file in (_HERE / program).iterdir() if file.is_file())
    return {file.name: file.read_bytes() for file in files if not names or file.name in names}


def built_from(program: str, files: Mapping[str, bytes], build: Callable[[Path], None]) -> Path:
    """A folder with `files`, in which `build` has run once. It needs the toolchain of `program`."""
    require(program)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0".encode() + content)
    home = cache() / "interop" / f"{program}-{digest.hexdigest()[:20]}"
    if not home.exists():
        with locked(home):
            if not home.exists():
                _build_into(home, files, build)
    return home


def _build_into(home: Path, files: Mapping[str, bytes], build: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".building-") as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        for name, content in files.items():
            (built / name).write_bytes(content)
        build(built)
        built.rename(home)


def require(program: str) -> None:
    missing = [tool for tool in _NEEDED[program] if shutil.which(tool) is None]
    if missing:
        message = f"the {program} programs need {', '.join(missing)} on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def build_node(home: Path) -> None:
    _output(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], home, _BUILDING)


def build_go(home: Path) -> None:
    environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    command = ["go", "build", "-buildvcs=false", "-trimpath", "-o", "interop", "."]
    _output(command, home, _BUILDING, environment=environment)


def _build_java(home: Path) -> None:
    _fetch_jars(home)
    compile_java(home, home / "lib")


def _fetch_jars(home: Path) -> None:
    """Maven resolves and `jars.sha256` pins the bytes; no build lifecycle is downloaded."""
    lib = home / "lib"
    maven("copy-dependencies", home, f"-DoutputDirectory={lib}")
    jars = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in lib.iterdir()}
    pinned = dict(line.split()[::-1] for line in (home / "jars.sha256").read_text().splitlines())
    assert jars == pinned, "jars that Maven fetched differ from jars.sha256: " + "\n".join(
        f"{digest}  {name}" for name, digest in sorted(jars.items())
    )


def maven(goal: str, folder: Path, *properties: str) -> None:
    """A goal of Maven's dependency plugin."""
    _output(["mvn", "--quiet", "--batch-mode", f"{_MAVEN_PLUGIN}:{goal}", *properties], folder, _BUILDING)


def compile_java(home: Path, lib: Path) -> None:
    files = sorted(str(file) for file in home.glob("*.java"))
    _output(
        ["javac", "-Xlint:all", "-Werror", "-parameters", "-cp", f"{lib}/*", "-d", "classes", *files], home, _BUILDING
    )


_BUILD: Final[dict[str, Callable[[Path], None]]] = {
    "node": build_node,
    "go": build_go,
    "java": _build_java,
    "spring": _fetch_jars,
}


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
