"""Builds the consent page from the records."""

from collections.abc import Iterable

from scopewright.core.records.client import RequestedAccess
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users.pages import ApiOnPage, Application, ConsentPage, ScopeOnPage
from scopewright.issuer.users.stored import DelegatedAccess, Session


def consent_page(
    registry: Registry,
    delegated: DelegatedAccess,
    application: Application,
    session: Session,
    *,
    action: str,
    csrf: str,
    covered: bool,
) -> ConsentPage:
    """`covered`: an earlier consent covers all of it."""
    return ConsentPage(
        action=action,
        csrf=csrf,
        application=application,
        user=session.display_name,
        email=str(session.claims.get("email") or ""),
        openid_scopes=tuple(ScopeOnPage(scope, allowed=covered) for scope in delegated.scopes),
        apis=apis_on_page(registry, delegated.access, covered=covered),
    )


def apis_on_page(
    registry: Registry, access: Iterable[RequestedAccess], *, covered: bool = False
) -> tuple[ApiOnPage, ...]:
    """The APIs with the scopes that are asked for, described in the words of the API's owner."""
    apis = []
    for entry in access:
        namespace, _, name = entry.resource_server.partition("/")
        server = registry.server_of(entry)
        descriptions = server.record.descriptions if server else {}
        scopes = tuple(ScopeOnPage(scope, descriptions.get(scope, ""), covered) for scope in entry.scopes)
        apis.append(ApiOnPage(name, namespace, scopes))
    return tuple(apis)
