"""A command imports no large library that it does not need, and parses no source. Both are most of a start."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

LARGE: Final = {"aiohttp", "kopf", "kubernetes", "prometheus_client", "prompt_toolkit", "redis"}

PROGRAM: Final = """
import atexit, json, linecache, sys
from scopewright.cli import main
packages = lambda: {name.partition(".")[0] for name in sys.modules}
source = lambda: [file for file in linecache.cache if "scopewright" in file]
atexit.register(lambda: print(json.dumps([sorted(packages()), source()]), file=sys.stderr))
main()
"""

FORKS: Final = """
import sys
import scopewright.serving.workers as workers
needed = {"scopewright.stores.kubernetes.store", "kubernetes.aio.client"}
workers.run_workers = lambda *_, **__: print(needed <= {*sys.modules})
"""


def imported(*arguments: str, returncode: int = 0) -> set[str]:
    """Return the large libraries that the command imports, in a new process."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == returncode, done.stderr
    packages, source = json.loads(done.stderr.splitlines()[-1])
    assert source == []
    return LARGE & set(packages)


def test_help_needs_none() -> None:
    assert imported("plan", "--help") == set()


def test_plan_of_a_directory_needs_none(tmp_path: Path) -> None:
    manifest = {"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": {"name": "leave-worker"}}
    (tmp_path / "client.yaml").write_text(json.dumps({**manifest, "spec": {}}))
    assert imported("plan", str(tmp_path), "--issuer-url", "https://issuer.example.org") == set()


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["dev", "missing"], {"prometheus_client"}),
        (["issuer", "--source", "missing"], {"prometheus_client"}),
        (["issuer", "--source", "missing", "--replay", "redis://127.0.0.1:1"], {"prometheus_client", "redis"}),
        (["gateway", "--source", "missing"], {"prometheus_client"}),
        (["operator"], {"aiohttp", "kopf", "kubernetes", "prometheus_client"}),
    ],
)
def test_server_needs_what_it_is_started_for(arguments: list[str], needed: set[str]) -> None:
    assert imported(*arguments, "--listen", "nowhere", returncode=1) == needed


@pytest.mark.parametrize("command", [["issuer"], ["gateway", "--profile", "nginx"]])
def test_workers_share_what_they_need_for_an_api_server(command: list[str]) -> None:
    arguments = [*command, "--workers", "2", "--replay", "per-process", "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", FORKS + PROGRAM, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "True\n", done.stderr
