"""Is a token still in force? All that it relied on when it was issued must be there now, and nothing revoked."""

from dataclasses import replace
from typing import Literal

from scopewright.core.revocations import audience_key, has_ended, namespaces_of
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state.entries import Client, ResourceServerEntry
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from scopewright.issuer.tokens.inspect import InspectedToken, TokenSummary

InvalidReason = Literal[
    "",
    "client_gone",
    "client_disabled",
    "grant_type_withdrawn",
    "server_gone",
    "not_bound",
    "scope_withdrawn",
    "revoked",
    "key_revoked",
]
"""Why a token is not in force any more, for the audit line; empty where it is."""


def invalid_reason(
    inspected: InspectedToken, registry: Registry, revocations: Revocations, now: float
) -> InvalidReason:
    """Of the token, and of each token that it came from."""
    links = (*inspected.chain, inspected.link)
    server = server_of(inspected.link, registry)
    if server is not None and server.record.dpop_required and not inspected.bound:
        return "not_bound"
    for parent, link in zip((None, *links), links, strict=False):
        grant_type = TOKEN_EXCHANGE if parent else CLIENT_CREDENTIALS
        if why := _lapse(link, grant_type, registry, revocations, now) or _lapse_of_exchange(parent, link, registry):
            return why
    first = links[0]
    if first is inspected.link:
        return ""
    # The subject has been granted the scopes at the target, as the client has that exchanged its token.
    at_target = replace(inspected.link, jti=first.jti, client_id=first.client_id)
    return _lapse(at_target, CLIENT_CREDENTIALS, registry, revocations, now)


def client_of(link: TokenSummary, registry: Registry) -> Client | None:
    """The client that the token was issued to, and none that was made again under its name."""
    client = registry.client(link.client_id)
    return client if client is not None and is_of(link, client) else None


def server_of(link: TokenSummary, registry: Registry) -> ResourceServerEntry | None:
    """The resource server that the token is for: it has that audience, not just a name for it."""
    server = registry.servers.by_resource(link.audience)
    return server if server is not None and server.audience == link.audience else None


def is_of(link: TokenSummary, client: Client) -> bool:
    """Whether the token was issued to this very client."""
    return (client.client_id, client.uid_hash) == (link.client_id, link.client)


def serves(client: Client, server: ResourceServerEntry) -> bool:
    """Whether the client is the API itself: it may introspect its tokens and exchange them."""
    return client.client_id in server.record.served_by


def _lapse(
    link: TokenSummary, grant_type: str, registry: Registry, revocations: Revocations, now: float
) -> InvalidReason:
    client, server = client_of(link, registry), server_of(link, registry)
    if client is None:
        return "client_gone"
    if client.disabled:
        return "client_disabled"
    if grant_type not in client.grant_types:
        return "grant_type_withdrawn"
    if server is None:
        return "server_gone"
    if link.kid not in registry.keys.jwks(now).keys:
        return "key_revoked"
    asked = client.asked_at(server)
    if asked is None or not registry.access(client, asked, server, now).granted.keys() >= set(link.scopes):
        return "scope_withdrawn"
    record = revocations.record
    namespaces = namespaces_of(link.client_id, link.audience) if record.namespaces else ()
    ended = has_ended(record, link.client, link.jti, audience_key(link.audience), link.issued, namespaces)
    return "revoked" if ended else ""


def _lapse_of_exchange(parent: TokenSummary | None, link: TokenSummary, registry: Registry) -> InvalidReason:
    """Whoever exchanged a token must still be the API that it was for."""
    if parent is None:
        return ""
    client, server = client_of(link, registry), server_of(parent, registry)
    return "" if client is not None and server is not None and serves(client, server) else "scope_withdrawn"
