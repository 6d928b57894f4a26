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
from tests.running import Running

SYSTEM: Final = "scopewright-system"
SCOPES: Final = "openid profile email groups payroll.read payroll.write"
CALLBACK: Final = "http://127.0.0.1:3999/callback"
"""Where applications get the browser back. Nothing listens there: a test's browser stops before it."""
_CONFIG: Final = {"users": {"applications": [{"namespaces": ["hr"], "hosts": ["127.0.0.1"], "consent": "Skippable"}]}}
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
    applications of `hr`. Each application admits users of `providers`; by default of all.
    """

    def __init__(self, folder: Path, applications: Mapping[str, Iterable[str]]) -> None:
        """`applications`: for each name its `identityProviders`; none: it names none."""
        self._moved_by = folder / "moved-by"
        self._moved_by.write_text("0")
        program = (sys.executable, "-m", "tests.interop.providers.moved_clock", self._moved_by)
        documents = [*_payroll(), *(_application(name, providers) for name, providers in applications.items())]
        super().__init__(folder, {"hr.yaml": _text(documents)}, json.dumps(_CONFIG), program)

    def callback_of(self, provider: str) -> str:
        """The redirect URI that is registered at the provider."""
        return f"{self.url}/callback/{provider}"

    def declare(self, name: str, *documents: Mapping[str, Any]) -> None:
        """Declare objects in a file of this name, or replace those that it has."""
        self.write_manifest(f"{name}.yaml", _text(documents))

    def ready_of(self, provider: str, reason: str, seconds: float = 20.0) -> str:
        """The message of the condition Ready of the provider, once it has this reason."""
        file = self.state / "status" / "identityprovider" / SYSTEM / f"{provider}.yaml"
        end, found = time.monotonic() + seconds, None
        while time.monotonic() < end:
            status = yaml.safe_load(file.read_text()) if file.exists() else {}
            conditions = (status.get("status") or status).get("conditions", [])
            found = next((c for c in conditions if c["type"] == "Ready"), None)
            if found is not None and found["reason"] == reason:
                return str(found["message"])
            time.sleep(0.1)
        raise AssertionError(f"{provider} is not {reason}, but {found}\n{self.printed()}")

    def move_clock(self, seconds: float) -> None:
        """Move the clock of the issuer and the operator on."""
        moved = self._moved_by.with_name("moved-by-next")
        moved.write_text(str(float(self._moved_by.read_text()) + seconds))
        moved.rename(self._moved_by)

    def relying_party(self, name: str) -> RelyingParty:
        client_id, secret = self.secret("hr", name)
        return RelyingParty(self.url, client_id, CALLBACK, secret)


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


def _application(name: str, providers: Iterable[str]) -> dict[str, Any]:
    named: dict[str, Any] = {"identityProviders": list(providers)} if providers else {}
    return application(name, [CALLBACK], consent="Skip", **named)


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
