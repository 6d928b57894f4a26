"""Builds what pages show about APIs and scopes from the records."""

from collections.abc import Callable, Collection, Iterable

from scopewright.core.records.client import RequestedAccess
from scopewright.core.users import User
from scopewright.issuer.state.entries import Client, ResourceServerEntry
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users.page_values import ApiOnPage, RoleOnPage, ScopeOnPage
from scopewright.issuer.users.stored import DelegatedAccess, Session

Known = Collection[tuple[str, str]]
"""Scopes that the user has consented to already, as `Consents.known`."""
RolesOf = Callable[[RequestedAccess, ResourceServerEntry], Collection[str]]
"""Returns the names of the roles that the user has with an access."""


def no_roles(access: RequestedAccess, server: ResourceServerEntry) -> Collection[str]:
    return ()


def roles_of_user(registry: Registry, client: Client, session: Session, now: float) -> RolesOf:
    """The roles whose scopes are all among those of the access: a token has no other ones."""
    user = User(session.subject, session.groups)

    def roles_of(access: RequestedAccess, server: ResourceServerEntry) -> Collection[str]:
        held = registry.user_access(client, access, server, user, now).role_ends
        return [role.name for role in server.record.roles if role.name in held and {*role.scopes} <= {*access.scopes}]

    return roles_of


def openid_on_page(delegated: DelegatedAccess, known: Known) -> tuple[ScopeOnPage, ...]:
    return tuple(ScopeOnPage(scope, allowed=("", scope) in known) for scope in delegated.scopes)


def apis_on_page(
    registry: Registry, access: Iterable[RequestedAccess], known: Known = (), roles_of: RolesOf = no_roles
) -> tuple[ApiOnPage, ...]:
    """The APIs with scopes and roles, described in the words of the API's owner."""
    apis = []
    for entry in access:
        namespace, _, name = entry.resource_server.partition("/")
        server = registry.server_of(entry)
        descriptions = server.record.descriptions if server else {}
        scopes = tuple(
            ScopeOnPage(scope, descriptions.get(scope, ""), (entry.resource_server, scope) in known)
            for scope in entry.scopes
        )
        held = roles_of(entry, server) if server else ()
        roles = (RoleOnPage(r.name, r.description) for r in (server.record.roles if server else ()) if r.name in held)
        apis.append(ApiOnPage(name, namespace, scopes, tuple(roles)))
    return tuple(apis)
