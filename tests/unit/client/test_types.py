"""Types as an application sees them. `mypy` fails where one changes, and where a `type: ignore` is no longer needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import httpx
import pytest

from scopewright.client import AccessToken, ClientCredentials, CredentialSource, MountedCredentials, MountedSecret
from tests.unit.client.support import IssuerServer, Mount


class PayrollCredentials(ClientCredentials):
    """A class of the application."""


class Vault:
    """A source of the application: it inherits from nothing."""

    def __init__(self, credentials: MountedCredentials) -> None:
        self._credentials = credentials

    def read(self, *, now: bool = False) -> MountedCredentials:
        return self._credentials


async def test_methods_return_what_they_state(mount: Mount, issuer: IssuerServer) -> None:
    auth = PayrollCredentials(mount.path, http=issuer.async_client())
    assert_type(auth.for_resource("https://a.example", ["a"]), PayrollCredentials)
    assert_type(auth.on_behalf_of("token").for_resource("https://a.example"), PayrollCredentials)
    assert_type(auth.source, CredentialSource)
    token = await auth.token()
    assert_type(token, AccessToken)
    assert_type(await auth.introspect(token), Mapping[str, Any])
    assert_type(await auth.introspect(token.value), Mapping[str, Any])
    auth.invalidate(token)
    await auth.revoke(token)
    httpx.AsyncClient(auth=auth)
    httpx.Client(auth=auth)


def test_source_of_the_application_is_accepted(mount: Mount, issuer: IssuerServer) -> None:
    source: CredentialSource = Vault(MountedSecret(mount.path).read())
    assert ClientCredentials(source, http=issuer.client()).token_sync().value == "token-1"


def test_unknown_and_wrong_options_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_SECRET_DIR", str(tmp_path))
    assert_type(ClientCredentials.from_env(scope=["a"], allow_http=["issuer.svc"]), ClientCredentials)
    with pytest.raises(TypeError):
        ClientCredentials.from_env(resorce="https://a.example")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ClientCredentials.from_env(resource=["https://a.example"])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ClientCredentials(tmp_path, "https://a.example", "a", "client")  # type: ignore[call-arg]
