"""The wheel without extras, in a virtual environment of its own: what a service installs."""

from collections.abc import Iterator
from typing import Final

import pytest

from scopewright.cli import WITH_EXTRAS
from tests.base_install import BaseInstall
from tests.dev.test_dev import PAYROLL, WORKER
from tests.running import Running

AUDIENCE: Final = "https://payroll-api.payroll.svc"
LIBRARIES: Final = ("client", "verifier", "testing")
SERVERS: Final = ("kopf", "kubernetes", "typer", "pydantic", "yaml", "aiohttp", "uvloop", "rich", "pytest")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseInstall:
    return BaseInstall(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("dev"), {"payroll.yaml": PAYROLL, "worker.yaml": WORKER}) as running:
        yield running


def test_nothing_of_the_servers_is_installed(base: BaseInstall) -> None:
    assert {"httpx", "pyjwt", "cryptography"} <= base.packages
    installed = f"import importlib.util; print([n for n in {SERVERS} if importlib.util.find_spec(n)])"
    assert base.python(installed) == "[]"


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_name_of_a_library_can_be_imported(library: str, base: BaseInstall) -> None:
    names = f"import scopewright.{library} as library; print(all(hasattr(library, n) for n in library.__all__))"
    assert base.python(names) == "True"


def test_the_plugin_of_pytest_is_registered(base: BaseInstall) -> None:
    entries = "from importlib.metadata import entry_points; print(*(e.value for e in entry_points(group='pytest11')))"
    assert "scopewright.pytest_plugin" in base.python(entries).split()


def test_a_token_is_printed_and_verified(base: BaseInstall, dev: Running) -> None:
    secret = dev.state / "secrets/leave/worker-oauth"
    token = base.run("scopewright", "token", "--secret", secret).stdout
    flags = ("--issuer", dev.url, "--audience", AUDIENCE, "--scope")
    assert "leave.worker" in base.run("scopewright", "verify", *flags, "payroll.read", given=token).stdout
    refused = base.run("scopewright", "verify", *flags, "payroll.write", given=token, code=1)
    assert "insufficient_scope" in refused.stderr


@pytest.mark.parametrize("command", WITH_EXTRAS)
def test_another_command_prints_what_to_install(command: str, base: BaseInstall) -> None:
    done = base.run("scopewright", command, "--help", code=1)
    assert done.stderr.splitlines() == [
        "scopewright: the command needs typer, which is not installed: pip install 'scopewright[operator,issuer]'"
    ]


def test_the_help_lists_all_commands(base: BaseInstall) -> None:
    printed = base.run("scopewright", "--help").stdout
    assert all(command in printed for command in (*WITH_EXTRAS, "token", "verify"))
    assert base.run("scopewright", code=2).stdout == printed
