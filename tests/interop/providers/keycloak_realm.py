"""The realm `hr` of a Keycloak upstream, and what its administrator changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.interop.providers.login_form import LoginForm

REALM: Final = "hr"
CLIENT_SECRET: Final = "change-me"
"""Of every client."""
PASSWORD: Final = "change-me-now"
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "ada": ("everyone", "hr-staff"),
    "grace": ("everyone", "payroll-managers"),
    "mallory": ("everyone",),
    "newcomer": (),
}
"""The users, and groups as well as realm roles of each."""
LOGIN_FORM: Final = LoginForm("kc-form-login", "username", "password", "kc-login")
_ADMIN: Final = "test-admin"


def realm(client: Mapping[str, Any]) -> dict[str, Any]:
    """The import of the realm, with this client and an administrator of its users and keys."""
    names = sorted({name for groups in GROUPS.values() for name in groups})
    admin = {
        "clientId": _ADMIN,
        "secret": CLIENT_SECRET,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
    }
    return {
        "realm": REALM,
        "enabled": True,
        "roles": {"realm": [{"name": name} for name in names]},
        "groups": [{"name": name} for name in names],
        "clients": [client, admin],
        "users": [
            *(_user(name, groups) for name, groups in GROUPS.items()),
            {
                "username": f"service-account-{_ADMIN}",
                "enabled": True,
                "serviceAccountClientId": _ADMIN,
                "clientRoles": {"realm-management": ["realm-admin"]},
            },
        ],
    }


def _user(name: str, groups: Iterable[str]) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "firstName": name.title(),
        "lastName": "Example",
        "email": f"{name}@hr.example",
        "emailVerified": True,
        "groups": list(groups),
        "realmRoles": list(groups),
        "credentials": [{"type": "password", "value": PASSWORD}],
    }


@dataclass(frozen=True)
class RealmAdmin:
    """The administrator of the realm, by Keycloak's REST API. `url` is that of Keycloak."""

    url: str

    def change_user(self, name: str, **changes: Any) -> None:
        """Change fields of the user, such as `enabled`."""
        self._call("PUT", f"users/{self._user_id(name)}", changes)

    def leave_group(self, name: str, group: str) -> None:
        self._call("DELETE", self._membership(name, group))

    def join_group(self, name: str, group: str) -> None:
        self._call("PUT", self._membership(name, group))

    def rotate_key(self) -> None:
        """Sign with a new key of RS256 from now on."""
        config = {"priority": ["200"], "algorithm": ["RS256"]}
        kind = {"providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider"}
        self._call("POST", "components", {"name": "rotated", **kind, "config": config})

    def _membership(self, name: str, group: str) -> str:
        [found] = self._call("GET", f"groups?search={group}&exact=true").json()
        return f"users/{self._user_id(name)}/groups/{found['id']}"

    def _user_id(self, name: str) -> str:
        [user] = self._call("GET", f"users?username={name}&exact=true").json()
        return str(user["id"])

    def _call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        token = httpx.post(
            f"{self.url}/realms/{REALM}/protocol/openid-connect/token",
            data={"grant_type": "client_credentials"},
            auth=(_ADMIN, CLIENT_SECRET),
            timeout=30,
        ).raise_for_status()
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        address = f"{self.url}/admin/realms/{REALM}/{path}"
        return httpx.request(method, address, json=body, headers=headers, timeout=30).raise_for_status()
