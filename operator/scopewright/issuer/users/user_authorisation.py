"""What one token of a user may contain: decided anew for each token, from the records as they are now.

A token is for one API, or for the userinfo endpoint. Scopes of users are narrowed: a token has those that the user
consented to, the client's manifest still asks for, and a `toUsers` entry still grants.
"""

from dataclasses import dataclass
from typing import Final

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.revocation_keys import uid_hash
from scopewright.core.users import OPENID_SCOPES, User
from scopewright.issuer.protocol.errors import OAuthError
from scopewright.issuer.state.entries import NEVER, Client, GrantedScopes, ResourceServerEntry
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import Authorisation, TokenUser, single_resource
from scopewright.issuer.users.stored import DelegatedAccess, Session

USERINFO_LIFETIME_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class UserAuthorisation:
    """The content of an access token, and the scopes of OpenID Connect that go with it."""

    authorisation: Authorisation
    openid_scopes: tuple[str, ...]

    @property
    def scope(self) -> str:
        """For the response: with the scopes of OpenID Connect, which an API's token does not have."""
        return " ".join(dict.fromkeys((*self.openid_scopes, *self.authorisation.granted.scopes)))


def authorise_user(
    client: Client,
    delegated: DelegatedAccess,
    session: Session,
    grant_id: str,
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    registry: Registry,
    now: float,
) -> UserAuthorisation:
    """Raises OAuthError. Without `scopes`: all that were consented to; without `resources`: the only API, or userinfo.

    `scopes` may narrow what was consented to, and never widen it (RFC 6749 §6). Applications repeat the scopes of their
    authorization request: those that the user did not get are ignored, those outside the manifest are refused.
    """
    issuer = registry.require_issuer()
    narrowed = _narrowed(client, delegated, scopes)
    target = _target(delegated, narrowed, resources, issuer, registry)
    if target is None:
        server, granted = _userinfo_server(client, issuer), GrantedScopes(narrowed.scopes, NEVER)
    else:
        consented, server = target
        asks = client.login is None or client.login.consent != "Skip"
        if asks and not delegated.is_at(server.key, uid_hash(server.record.uid)):
            raise _no_access()
        # As in `authorise`: a grant that ends within this second has ended.
        user = User(session.subject, session.groups)
        requested = _still_requested(client, consented, server)
        access = registry.user_access(client, requested, server, user, int(now) + 1)
        if not access.scope_ends:
            raise _no_access()
        granted = access.grant(tuple(access.scope_ends))
    granted.not_after = min(granted.not_after, session.end_time)
    user_of_token = TokenUser(session.subject, session.sid, session.auth_time, session.acr, session.amr, grant_id)
    return UserAuthorisation(Authorisation(client, server, granted, user=user_of_token), narrowed.scopes)


@dataclass(frozen=True, slots=True)
class _Narrowed:
    scopes: tuple[str, ...]
    access: tuple[RequestedAccess, ...]


def _narrowed(client: Client, delegated: DelegatedAccess, scopes: tuple[str, ...]) -> _Narrowed:
    if not scopes:
        return _Narrowed(delegated.scopes, delegated.access)
    of_apis = {scope for access in (*client.requested, *delegated.access) for scope in access.scopes}
    if not of_apis.union(OPENID_SCOPES).issuperset(scopes):
        raise OAuthError("invalid_scope", "a requested scope is not in the access of this client's manifest")
    narrowed = (RequestedAccess(a.resource_server, tuple(s for s in a.scopes if s in scopes)) for a in delegated.access)
    return _Narrowed(tuple(s for s in delegated.scopes if s in scopes), tuple(a for a in narrowed if a.scopes))


def _target(
    delegated: DelegatedAccess,
    narrowed: _Narrowed,
    resources: tuple[str, ...],
    issuer: IssuerRecord,
    registry: Registry,
) -> tuple[RequestedAccess, ResourceServerEntry] | None:
    """The API, and the consented scopes there; None for userinfo."""
    if len(resources) > 1:
        raise single_resource()
    if resources == (issuer.issuer,) or not (resources or narrowed.access):
        if "openid" not in narrowed.scopes:
            raise OAuthError("invalid_target", "a token for userinfo needs the scope openid")
        return None
    if not resources:
        if len(narrowed.access) > 1:
            raise OAuthError("invalid_target", "name the resource; the user consented to access to more than one API")
        server = registry.server_of(narrowed.access[0])
        if server is None:
            raise _no_access()
        return narrowed.access[0], server
    server = registry.servers.by_resource(resources[0])
    if server is None or all(access.resource_server != server.key for access in delegated.access):
        raise _no_access()
    for access in narrowed.access:
        if access.resource_server == server.key:
            return access, server
    raise OAuthError("invalid_scope", "none of the requested scopes is one of the resource")


def _still_requested(client: Client, consented: RequestedAccess, server: ResourceServerEntry) -> RequestedAccess:
    """The consented scopes that the client's manifest asks for now."""
    manifest = client.requested_from(server)
    scopes = manifest.scopes if manifest else ()
    return RequestedAccess(consented.resource_server, tuple(s for s in consented.scopes if s in scopes))


def _userinfo_server(client: Client, issuer: IssuerRecord) -> ResourceServerEntry:
    """The issuer as the audience of a token for its userinfo endpoint."""
    record = ResourceServerRecord(
        namespace="",
        name="",
        uid="userinfo",
        audience=issuer.issuer,
        scopes=OPENID_SCOPES,
        lifetime=USERINFO_LIFETIME_SECONDS,
        signing_key=client.login.id_token_signing_key if client.login else "",
    )
    return ResourceServerEntry("", record, None, served=True)


def _no_access() -> OAuthError:
    return OAuthError(
        "invalid_target",
        "unknown resource, or the user has no scopes there through this client; the API's owner grants them by toUsers",
    )
