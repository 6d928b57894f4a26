"""Keycloak as a process, from its distribution on Maven Central."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.interop.toolchains import built_from, maven
from tests.ports import free_port

VERSION: Final = "26.7.3"
_SHA256: Final = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
_ARTIFACT: Final = "keycloak-quarkus-dist"
_START_SECONDS: Final = 180.0
"""For the first start, on a busy machine: Keycloak compiles its configuration. Later ones take 15 seconds."""


@contextmanager
def keycloak(realm: dict[str, Any], folder: Path) -> Iterator[str]:
    """The URL of a Keycloak in development mode, with this realm and its own database."""
    home = folder / "keycloak"
    shutil.copytree(_distribution(), home)
    imported = home / "data" / "import"
    imported.mkdir(parents=True)
    (imported / "realm.json").write_text(json.dumps(realm))
    with _started(home, folder / "log", "--import-realm") as url:
        yield url


def _distribution() -> Path:
    """Started once: later starts need neither compile the configuration nor create the tables of the database."""
    return built_from("keycloak", {"artifact": f"{_ARTIFACT}-{VERSION} {_SHA256}".encode()}, _build) / "keycloak"


def _build(folder: Path) -> None:
    maven("copy", folder, f"-Dartifact=org.keycloak:{_ARTIFACT}:{VERSION}:zip", f"-DoutputDirectory={folder}")
    archive = folder / f"{_ARTIFACT}-{VERSION}.zip"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest == _SHA256, f"{archive.name} is {digest}, not the pinned one"
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    archive.unlink()
    home = (folder / f"keycloak-{VERSION}").rename(folder / "keycloak")
    with _started(home, folder / "log"):
        pass


@contextmanager
def _started(home: Path, log: Path, *options: str) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    command = ["bash", str(home / "bin" / "kc.sh"), "start-dev", "--http-host=127.0.0.1", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--http-port={httpx.URL(url).port}"],
            env=os.environ | {"JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + _START_SECONDS
        while not _is_started(url):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, log.read_text(errors="replace")
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_started(url: str) -> bool:
    """Keycloak listens once its realms are imported."""
    try:
        return httpx.get(f"{url}/realms/master", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
