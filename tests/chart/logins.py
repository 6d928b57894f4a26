"""Login of static users in a cluster: what the teams apply, an application of theirs, and its users' browser."""

import os
import ssl
from typing import Any, Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.cluster.kube import Manifest
from tests.cluster.manifests import access_entry, manifest, oauth_client
from tests.harness.browser import Away, FormBrowser
from tests.harness.html_page import Page
from tests.harness.relying_party import RelyingParty, TokenResponse

from .helm import NAMESPACE

APPLICATION: Final = "hr-web"
TEAM: Final = "staff"
"""The namespace of the application."""
REDIRECT_URI: Final = "https://hr.example/callback"
"""Nothing listens there: the browser stops before it."""
SCOPES: Final = "openid profile payroll.read"
AUDIENCE: Final = "https://payroll-api.payroll.svc"
USER: Final = "ada"
MANAGER: Final = "mara"
"""In the group payroll-managers. Both users have the same password."""
PASSWORD: Final = "correct horse battery staple"
PROVIDER: Final = "emergency"
VALUES: Final[dict[str, Any]] = {
    "users": {"enabled": True},
    "operator": {"replicas": 1},
    "config": {"users": {"applications": [{"namespaces": [TEAM], "hosts": ["hr.example"]}]}},
}
"""Values of the chart, with issuer.mode=sidecar."""


def of_platform() -> list[Manifest]:
    """An IdentityProvider with static users, and the Secret with them."""
    hashed = _hash(Argon2id(salt=os.urandom(16), length=32, iterations=2, lanes=1, memory_cost=19456))
    users = (
        f"- {{id: {USER}, name: Ada Lovelace, groups: [hr-staff], passwordHash: {hashed!r}}}\n"
        f"- {{id: {MANAGER}, name: Mara Lindqvist, groups: [payroll-managers], passwordHash: {hashed!r}}}\n"
    )
    meta = {"name": "emergency-users", "namespace": NAMESPACE}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "scopewright.dev/static-users",
            "metadata": meta,
            "stringData": {"users.yaml": f"users:\n{users}"},
        },
        manifest("IdentityProvider", NAMESPACE, PROVIDER, {"static": {"usersRef": {"name": meta["name"]}}}),
    ]


def _hash(algorithm: Argon2id) -> str:
    return algorithm.derive_phc_encoded(PASSWORD.encode())


def of_teams() -> list[Manifest]:
    """The application of `staff`, and the grant of `payroll` to its users."""
    reads = access_entry("payroll", "payroll-api", "payroll.read")
    login = {"redirectURIs": [REDIRECT_URI]}
    to_users = {"groups": ["hr-staff"], "through": {"namespace": TEAM, "client": APPLICATION}}
    grant = {"resourceServer": "payroll-api", "scopes": ["payroll.read"], "toUsers": [to_users]}
    return [
        oauth_client(TEAM, APPLICATION, reads, grantTypes=["authorization_code", "refresh_token"], login=login),
        manifest("ScopeGrant", "payroll", "staff-reads-salaries", grant),
    ]


class Visitor:
    """A user in a browser, at an application whose credential is `secret`. A context manager."""

    def __init__(self, issuer: str, client_id: str, secret: str, trust: ssl.SSLContext | bool = True) -> None:
        self.application = RelyingParty(issuer, client_id, REDIRECT_URI, secret)
        self.browser = FormBrowser(issuer, trust=trust)

    def log_in(self, **parameters: str) -> TokenResponse:
        """Start at the application, type the password and consent, where asked. Returns the application's tokens."""
        request = self.application.request(scope=SCOPES, resource=AUDIENCE, **parameters)
        at = self.browser.open(request.url)
        if isinstance(at, Page) and "password-form" in at.forms:
            at = self.browser.submit(at, "password-form", "log-in", username=USER, password=PASSWORD)
        if isinstance(at, Page) and "consent" in at.forms:
            at = self.browser.submit(at, "consent", "allow")
        assert isinstance(at, Away), f"the login ended on {at!r}"
        return self.application.tokens(request, at)

    def refreshed(self, tokens: TokenResponse) -> TokenResponse:
        return self.application.refreshed(tokens, self.application.refresh(tokens.refresh_token))

    @property
    def passwords_asked(self) -> int:
        """How often the user had to type the password."""
        return sum("password-form" in page.forms for page in self.browser.shown)

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.__exit__()
