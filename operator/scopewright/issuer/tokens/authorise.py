"""Authorisation of a token request: an Authorisation or an OAuthError (RFC 6749 §3.3, RFC 8707 §2).

The requested scopes are granted in full or refused, never narrowed. The error is the same for an unknown resource, for
one that the client's manifest does not name, and for one where the client has no scopes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scopewright.core.records.client import RequestedAccess
from scopewright.issuer.protocol.errors import OAuthError
from scopewright.issuer.state.entries import Client, GrantedScopes, ResourceServerEntry, ServerAccess
from scopewright.issuer.state.registry import Registry

CLIENT_CREDENTIALS: Final = "client_credentials"
AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105  # a grant type
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type


@dataclass(slots=True)
class Delegation:
    """The subject of an exchanged token, its nested `act` (RFC 8693 §4.1), and the tokens that it came from."""

    subject: str
    act: Mapping[str, Any]
    chain: list[dict[str, Any]]


@dataclass(slots=True)
class TokenUser:
    """The user of a token, and the login that it belongs to."""

    subject: str
    sid: str
    auth_time: int
    """0: not known; the token has no such claim."""
    acr: str = ""
    amr: tuple[str, ...] = ()
    grant_id: str = ""
    """Stands for the code in the `jti` of each token that came from it, after the hash of the client's UID."""


@dataclass(slots=True)
class Authorisation:
    """The content of a token. `jkt` is the thumbprint of the key that it is bound to, if any.

    With a `user`, `granted` belongs to this token alone: what differs by user is never in a shared template.
    """

    client: Client
    server: ResourceServerEntry
    granted: GrantedScopes
    delegation: Delegation | None = None
    jkt: str = ""
    user: TokenUser | None = None


def authorise(
    client: Client,
    grant_type: str,
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    registry: Registry,
    now: float,
) -> Authorisation:
    """The authorisation of an authenticated client; raises OAuthError."""
    require_grant_type(client, grant_type)
    requested, server = _target(client, resources, registry)
    # Tokens have whole seconds: a grant that ends within this second has ended.
    access = registry.access(client, requested, server, int(now) + 1)
    if not access.scope_ends:
        raise invalid_target()
    return Authorisation(client, server, _granted(access, scopes or access.all_scopes))


def _granted(access: ServerAccess, scopes: tuple[str, ...]) -> GrantedScopes:
    granted = access.last_granted
    if granted is None or granted.scopes != scopes:
        if not access.scope_ends.keys() >= set(scopes):
            raise invalid_scope()
        granted = access.last_granted = access.grant(scopes)
    return granted


def require_grant_type(client: Client, grant_type: str) -> None:
    if grant_type not in client.grant_types:
        raise OAuthError("unauthorized_client", "spec.grantTypes of the OAuthClient does not allow this grant type")


def _target(
    client: Client, resources: tuple[str, ...], registry: Registry
) -> tuple[RequestedAccess, ResourceServerEntry]:
    if len(resources) > 1:
        raise single_resource()
    if not resources:
        return _only_target(client, registry)
    server = registry.servers.by_resource(resources[0])
    if server is not None:
        requested = client.requested_from(server)
        if requested is not None:
            return requested, server
    raise invalid_target()


def _only_target(client: Client, registry: Registry) -> tuple[RequestedAccess, ResourceServerEntry]:
    if len(client.requested) != 1:
        raise OAuthError(
            "invalid_target",
            "name the resource; the OAuthClient asks for access to "
            + ("more than one resource server" if client.requested else "no resource server"),
        )
    requested = client.requested[0]
    server = registry.server_of(requested)
    if server is None:
        raise invalid_target()
    return requested, server


def single_resource() -> OAuthError:
    return OAuthError("invalid_target", "a token is for one resource; request one token for each resource")


def invalid_scope() -> OAuthError:
    return OAuthError("invalid_scope", "a requested scope is not granted to this client; see status.access")


def invalid_target() -> OAuthError:
    return OAuthError(
        "invalid_target", "unknown resource, or no scopes are granted to this client there; see status.access"
    )
