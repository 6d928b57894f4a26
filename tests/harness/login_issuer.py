"""`scopewright dev` with users, an API that is delegated to them, and applications in which they log in."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.running import Running

NAMESPACE: Final = "hr"
"""Namespace of the applications. Their redirect URIs may have the hosts below."""
PAYROLL: Final = "https://payroll-api.payroll.svc"
"""An API, of which the staff may read and managers may write, by the applications of `hr`."""
USERS: Final = {
    "ada": {"name": "Ada Lovelace", "email": "ada@hr.example", "groups": ["hr-staff", "hr-managers"]},
    "grace": {"name": "Grace Hopper", "email": "grace@hr.example", "groups": ["hr-staff"]},
    "eve": {"name": "Eve", "email": "eve@hr.example", "groups": ["guests"]},
}
"""The users of `users.yaml`, by id."""

CONFIG: Final = {
    "users": {
        "applications": [
            {"namespaces": [NAMESPACE], "hosts": ["hr.example", "*.hr.example", "127.0.0.1"], "consent": "Skippable"}
        ]
    }
}
"""The configuration file: where users of `hr` may return to."""
_ACCESS: Final = [
    {"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read", "payroll.write"]}
]


def application(
    name: str,
    redirect_uris: Iterable[str],
    *,
    authentication: Mapping[str, Any] | None = None,
    access: Iterable[Mapping[str, Any]] = _ACCESS,
    grant_types: Iterable[str] = ("authorization_code", "refresh_token"),
    **login: Any,
) -> dict[str, Any]:
    """An OAuthClient in `hr`; by default confidential, with a secret. `login` are further fields of `spec.login`."""
    spec: dict[str, Any] = {
        "grantTypes": list(grant_types),
        "access": list(access),
        "login": {"redirectURIs": list(redirect_uris), **login},
    }
    if authentication is not None:
        spec["authentication"] = authentication
    return manifest("OAuthClient", NAMESPACE, name, spec)


def manifest(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


class LoginIssuer(Running):
    """A context manager, as `Running`."""

    def __init__(
        self,
        folder: Path,
        applications: Iterable[Mapping[str, Any]],
        users: Mapping[str, Mapping[str, Any]] = USERS,
        config: Mapping[str, Any] = CONFIG,
    ) -> None:
        documents = [*applications, *_payroll()]
        listed = {"users": [{"id": name, **claims} for name, claims in users.items()]}
        files = {"all.yaml": "\n---\n".join(map(json.dumps, documents)), "users.yaml": json.dumps(listed)}
        super().__init__(folder, files, json.dumps(config))


def _payroll() -> list[dict[str, Any]]:
    scopes = [
        {"name": "payroll.read", "description": "See salaries"},
        {"name": "payroll.write", "description": "Change salaries"},
    ]
    everywhere = {"namespace": NAMESPACE}
    return [
        manifest("ResourceServer", "payroll", "payroll-api", {"scopes": scopes}),
        *(
            manifest(
                "ScopeGrant",
                "payroll",
                group,
                {
                    "resourceServer": "payroll-api",
                    "scopes": [scope],
                    "toUsers": [{"groups": [group], "through": everywhere}],
                },
            )
            for group, scope in (("hr-staff", "payroll.read"), ("hr-managers", "payroll.write"))
        ),
    ]
