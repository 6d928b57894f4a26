"""Issuer replicas on a real API server, with an issuer's rights: users wait unless session stores are shared."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.core.records.names import ENTRY, USAGE_NAME
from tests.ports import free_port

from .installation import Install, Installation
from .kube import Manifest
from .manifests import USERS
from .processes import ScopewrightProcess
from .test_identity_providers import secret, static
from .waiting import until

USER_PAGE = "/account"


class Replica:
    """An issuer of the installation, with the session store that `sessions` names."""

    def __init__(self, installation: Installation, sessions: Path, name: str) -> None:
        self._installation = installation
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = ("--listen", self.url.removeprefix("http://"), "--sessions", str(sessions))
        arguments = ["issuer", "--namespace", installation.namespace, *listen]
        user = installation.user("issuer")
        self.process: ScopewrightProcess = installation.run(arguments, user, name, "system:serviceaccounts")
        until(lambda: installation.is_ready(self.url), lambda: installation.logs())

    def status(self) -> int:
        """Of a page for users. 303 leads to the login."""
        return httpx.get(self.url + USER_PAGE, trust_env=False, timeout=30).status_code

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.exit_code() == 0


Start = Callable[[Path, str], Replica]


@pytest.fixture(scope="module")
def desk(install: Install) -> Installation:
    return install("stores", resync="1s")


@pytest.fixture
def start(desk: Installation) -> Iterator[Start]:
    with ExitStack() as started:

        def start(sessions: Path, name: str) -> Replica:
            replica = Replica(desk, sessions, name)
            started.callback(replica.process.kill)
            return replica

        yield start


@pytest.fixture
def provider(desk: Installation) -> Iterator[Manifest]:
    desk.kube.apply(secret(desk, "staff-users", STATIC_USERS_TYPE, users_yaml=USERS))
    provider = static(desk, "staff")
    desk.apply(provider)
    desk.wait_for(provider, "InForce")
    yield provider
    desk.delete(provider)


def reported(desk: Installation) -> int:
    """How many session stores are reported."""
    found = desk.kube.get("ConfigMap", desk.namespace, USAGE_NAME)
    assert found
    return len(json.loads(found["data"][ENTRY]).get("sessionStores", {}))


def test_replicas_with_a_file_each_refuse_users_until_one_of_them_stops(
    desk: Installation, provider: Manifest, start: Start, tmp_path: Path
) -> None:
    one = start(tmp_path / "one.db", "one")
    until(lambda: one.status() < 500)
    until(lambda: reported(desk) == 1)
    other = start(tmp_path / "other.db", "other")
    desk.wait_for(provider, "SessionStoreNotShared")
    until(lambda: one.status() == other.status() == 503)
    for replica in (one, other):
        ready = httpx.get(f"{replica.url}/readyz", trust_env=False)
        assert ready.status_code == 200
        assert "session store: replicas of the issuer" in ready.json()["failing"][0]
        assert httpx.get(f"{replica.url}/.well-known/openid-configuration", trust_env=False).status_code == 200
    other.stop()
    until(lambda: one.status() < 500)
    desk.wait_for(provider, "InForce")
    assert reported(desk) == 1


def test_replicas_with_one_file_are_no_reason_to_refuse(
    desk: Installation, provider: Manifest, start: Start, tmp_path: Path
) -> None:
    """Also not when both are killed, and another one starts with another file, as Recreate with an emptyDir does."""
    replicas = [start(tmp_path / "one.db", name) for name in ("first", "second")]
    until(lambda: all(replica.status() < 500 for replica in replicas))
    for replica in replicas:
        replica.process.kill()
    before = reported(desk)
    successor = start(tmp_path / "new.db", "successor")
    until(lambda: successor.status() < 500)
    until(lambda: reported(desk) > before)
    for _ in range(20):
        assert successor.status() < 500
    assert desk.condition(provider, "Ready")["reason"] == "InForce"
