"""Third step: an authenticated client and what it asks become a Grant, or a refusal (RFC 6749 §3.3, RFC 8707 §2).

Scopes are given in full or refused, never narrowed in silence. An unknown resource, one that the client does not ask
for in its manifest and one where nothing is granted look the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scopewright.core.records import RequestedAccess
from scopewright.issuer.protocol.errors import OAuthError
from scopewright.issuer.state.entries import Client, GrantedScopes, ResourceServerEntry, ServerAccess
from scopewright.issuer.state.registry import Registry

CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type


@dataclass(slots=True)
class Delegation:
    """On whose behalf a client acts: the `sub`, the nested `act` (RFC 8693 §4.1), and the tokens that led to it."""

    subject: str
    act: Mapping[str, Any]
    chain: list[dict[str, Any]]


@dataclass(slots=True)
class Grant:
    """All that a token needs: who, where, and what until when; and the thumbprint of the key it is bound to, if any."""

    client: Client
    server: ResourceServerEntry
    given: GrantedScopes
    delegation: Delegation | None = None
    jkt: str = ""


def authorise(
    client: Client,
    grant_type: str,
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    registry: Registry,
    now: float,
) -> Grant:
    """The grant to a client that is authenticated, or OAuthError."""
    require_grant_type(client, grant_type)
    asked, server = _target(client, resources, registry)
    # Tokens count whole seconds: a grant that ends within this one is over.
    access = registry.access(client, asked, server, int(now) + 1)
    if not access.granted:
        raise invalid_target()
    return Grant(client, server, _given(access, scopes or access.everything))


def _given(access: ServerAccess, scopes: tuple[str, ...]) -> GrantedScopes:
    given = access.given
    if given is None or given.scopes != scopes:
        if not access.granted.keys() >= set(scopes):
            raise invalid_scope()
        given = access.given = GrantedScopes(scopes, min(access.granted[s] for s in scopes))
    return given


def require_grant_type(client: Client, grant_type: str) -> None:
    if grant_type not in client.grant_types:
        raise OAuthError("unauthorized_client", "spec.grantTypes of the OAuthClient does not allow this grant type")


def _target(
    client: Client, resources: tuple[str, ...], registry: Registry
) -> tuple[RequestedAccess, ResourceServerEntry]:
    if len(resources) > 1:
        raise only_one()
    if not resources:
        return _only_target(client, registry)
    server = registry.servers.by_resource(resources[0])
    if server is not None:
        asked = client.asked_at(server)
        if asked is not None:
            return asked, server
    raise invalid_target()


def _only_target(client: Client, registry: Registry) -> tuple[RequestedAccess, ResourceServerEntry]:
    if len(client.asked) != 1:
        raise OAuthError(
            "invalid_target",
            "name the resource: this client asks for access to "
            + ("more than one resource server" if client.asked else "no resource server"),
        )
    asked = client.asked[0]
    server = registry.server_of(asked)
    if server is None:
        raise invalid_target()
    return asked, server


def only_one() -> OAuthError:
    return OAuthError("invalid_target", "a token is for one resource: ask for each resource by itself")


def invalid_scope() -> OAuthError:
    return OAuthError("invalid_scope", "a scope is not granted to this client here: see status.access")


def invalid_target() -> OAuthError:
    return OAuthError(
        "invalid_target", "no such resource, or nothing is granted to this client there: see status.access"
    )
