"""The issuer process under test, with one client that gets tokens, and one that logs users in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.running import Running

RESOURCE: Final = "https://payroll-api.payroll.svc"
_MANIFESTS: Final = """\
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {name: payroll-api, namespace: payroll}
spec:
  scopes: [{name: payroll.read}]
---
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: leave-reads, namespace: payroll}
spec:
  resourceServer: payroll-api
  scopes: [payroll.read]
  to: [{namespace: leave, client: worker}]
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: leave}
spec:
  access: [{resourceServer: payroll-api, namespace: payroll, scopes: [payroll.read]}]
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: app, namespace: leave}
spec:
  grantTypes: [authorization_code, refresh_token]
  authentication: {method: None}
  access: [{resourceServer: payroll-api, namespace: payroll, scopes: [payroll.read]}]
  login: {redirectURIs: ["http://127.0.0.1/callback"]}
"""
_USERS: Final = "users: [{id: ada, name: Ada Lovelace}]"


@dataclass
class Target:
    folder: Path
    running: Running

    @classmethod
    def of(cls, folder: Path) -> "Target":
        return cls(folder, Running(folder, {"all.yaml": _MANIFESTS, "users.yaml": _USERS}))

    @property
    def worker(self) -> tuple[str, str]:
        """Id and secret of the client."""
        return self.running.secret("leave", "worker")
