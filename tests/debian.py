"""Debian programs for tests: already installed, or installed with apt-get if permitted."""

import os
import shutil
import subprocess

import pytest

from tests.build_cache import cache, locked


def program(*names: str, package: str) -> str:
    """The path of the first of `names` that exists, after installing `package` if none does.

    Without it the test is skipped; with `CI=true` it fails.
    """
    if found := _find(names):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get") and (found := _installed(names, package)):
        return found
    missing = f"none of {', '.join(names)} is there: install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _installed(names: tuple[str, ...], package: str) -> str | None:
    apt = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    # A second apt-get would fail while the first one runs.
    with locked(cache() / "apt-get"):
        for command in (apt, ["apt-get", "update"], apt):
            if found := _find(names):  # another process may have installed it meanwhile
                return found
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return _find(names)


def _find(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)
