"""The access that an authorization request asks for: scopes and resources (RFC 6749 §3.3, RFC 8707), limited to those
of the client's manifest.
"""

import re
from typing import Final, Literal

from scopewright.core.records.client import RequestedAccess
from scopewright.core.users import OFFLINE_ACCESS, OPENID_SCOPES
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import REFRESH_TOKEN

_NAME: Final = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


class RefusedAccess(Exception):
    """The client's manifest does not have it."""

    def __init__(self, error: Literal["invalid_scope", "invalid_target"], description: str) -> None:
        super().__init__(error)
        self.error: Final = error
        self.description: Final = description


def requested_access(
    form: Form, client: Client, registry: Registry
) -> tuple[tuple[str, ...], tuple[RequestedAccess, ...]]:
    """Return the scopes of OpenID Connect, and those of APIs: without any of a `resource`, all of the manifest there.

    Raises RefusedAccess.
    """
    requested = tuple(dict.fromkeys(parameter(form, "scope").split()))
    of_openid = tuple(s for s in requested if s in OPENID_SCOPES)
    of_apis = frozenset(requested).difference(of_openid)
    if REFRESH_TOKEN not in client.grant_types:
        of_openid = tuple(s for s in of_openid if s != OFFLINE_ACCESS)
    allowed = _at_resources(form, client, registry)
    everything = not of_apis and ("resource" in form or not requested)
    access = allowed if everything else _limited(allowed, of_apis)
    if unknown := of_apis - {scope for entry in access for scope in entry.scopes}:
        named = _named("scope", min(unknown))
        raise RefusedAccess(
            "invalid_scope", f"{named} is not in spec.access of the OAuthClient, or not at these resources"
        )
    if not of_openid and not access:
        description = "the request has no scope, and neither has spec.access of the OAuthClient"
        raise RefusedAccess("invalid_scope", description)
    return of_openid, access


def _at_resources(form: Form, client: Client, registry: Registry) -> tuple[RequestedAccess, ...]:
    """The access of the manifest at the APIs that `resource` names. The issuer itself is a resource: its userinfo."""
    if "resource" not in form:
        return client.requested
    issuer = registry.require_issuer().issuer
    access: dict[str, RequestedAccess] = {}
    for resource in form["resource"]:
        server = registry.servers.by_resource(resource)
        requested = client.requested_from(server) if server else None
        if requested is not None:
            access[requested.resource_server] = requested
        elif resource != issuer:
            named = _named("resource", resource)
            raise RefusedAccess("invalid_target", f"{named} is unknown, or not in spec.access of the OAuthClient")
    return tuple(access.values())


def _named(kind: str, value: str) -> str:
    """Name a value of the request in a description that the client may show: without characters that mean something in
    HTML or in logs.
    """
    return f"{kind} {value}" if _NAME.fullmatch(value) else f"a {kind}"


def _limited(access: tuple[RequestedAccess, ...], scopes: frozenset[str]) -> tuple[RequestedAccess, ...]:
    limited = (RequestedAccess(a.resource_server, tuple(s for s in a.scopes if s in scopes)) for a in access)
    return tuple(a for a in limited if a.scopes)
