"""Whether a token is still valid: everything that it was issued for must still exist, and nothing may be revoked."""

from dataclasses import replace
from typing import Literal

from scopewright.core.revocation_keys import audience_key, namespaces_of
from scopewright.core.revocations import has_ended
from scopewright.issuer.revocations import Revocations
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
"""The reason for the audit line; empty if the token is valid."""


def invalid_reason(
    inspected: InspectedToken, registry: Registry, revocations: Revocations, now: float
) -> InvalidReason:
    """Of the token, and of each token that it was exchanged from."""
    server = server_of(inspected.summary, registry)
    if server is not None and server.record.dpop_required and not inspected.is_bound:
        return "not_bound"
    token_chain = inspected.token_chain
    for parent, token in zip((None, *token_chain), token_chain, strict=False):
        grant_type = TOKEN_EXCHANGE if parent else CLIENT_CREDENTIALS
        reason = _invalid_reason(token, grant_type, registry, revocations, now)
        reason = reason or _exchange_invalid_reason(parent, token, registry)
        if reason:
            return reason
    first = token_chain[0]
    if first is inspected.summary:
        return ""
    # Both the subject and the client that exchanged its token need the scopes at the target.
    at_target = replace(inspected.summary, jti=first.jti, client_id=first.client_id)
    return _invalid_reason(at_target, CLIENT_CREDENTIALS, registry, revocations, now)


def client_of(token: TokenSummary, registry: Registry) -> Client | None:
    """The client that the token was issued to; None if it was deleted, also if a new one has its name."""
    client = registry.clients.get(token.client_id)
    return client if client is not None and was_issued_to(token, client) else None


def server_of(token: TokenSummary, registry: Registry) -> ResourceServerEntry | None:
    """The resource server whose audience the token has. A default audience beside a custom one does not count."""
    server = registry.servers.by_resource(token.audience)
    return server if server is not None and server.audience == token.audience else None


def was_issued_to(token: TokenSummary, client: Client) -> bool:
    """Whether the token was issued to this client, and not to an earlier one of the same name."""
    return (client.client_id, client.uid_hash) == (token.client_id, token.uid_hash)


def is_served_by(server: ResourceServerEntry, client: Client) -> bool:
    """Whether the client is the API itself (`servedBy`), which may introspect and exchange its tokens."""
    return client.client_id in server.record.served_by


def _invalid_reason(
    token: TokenSummary, grant_type: str, registry: Registry, revocations: Revocations, now: float
) -> InvalidReason:
    client, server = client_of(token, registry), server_of(token, registry)
    if client is None:
        return "client_gone"
    if client.disabled:
        return "client_disabled"
    if grant_type not in client.grant_types:
        return "grant_type_withdrawn"
    if server is None:
        return "server_gone"
    if token.kid not in registry.keys.jwks(now).keys:
        return "key_revoked"
    requested = client.requested_from(server)
    if requested is None or not registry.access(client, requested, server, now).scope_ends.keys() >= set(token.scopes):
        return "scope_withdrawn"
    record = revocations.record
    namespaces = namespaces_of(token.client_id, token.audience) if record.namespaces else ()
    ended = has_ended(record, token.uid_hash, token.jti, audience_key(token.audience), token.issued_at, namespaces)
    return "revoked" if ended else ""


def _exchange_invalid_reason(parent: TokenSummary | None, token: TokenSummary, registry: Registry) -> InvalidReason:
    """The client that exchanged a token must still be the API that the token was for."""
    if parent is None:
        return ""
    client, server = client_of(token, registry), server_of(parent, registry)
    return "" if client is not None and server is not None and is_served_by(server, client) else "scope_withdrawn"
