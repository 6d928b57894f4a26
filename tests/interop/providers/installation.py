"""`scopewright dev` with identity providers, an API that is delegated to their users, and applications."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.harness.login_issuer import application, manifest
from tests.harness.relying_party import RelyingParty
from tests.harness.waiting import poll
from tests.running import Running

SYSTEM: Final = "scopewright-system"
SCOPES: Final = "openid profile email groups payroll.read payroll.write"
PAYROLL: Final = "https://payroll-api.payroll.svc"
CALLBACK: Final = "http://127.0.0.1:3999/callback"
"""Where applications get the browser back. Nothing listens there: a test's browser stops before it."""
_CONFIG: Final = {
    "users": {
        "applications": [{"namespaces": ["hr"], "hosts": ["127.0.0.1", "app.hr.example"], "consent": "Skippable"}]
    }
}
_PAYROLL: Final = {
    "scopes": [
        {"name": "payroll.read", "description": "See salaries"},
        {"name": "payroll.write", "description": "Change salaries"},
    ],
    "roles": [{"name": "payroll-manager", "scopes": ["payroll.read", "payroll.write"]}],
}


class Installation(Running):
    """A context manager, as `Running`. Its URL is known before providers and manifests are.

    Members of `hr-staff` may read, and members of `payroll-managers` have the role `payroll-manager`, through the
    applications, which are `hr_application`s.
    """

    def __init__(self, folder: Path, *applications: Mapping[str, Any]) -> None:
        self._moved_by = folder / "moved-by"
        self._moved_by.write_text("0")
        program = (sys.executable, "-m", "tests.interop.providers.moved_clock", self._moved_by)
        super().__init__(folder, {"hr.yaml": _text([*_payroll(), *applications])}, json.dumps(_CONFIG), program)

    def callback_of(self, provider: str) -> str:
        """The redirect URI that is registered at the provider."""
        return f"{self.url}/callback/{provider}"

    def declare(self, name: str, *documents: Mapping[str, Any]) -> None:
        """Declare objects in a file of this name, or replace those that it has."""
        self.write_manifest(f"{name}.yaml", _text(documents))

    def ready_of(self, provider: str, reason: str, seconds: float = 20.0) -> str:
        """The message of the condition Ready of the provider, once it has this reason."""
        file = self.state / "status" / "identityprovider" / SYSTEM / f"{provider}.yaml"

        def ready() -> dict[str, str]:
            status = yaml.safe_load(file.read_text()) if file.exists() else {}
            conditions = (status.get("status") or status).get("conditions", [])
            return next((c for c in conditions if c["type"] == "Ready"), {})

        poll(lambda: ready().get("reason") == reason, lambda: f"{ready()}\n{self.printed()}", seconds)
        return ready()["message"]

    def wait_for_record(self, provider: str, entry: str, part: str, seconds: float = 20.0) -> None:
        """Wait until the entry of the provider's record, which issuers follow, has this part."""
        file = self.state / "secrets" / SYSTEM / f"identityprovider.{provider}" / entry
        poll(lambda: file.exists() and part in file.read_text(), self.printed, seconds)
        time.sleep(0.5)  # the issuer follows it at once, but in a task of its own

    def move_clock(self, seconds: float) -> None:
        """Move that clock on."""
        moved = self._moved_by.with_name("moved-by-next")
        moved.write_text(str(float(self._moved_by.read_text()) + seconds))
        moved.rename(self._moved_by)

    def relying_party(self, name: str, redirect_uri: str = CALLBACK) -> RelyingParty:
        client_id, secret = self.secret("hr", name)
        return RelyingParty(self.url, client_id, redirect_uri, secret, clock=self.clock)

    def clock(self) -> float:
        """That of the issuer and the operator, in seconds since the epoch."""
        return time.time() + float(self._moved_by.read_text())


def openid_provider(
    name: str, issuer_url: str, client_secret: str, oidc: Mapping[str, Any] | None = None, **spec: Any
) -> list[dict[str, Any]]:
    """An IdentityProvider and its Secret. `oidc` are further fields of `spec.oidc`, `spec` those of the rest."""
    client = {
        "issuerURL": issuer_url,
        "clientID": "scopewright",
        "clientAuthentication": {"method": "ClientSecret", "secretRef": {"name": f"{name}-oidc"}},
        **(oidc or {}),
    }
    return [
        manifest("IdentityProvider", SYSTEM, name, {"oidc": client, **spec}),
        client_secret_of(name, client_secret),
    ]


def client_secret_of(name: str, client_secret: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-oidc", "namespace": SYSTEM},
        "type": "scopewright.dev/identity-provider",
        "stringData": {"client_secret": client_secret},
    }


def ca_certificate_of(name: str, pem: bytes) -> dict[str, Any]:
    metadata = {"name": f"{name}-ca", "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": pem.decode()}}


def hr_application(
    name: str, *providers: str, redirect_uri: str = CALLBACK, consent: str = "Skip", **more: Any
) -> dict[str, Any]:
    """An application that admits users of these providers; without any, those of the only one."""
    named: dict[str, Any] = {"identityProviders": list(providers)} if providers else {}
    return application(name, [redirect_uri], consent=consent, **named, **more)


def _payroll() -> list[dict[str, Any]]:
    api = {"resourceServer": "payroll-api"}
    through = {"namespace": "hr"}
    readers = api | {"scopes": ["payroll.read"], "toUsers": [{"groups": ["hr-staff"], "through": through}]}
    managers = api | {"roles": ["payroll-manager"], "toUsers": [{"groups": ["payroll-managers"], "through": through}]}
    return [
        manifest("ResourceServer", "payroll", "payroll-api", _PAYROLL),
        manifest("ScopeGrant", "payroll", "staff", readers),
        manifest("ScopeGrant", "payroll", "managers", managers),
    ]


def _text(documents: Iterable[Mapping[str, Any]]) -> str:
    return "\n---\n".join(map(json.dumps, documents))
