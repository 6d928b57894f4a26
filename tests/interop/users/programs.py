"""Applications of other projects' libraries that log users in, as processes; and oauth2-proxy."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.go_program import go_program
from tests.interop.toolchains import build_go, built, built_from, require, sources

_HERE: Final = Path(__file__).parent
_PROXY: Final = "github.com/oauth2-proxy/oauth2-proxy/v7"
LIBRARIES: Final = ("authlib", "openid-client", "oauth4webapi", "go-oidc")


def command(library: str) -> list[str]:
    """The command that starts the application. Without its toolchain it skips, and fails if CI=true."""
    match library:
        case "go-oidc":
            files = {"main.go": (_HERE / "go" / "main.go").read_bytes()} | sources("go", "go.mod", "go.sum")
            return [str(built_from("go", files, build_go) / "interop")]
        case "authlib":
            command = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning"]
            return [*command, "--app-dir", str(_HERE / "authlib"), "app:app"]
        case "joserfc-fapi2":
            return [sys.executable, str(_HERE / "joserfc" / "fapi2.py")]
        case _:
            packages = built("node") / "node_modules"
            files = {f"{library}.mjs": (_HERE / "node" / f"{library}.mjs").read_bytes()}
            home = built_from("node", files, lambda folder: (folder / "node_modules").symlink_to(packages))
            return ["node", str(home / f"{library}.mjs")]


def oauth2_proxy() -> Path:
    require("go")
    files = ("go.mod", "go.sum")
    return go_program("oauth2-proxy", _HERE / "oauth2_proxy", files, package=_PROXY, ldflags="-s -w")


@contextmanager
def running(
    command: list[str], home: str, environment: Mapping[str, str], log: Path, trust: ssl.SSLContext | bool = True
) -> Iterator[None]:
    """The process, once it answers at `home`, whose certificate is checked by `trust`. Its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while not _answers(home, trust):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str, trust: ssl.SSLContext | bool) -> bool:
    try:
        httpx.get(url, timeout=5, verify=trust)
    except httpx.TransportError:
        return False
    return True
