"""`scopewright dev` reconciles a directory: a first SigningKey, that of ID tokens with users, and loopback logins."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer, SigningKey
from scopewright.controller import local_operator
from scopewright.controller.local_operator import LocalOperator
from scopewright.core.config import Config
from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.names import (
    CLIENT_SECRET_ENTRY,
    ENTRY,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
    client_record_name,
    identity_provider_record_name,
)
from scopewright.stores.directory.store import DirectoryStore
from tests.harness.openid_provider import OpenIDProvider
from tests.harness.samples import ISSUER, NAMESPACE
from tests.harness.waiting import until

APPLICATIONS = """
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: web, namespace: hr}
spec:
  grantTypes: [authorization_code]
  login: {redirectURIs: ["http://127.0.0.1:8000/callback", "https://hr.example/callback"], consent: Skip}
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: app, namespace: hr}
spec:
  authentication: {method: None}
  grantTypes: [authorization_code]
  login: {redirectURIs: ["http://localhost/callback"]}
"""
OWN_KEY = """
apiVersion: scopewright.dev/v1alpha1
kind: SigningKey
metadata: {name: own, namespace: scopewright-system}
"""
PROVIDER = """
apiVersion: scopewright.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: company, namespace: scopewright-system}}
spec:
  oidc:
    issuerURL: {issuer}
    clientID: scopewright
    clientAuthentication: {{method: ClientSecret, secretRef: {{name: company-oidc}}}}
    signingAlgorithms: [ES256]
---
apiVersion: v1
kind: Secret
metadata: {{name: company-oidc, namespace: scopewright-system}}
type: scopewright.dev/identity-provider
stringData: {{client_secret: {secret}}}
"""
GRANT = """
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: unknown, namespace: hr}
spec: {resourceServer: missing, scopes: [read], to: [{namespace: hr}]}
"""
API = """
---
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {{name: {name}, namespace: hr}}
spec:
  http:
    hostnames: {hostnames}
    rules: [{{name: all, paths: ["/**"], authentication: Required}}]
