"""Which login `scopewright dev` offers, and what it prints about it."""

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from scopewright.cli.dev_logins import DevLogins
from scopewright.controller.cache import Cache
from scopewright.core.declared import parse_declared, ref_of

SYSTEM = "scopewright-system"
ISSUER = "http://127.0.0.1:8080"
URL = "https://login.example/realms/hr"
OIDC = {
    "oidc": {
        "issuerURL": URL,
        "clientID": "scopewright",
        "clientAuthentication": {"method": "ClientSecret", "secretRef": {"name": "company", "key": "secret"}},
    }
}
STATIC = {"static": {"usersRef": {"name": "staff"}}}
LOGIN = {"grantTypes": ["authorization_code"], "login": {"redirectURIs": ["http://localhost:1/callback"]}}
WITHOUT_PASSWORD = "the users of users.yaml log in without a password"
IGNORED = "users.yaml is ignored while an IdentityProvider is declared"


def manifest(kind: str, namespace: str, name: str, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "uid": "1", "resourceVersion": "1"}
    return {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec, **more}


def provider(name: str = "company", spec: Mapping[str, Any] = OIDC, **more: Any) -> dict[str, Any]:
    return manifest("IdentityProvider", SYSTEM, name, spec, **more)


def ready(status: str) -> dict[str, Any]:
    """The status of a provider whose condition Ready has this status."""
    condition = {"type": "Ready", "status": status, "reason": "Any", "message": "no connection"}
    return {"conditions": [condition | {"lastTransitionTime": "2026-11-30T00:00:00Z"}]}


@dataclass
class Dev:
    folder: Path
    output: io.StringIO = field(default_factory=io.StringIO)
    cache: Cache = field(default_factory=lambda: Cache("default", SYSTEM))

    def logins(self, *, users: bool = False) -> DevLogins:
        file = self.folder / "users.yaml"
        if users:
            file.write_text("users: [{id: ada}]")
        console = Console(file=self.output, width=300)
        return DevLogins(self.folder, file if users else None, self.cache, ISSUER, console)

    def write(self, *manifests: Mapping[str, Any]) -> None:
        (self.folder / "all.yaml").write_bytes(b"\n---\n".join(map(orjson.dumps, manifests)))

    def put(self, *manifests: dict[str, Any]) -> None:
        for each in manifests:
            self.cache.put(parse_declared(each))

    def printed(self) -> list[str]:
        lines = self.output.getvalue().splitlines()
        self.output.truncate(0)
        self.output.seek(0)
        return lines


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path)


def test_each_provider_is_printed_with_what_to_register_there(dev: Dev) -> None:
    logins = dev.logins()
    dev.put(provider(), provider("staff", STATIC))
    logins.settled()
    logins.report()
    of_company = f"the users of IdentityProvider company log in at {URL}; register the redirect URI"
    assert dev.printed() == [
        f"{of_company} {ISSUER}/callback/company there",
        "the users of IdentityProvider staff log in with a password",
    ]
    logins.report()
    assert dev.printed() == [], "only what has changed"


def test_a_provider_that_is_not_ready_is_printed_with_the_reason(dev: Dev) -> None:
    logins = dev.logins()
    dev.put(provider(status=ready("False")))
    logins.settled()
    logins.report()
    assert dev.printed()[1:] == ["IdentityProvider company is not ready: no connection"]


def test_a_provider_that_is_ready_again_is_printed_each_time(dev: Dev) -> None:
    logins = dev.logins()
    logins.settled()
    lines = {
        "False": "IdentityProvider company is not ready: no connection",
        "True": "IdentityProvider company is ready",
    }
    for version, status in enumerate(("False", "True", "False", "True"), start=1):
        declared = provider(status=ready(status))
        declared["metadata"]["resourceVersion"] = str(version)
        dev.put(declared)
        logins.report()
        assert dev.printed()[-1] == lines[status]


def test_a_login_at_a_provider_that_does_not_exist_is_printed_once(dev: Dev) -> None:
    logins = dev.logins(users=True)
    missing = "no user can log in: IdentityProvider other does not exist"
    allowed = ready("False")["conditions"][0] | {"type": "LoginAllowed", "reason": "IdentityProviderNotFound"}
    web = manifest("OAuthClient", "hr", "web", LOGIN, status={"conditions": [allowed | {"message": missing}]})
    dev.put(provider(), web)
    logins.settled()
    for _ in range(2):
        logins.report()
    assert [line for line in dev.printed() if "hr.web" in line] == [f"hr.web: {missing}"]


async def test_a_mistake_in_users_that_are_ignored_is_not_printed(dev: Dev) -> None:
    logins = dev.logins(users=True)
    (dev.folder / "users.yaml").write_text("users: [{id: ada, passwordHash: x}]")
    dev.put(provider())
    logins.settled()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(logins.run(), 0.1)
    lines = dev.printed()
    assert lines[-1] == IGNORED
    assert not any("users[0]" in line for line in lines)


def test_the_developer_login_is_not_offered_while_a_provider_is_declared_ready_or_not(dev: Dev) -> None:
    logins = dev.logins(users=True)
    assert logins.developer is not None
    logins.settled()
    assert logins.developer.is_offered()
    declared = provider()
    dev.put(declared)
    assert not logins.developer.is_offered()
    logins.report()
    assert dev.printed()[-1] == IGNORED
    dev.cache.drop(ref_of(parse_declared(declared)), "2")
    assert logins.developer.is_offered()
    logins.report()
    assert dev.printed()[0].startswith(WITHOUT_PASSWORD)


def test_the_developer_login_is_not_offered_before_the_manifests_have_been_read(dev: Dev) -> None:
    """The issuer serves at once, from an earlier STATE."""
    dev.write(provider())
    logins = dev.logins(users=True)
    assert logins.developer is not None
    assert not logins.developer.is_offered()
    dev.write(manifest("OAuthClient", "hr", "web", LOGIN))
    logins = dev.logins(users=True)
    assert logins.developer is not None
    assert logins.developer.is_offered(), "otherwise its users would be logged out by each start"


@pytest.mark.parametrize(
    ("logs_in", "users", "declared", "hints"),
    [(True, False, False, 1), (True, True, False, 0), (True, False, True, 0), (False, False, False, 0)],
)
def test_a_client_with_login_and_no_users_is_pointed_out_once(
    dev: Dev, logs_in: bool, users: bool, declared: bool, hints: int
) -> None:
    logins = dev.logins(users=users)
    dev.put(manifest("OAuthClient", "hr", "web", LOGIN if logs_in else {}))
    if declared:
        dev.put(provider())
    logins.settled()
    for _ in range(2):
        logins.report()
    hint = "no user can log in through hr.web: declare an IdentityProvider in DIR, or list users in DIR/users.yaml"
    assert sum(line.startswith(hint) for line in dev.printed()) == hints


def test_a_mistake_in_the_file_is_printed_with_its_place(dev: Dev) -> None:
    logins = dev.logins(users=True)
    assert logins.developer is not None
    (dev.folder / "users.yaml").write_text("users: [{id: ada, nmae: Ada}]")
    logins.developer.users()
    logins.settled()
    logins.report()
    (line,) = dev.printed()
    assert line.startswith(f"{dev.folder}/users.yaml, line 1, users[0]: unknown field")
