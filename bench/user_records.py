"""What the servers of `users` know: keys, an API, two applications, a login without passwords, clients for tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from bench.token_cases import Case, object_of, signing_key
from bench.token_clients import SCOPE, SERVER, secret
from bench.token_requests import basic
from scopewright.core.objects import digest
from scopewright.core.providers.password_hash import DEFAULT_PARAMETERS
from scopewright.core.providers.static_users import StaticUser, encode_static_users
from scopewright.core.records.client import ClientRecord, Credential, Login, RequestedAccess
from scopewright.core.records.codec import encode
from scopewright.core.records.identity_provider import IdentityProviderRecord, UpstreamClient
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    KEY_ENTRY,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
    USERS_ENTRY,
    client_record_name,
    identity_provider_record_name,
)
from scopewright.core.records.resource_server import UserGrant
from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.stores import Change

REDIRECT_URI: Final = "https://hr.example/callback"
USERS: Final = 10_000
SCOPES: Final = f"openid profile email groups {SCOPE}"
TOKENS: Final = Case("users", "client tokens", 1000, basic)
"""Client tokens are those of the first case of `tokens`, of fewer clients."""
GROUP: Final = "hr-staff"
WEB: Final = ("hr", "hr-web")
"""The confidential application. Its refresh tokens do not rotate."""
SPA: Final = ("hr", "hr-spa")
"""The public application. Its refresh tokens rotate."""
AWAY: Final = ("hr", "hr-away")
"""The application whose users log in at a provider that does not answer."""
STAFF: Final = IdentityProviderRecord("staff", "uid-staff", "Staff", "static:staff")


def client_id(application: tuple[str, str]) -> str:
    return ".".join(application)


def records(id_token_algorithm: str, provider_url: str) -> Iterator[Change]:
    """The objects of `TOKENS`, with those of users.

    `provider_url` is that of the OpenID provider of `AWAY`.
    """
    now = datetime.now(UTC)
    yield from TOKENS.records(user_grants=(UserGrant((SCOPE,), groups=(GROUP,), namespaces=("hr",)),))
    yield from signing_key("id-tokens", id_token_algorithm, "scopewright-jwks-id-tokens")
    yield object_of("Secret", SESSION_KEY_NAME, {KEY_ENTRY: b"s" * 32}, of_type=SESSION_KEY_TYPE)
    away = IdentityProviderRecord("away", "uid-away", "Away", provider_url, oidc=UpstreamClient(provider_url, "bench"))
    for provider in (STAFF, away):
        users = {} if provider.oidc else {USERS_ENTRY: encode_static_users([_unused_user()])}
        name = identity_provider_record_name(provider.name)
        yield object_of("Secret", name, {ENTRY: encode(provider), **users}, of_type=IDENTITY_PROVIDER_TYPE)
    public = _application(SPA, "staff", now, credentials=(), public=True)
    for record in (_application(WEB, "staff", now), public, _application(AWAY, "away", now)):
        name = client_record_name(record.namespace, record.name)
        yield object_of("Secret", name, {ENTRY: encode(record)}, of_type=CLIENT_TYPE)


class AnyPassword:
    """`PasswordLogins` that takes any password: Argon2id would be most of a login, and the peer has none."""

    async def verify(self, provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        return _user(subject_of(STAFF.subject_domain, username), username, int(datetime.now(UTC).timestamp()))

    def current(self, provider: Provider, subject: str) -> AuthenticatedUser | None:
        return _user(subject, "user", 0)


def _unused_user() -> StaticUser:
    """A list of users is never empty; `AnyPassword` does not read it."""
    unusable = DEFAULT_PARAMETERS.encoded(bytes(DEFAULT_PARAMETERS.salt), bytes(DEFAULT_PARAMETERS.hash))
    return StaticUser.model_validate({"id": "unused", "passwordHash": unusable})


def _user(subject: str, name: str, auth_time: int) -> AuthenticatedUser:
    claims = {"name": name, "preferred_username": name, "email": f"{name}@hr.example", "email_verified": True}
    return AuthenticatedUser(subject, STAFF.name, STAFF.uid, (GROUP,), auth_time, claims)


def _application(application: tuple[str, str], provider: str, now: datetime, **changes: Any) -> ClientRecord:
    namespace, name = application
    credentials = (Credential(digest(secret(client_id(application))), now),)
    return ClientRecord(
        namespace=namespace,
        name=name,
        uid=f"uid-{name}",
        grant_types=("authorization_code", "refresh_token"),
        access=(RequestedAccess("/".join(SERVER), (SCOPE,)),),
        login=Login((REDIRECT_URI,), identity_providers=(provider,), consent="Skip"),
        **{"credentials": credentials, **changes},
    )
