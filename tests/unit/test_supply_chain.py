"""Installed, declared and pinned packages agree, and the wheel is reproducible."""

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.of_docs import of_docs

ROOT: Final = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: Final = PYPROJECT["project"]
LOCKS: Final = ("dev", "image", "build")


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    """Pinned version of each package, for this platform."""
    found = of_docs("licences").pinned(name)
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in found}


def wanted(name: str) -> Iterator[Requirement]:
    match name:
        case "dev":
            return declared("dev")
        case "image":
            return declared("operator", "issuer", "otel")
    return map(Requirement, PYPROJECT["build-system"]["requires"])


def declared(*extras: str) -> Iterator[Requirement]:
    """Requirements in pyproject.toml, with these extras."""
    lines = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    for each in map(Requirement, lines):
        if each.name == "scopewright":
            yield from declared(*each.extras)
        else:
            yield each


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_exactly_the_declared_packages_and_their_dependencies(name: str) -> None:
    pinned, needed, left = pins(name), set[str](), [(each, frozenset[str]()) for each in wanted(name)]
    while left:
        requirement, of = left.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in of or ("",)):
            continue
        package = canonicalize_name(requirement.name)
        assert package in pinned, f"{package} is not in requirements/{name}.txt: run `make lock`"
        assert requirement.specifier.contains(pinned[package], prereleases=True), f"{requirement}: run `make lock`"
        key = f"{package}[{','.join(sorted(requirement.extras))}]"
        if key not in needed:
            needed.add(key)
            required = distribution(package).requires or ()
            left += [(Requirement(each), frozenset(requirement.extras)) for each in required]
    assert {key.partition("[")[0] for key in needed} == pinned.keys(), "run `make lock`"


def test_installed_versions_are_the_pinned_ones() -> None:
    assert {name: distribution(name).version for name in pins("dev")} == pins("dev")


@pytest.mark.parametrize("name", [*LOCKS, "docs"])
def test_every_pin_of_a_lock_has_a_hash(name: str) -> None:
    lines = [line for line in lock(name).splitlines() if not line.startswith("#")]
    pin, digest = re.compile(r"[\w.-]+==[\w.]+( ; .+)? \\"), re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert all(pin.fullmatch(line) or digest.fullmatch(line) for line in lines)
    for before, line in itertools.pairwise(lines):
        assert digest.fullmatch(line) or not before.endswith("\\")


@pytest.mark.parametrize("name", ["image", "build"])
def test_locks_of_image_and_build_have_the_tested_versions(name: str) -> None:
    assert pins(name).items() <= pins("dev").items()


def test_lock_of_the_site_satisfies_its_requirements_with_the_tested_versions() -> None:
    """pip checks the rest: `make docs-site` installs with --require-hashes."""
    docs, dev = pins("docs"), pins("dev")
    for requirement in map(Requirement, PYPROJECT["dependency-groups"]["docs"]):
        assert requirement.specifier.contains(docs[canonicalize_name(requirement.name)]), "run `make lock`"
    assert {name: version for name, version in docs.items() if name in dev and dev[name] != version} == {}


def test_dockerfile_installs_only_packages_pinned_by_hash() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    pip = [line for line in lines if re.search(r"\bpip\b", line) and not line.startswith("#")]
    assert pip
    assert all("pip install" in line and "--require-hashes" in line for line in pip)


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("Apache Software License; MIT License", set()),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", set()),
        ("GNU General Public License v3 (GPLv3)", {"GNU General Public License v3 GPLv3"}),
        ("MIT AND AGPL-3.0-only", {"AGPL-3.0-only"}),
        ("UNKNOWN", {"UNKNOWN"}),
    ],
)
def test_licence_that_is_not_allowed_is_refused(licence: str, refused: set[str]) -> None:
    page = of_docs("licences")
    assert page.refused(page.spdx(licence)) == refused


def test_wheel_is_reproducible(tmp_path: Path) -> None:
    """Built as in Dockerfile, without a registry, in two folders with other times and modes, and another hash seed."""
    digests = set()
    for name, seed, umask in (("one", "1", 0o022), ("another-place", "2", 0o077)):
        source = tmp_path / name / "source"
        for folder in ("operator", "image"):
            shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        aged = time.time() - 86400 * int(seed)
        for path in source.rglob("*"):
            os.utime(path, (aged, aged))
            path.chmod((0o755 if path.is_dir() else 0o644) & ~umask)
        command = [sys.executable, "image/build.py", "package", str(tmp_path / name)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PIP_INDEX_URL": "http://127.0.0.1:9/"}
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        [wheel] = (tmp_path / name).glob("*.whl")
        digests.add((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert len(digests) == 1