"""
PROVIDER_RECORD = Ref("Secret", NAMESPACE, identity_provider_record_name("company"))
CONFIG = Config(issuer=ISSUER).for_dev()


class Settled:
    """A directory that was reconciled once."""

    def __init__(self, folder: Path, config: Config = CONFIG, *, users: bool = True, manifests: str = "") -> None:
        self._directory, self._state = folder / "manifests", folder / "state"
        self._directory.mkdir()
        if manifests:
            (self._directory / "manifests.yaml").write_text(manifests)
        self._config, self._users = config, users

    async def __aenter__(self) -> "Settled":
        self.store = DirectoryStore.open(self._state, self._config.issuer)
        self.operator = LocalOperator(self._directory, self.store, self._config, users=self._users)
        settled = asyncio.Event()
        self._task = asyncio.create_task(self.operator.run(settled.set))
        await settled.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.store.close()

    def algorithms(self) -> dict[str, str]:
        return {key.name: key.spec.algorithm for key in self.operator.cache.all(SigningKey)}

    def client(self, name: str) -> OAuthClient:
        return next(c for c in self.operator.cache.all(OAuthClient) if c.name == name)

    def login_of(self, name: str) -> str:
        allowed = self.client(name).condition("LoginAllowed")
        return f"{allowed.status} {allowed.reason}" if allowed else ""

    def write(self, manifests: str) -> None:
        (self._directory / "manifests.yaml").write_text(manifests)

    def provider_condition(self) -> str:
        ready = next(p.condition("Ready") for p in self.operator.cache.all(IdentityProvider))
        return f"{ready.status} {ready.reason}" if ready else ""

    def server_condition(self, name: str) -> str:
        ready = next((s.condition("Ready") for s in self.operator.cache.all(ResourceServer) if s.name == name), None)
        return f"{ready.status} {ready.reason}" if ready else ""

    async def until(self, provider_condition: str) -> None:
        await until(lambda: self.provider_condition() == provider_condition)

    async def provider_secret(self) -> bytes:
        found = await self.store.read(PROVIDER_RECORD)
        return found[1][CLIENT_SECRET_ENTRY] if found else b""

    async def record(self, name: str) -> ClientRecord:
        found = await self.store.read(Ref("Secret", NAMESPACE, client_record_name("hr", name)))
        assert found
        return decode(ClientRecord, found[1][ENTRY])


async def test_users_have_a_signing_key_for_id_tokens(tmp_path: Path) -> None:
    async with Settled(tmp_path) as settled:
        assert settled.algorithms() == {"default": "ES256", "id-tokens": "RS256"}
        found = await settled.store.read(Ref("Secret", NAMESPACE, SESSION_KEY_NAME))
        assert found
        assert found[0].type == SESSION_KEY_TYPE


@pytest.mark.parametrize(
    ("manifests", "users", "expected"),
    [
        ("", False, {"default": "ES256"}),
        (OWN_KEY, True, {"own": "ES256", "id-tokens": "RS256"}),
        (OWN_KEY.replace("own", "id-tokens"), True, {"id-tokens": "ES256"}),
    ],
)
async def test_signing_keys_of_the_directory_take_precedence(
    tmp_path: Path, manifests: str, users: bool, expected: dict[str, str]
) -> None:
    async with Settled(tmp_path, users=users, manifests=manifests) as settled:
        assert settled.algorithms() == expected


async def test_id_tokens_are_never_rs256_with_profile_fapi2(tmp_path: Path) -> None:
    async with Settled(tmp_path, CONFIG.model_copy(update={"profile": "FAPI2"})) as settled:
        assert settled.algorithms()["id-tokens"] == "ES256"


async def test_applications_of_every_namespace_log_in_on_loopback(tmp_path: Path) -> None:
    async with Settled(tmp_path, manifests=APPLICATIONS) as settled:
        web, app = await settled.record("web"), await settled.record("app")
        assert web.login
        assert web.login.redirect_uris == ("http://127.0.0.1:8000/callback",)
        assert web.login.consent == "Skip"
        allowed = settled.client("web").condition("LoginAllowed")
        assert allowed
        assert (allowed.status, allowed.reason) == ("False", "RedirectHostNotAllowed")
        assert app.public
        assert app.credentials == ()
        assert await settled.store.read(Ref("Secret", "hr", "app-oauth")) is None
        assert await settled.store.read(Ref("Secret", "hr", "web-oauth"))
        ready = settled.client("app").condition("Ready")
        assert ready
        assert ready.status == "True"
        assert settled.client("app").status.binding is None  # type: ignore[union-attr]


async def test_every_namespace_has_the_hostnames_that_nothing_assigns(tmp_path: Path) -> None:
    """Without a configuration file, as a new user runs `scopewright dev`."""
    manifests = API.format(name="payroll", hostnames="[payroll.hr.example, localhost, payroll]")
    async with Settled(tmp_path, manifests=manifests) as settled:
        assert settled.server_condition("payroll") == "True Served"


async def test_a_hostname_that_no_manifest_asks_for_is_free_again(tmp_path: Path) -> None:
    """There is no platform team that releases it: a renamed ResourceServer has the hostname at once."""
    first, both = API.format(name="first", hostnames="[api.hr.example]"), "[api.hr.example]"
    async with Settled(tmp_path, manifests=first) as settled, asyncio.timeout(20):
        settled.write(API.format(name="renamed", hostnames=both))
        await until(lambda: settled.server_condition("renamed") == "True Served")
        settled.write(API.format(name="renamed", hostnames=both) + API.format(name="another", hostnames=both))
        await until(lambda: settled.server_condition("another") == "False HostnameConflict")
        moved = API.format(name="renamed", hostnames="[other.hr.example]") + API.format(name="another", hostnames=both)
        settled.write(moved)
        await until(lambda: settled.server_condition("another") == "True Served")
        await until(lambda: settled.server_condition("renamed") == "True Served")


async def test_a_provider_on_loopback_is_in_force_and_its_secret_may_change(tmp_path: Path) -> None:
    with OpenIDProvider() as provider:
        manifests = PROVIDER.format(issuer=provider.issuer, secret="first")
        async with Settled(tmp_path, users=False, manifests=manifests) as settled, asyncio.timeout(10):
            assert settled.algorithms() == {"default": "ES256", "id-tokens": "RS256"}, "a provider needs ID tokens"
            assert await settled.provider_secret() == b"first"
            await settled.until("True InForce")
            settled.write(PROVIDER.format(issuer=provider.issuer, secret="second"))
            while await settled.provider_secret() != b"second":  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_provider_that_goes_away_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that is sent there gets no page of the issuer: the developer sees it in the output of dev only."""
    assert local_operator.CHECK_SECONDS <= 15
    monkeypatch.setattr(local_operator, "CHECK_SECONDS", 0.1)
    with contextlib.ExitStack() as running:
        provider = running.enter_context(OpenIDProvider())
        manifests = PROVIDER.format(issuer=provider.issuer, secret="x")
        async with Settled(tmp_path, users=False, manifests=manifests) as settled, asyncio.timeout(10):
            await settled.until("True InForce")
            running.close()
            await settled.until("False ProviderUnreachable")


async def test_an_application_needs_no_provider_in_dev_with_users(tmp_path: Path) -> None:
    async with Settled(tmp_path, manifests=APPLICATIONS) as settled:
        assert settled.login_of("app") == "True Allowed"


async def test_without_users_and_providers_no_user_can_log_in(tmp_path: Path) -> None:
    async with Settled(tmp_path, users=False, manifests=APPLICATIONS) as settled:
        assert settled.login_of("app") == "False NoIdentityProvider"


async def test_a_login_follows_a_provider_that_is_refused_and_removed(tmp_path: Path) -> None:
    """The developer login does not stand in for a declared provider."""
    refused = PROVIDER.format(issuer="https://company.example", secret="x").partition("---")[0]
    async with Settled(tmp_path, manifests=APPLICATIONS) as settled, asyncio.timeout(30):
        settled.write(f"{APPLICATIONS}---{refused}")
        await until(lambda: settled.login_of("app") == "False NoIdentityProvider")
        settled.write(APPLICATIONS)
        await until(lambda: settled.login_of("app") == "True Allowed")


async def test_the_log_does_not_repeat_the_problems_of_providers_that_dev_prints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_secret = PROVIDER.format(issuer="https://company.example", secret="x").partition("---")[0]
    async with Settled(tmp_path, users=False, manifests=f"{without_secret}---{GRANT}") as settled:
        assert settled.provider_condition() == "False SecretNotFound"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["ScopeGrant" in warning for warning in warnings] == [True]
