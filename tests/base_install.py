"""The wheel without extras, in a virtual environment with exactly the packages that it requires: a service's install.

The packages are copied from this environment, so that no registry is needed.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[1]


class BaseInstall:
    """`bin` is the folder of its programs, and `packages` are the names of the packages besides Scopewright."""

    def __init__(self, folder: Path) -> None:
        wheel = build_wheel(folder)
        self.bin = folder / "venv/bin"
        _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        install = ("install", "--quiet", "--no-index", "--no-deps", "--no-compile", wheel)
        _run(sys.executable, "-m", "pip", "--python", self.bin / "python", *install)
        (site,) = (folder / "venv/lib").glob("python*/site-packages")
        self.packages = _required(wheel)
        for each in self.packages:
            _copy(distribution(each), site)

    def run(
        self, *command: str | Path, given: str = "", code: int = 0, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment, without variables that name other packages."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        done = subprocess.run(
            [self.bin / command[0], *command[1:]], input=given, capture_output=True, text=True, env=environment,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def python(self, program: str) -> str:
        return self.run("python", "-c", program).stdout.strip()


def build_wheel(folder: Path) -> Path:
    """Built as in Dockerfile, from a copy, so that nothing is left in the clone."""
    for name in ("operator", "image"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    _run(sys.executable, folder / "source/image/build.py", "package", folder / "dist")
    (built,) = (folder / "dist").glob("*.whl")
    return built


def _required(wheel: Path) -> set[str]:
    """The packages that pip would install with the wheel, without any extra."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        shown = archive.read(metadata).decode()
    prefix = "Requires-Dist: "
    left = [line.removeprefix(prefix) for line in shown.splitlines() if line.startswith(prefix)]
    found: set[str] = set()
    while left:
        requirement = Requirement(left.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            found.add(requirement.name)
            left += distribution(requirement.name).requires or ()
    return found


def _copy(package: Distribution, site: Path) -> None:
    for file in package.files or ():
        if not file.parts[0].startswith("..") and "__pycache__" not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(package.locate_file(file)), site / file)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
