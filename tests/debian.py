"""Debian programs for tests: already installed, or installed with apt-get if permitted."""

import os
import shutil
import subprocess

import pytest


def program(*names: str, package: str) -> str:
    """The path of the first of `names` that exists, after installing `package` if none does.

    Without it the test is skipped; with `CI=true` it fails.
    """
    if found := _find(names):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt = ["apt-get", "install", "--yes", "--no-install-recommends", package]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (apt, ["apt-get", "update"], apt):
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if found := _find(names):
                return found
    missing = f"none of {', '.join(names)} is there: install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _find(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)
