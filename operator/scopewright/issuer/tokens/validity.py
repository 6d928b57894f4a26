"""Whether a token is still valid: everything that it was issued for must still exist, and nothing may be revoked."""

from dataclasses import replace
from typing import Literal

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, namespaces_of
from scopewright.core.revocations import has_ended
from scopewright.core.user_revocations import user_token_has_ended
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client, ResourceServerEntry, ServerAccess, UserScopes
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from scopewright.issuer.tokens.inspect import InspectedToken, TokenSummary

InvalidReason = Literal[
    "",
    "client_gone",
    "client_disabled",
    "grant_type_withdrawn",
    "login_withdrawn",
    "server_gone",
    "not_bound",
    "scope_withdrawn",
    "role_withdrawn",
    "revoked",
    "key_revoked",
]
"""The reason for the audit line; empty if the token is valid."""


def invalid_reason(
    inspected: InspectedToken, registry: Registry, revocations: Revocations, now: float
) -> InvalidReason:
    """Of the token, and of each token that it was exchanged from. No session is read for the token of a user."""
    if not inspected.is_bound and _must_be_bound(inspected.summary, registry):
        return "not_bound"
    token_chain = inspected.token_chain
    for parent, token in zip((None, *token_chain), token_chain, strict=False):
        reason = _invalid_reason(token, inspected, registry, revocations, now, is_exchanged=parent is not None)
        reason = reason or _exchange_invalid_reason(parent, token, registry)
        if reason:
            return reason
    first = token_chain[0]
    if first is inspected.summary or inspected.sid:
        return ""
    # Both the subject and the client that exchanged its token need the scopes at the target. A user needs a grant to
    # users there, which reaches the client that exchanged the token.
    at_target = replace(inspected.summary, jti=first.jti, client_id=first.client_id)
    return _invalid_reason(at_target, inspected, registry, revocations, now, is_exchanged=False)


def is_for_userinfo(inspected: InspectedToken) -> bool:
    """Whether it is the token of a user for the userinfo endpoint, and so for no API."""
    return inspected.sid != "" and inspected.summary.audience == inspected.claims["iss"]


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


def _must_be_bound(token: TokenSummary, registry: Registry) -> bool:
    client, server = registry.clients.get(token.client_id), server_of(token, registry)
    return (server is not None and server.record.dpop_required) or (client is not None and client.dpop_required)


def _invalid_reason(
    token: TokenSummary,
    inspected: InspectedToken,
    registry: Registry,
    revocations: Revocations,
    now: float,
    *,
    is_exchanged: bool,
) -> InvalidReason:
    """Of one token of the chain. All are tokens of one user, or none is."""
    client = client_of(token, registry)
    if client is None:
        return "client_gone"
    if client.disabled:
        return "client_disabled"
    grant_type = TOKEN_EXCHANGE if is_exchanged else AUTHORIZATION_CODE if inspected.sid else CLIENT_CREDENTIALS
    if grant_type not in client.grant_types:
        return "grant_type_withdrawn"
    if grant_type == AUTHORIZATION_CODE and client.login is None:
        return "login_withdrawn"
    if token.kid not in registry.keys.jwks(now).keys:
        return "key_revoked"
    if not (token is inspected.summary and is_for_userinfo(inspected)) and (
        reason := _access_invalid_reason(token, client, inspected, registry, now)
    ):
        return reason
    return "revoked" if _has_ended(token, inspected, revocations.record) else ""


def _access_invalid_reason(
    token: TokenSummary, client: Client, inspected: InspectedToken, registry: Registry, now: float
) -> InvalidReason:
    """Whether the client, or the user through it, no longer has the scopes and roles of the token."""
    server = server_of(token, registry)
    if server is None:
        return "server_gone"
    requested = client.requested_from(server)
    if requested is None:
        return "scope_withdrawn"
    access: ServerAccess | UserScopes
    if inspected.sid:
        access = registry.possible_user_access(client, requested, server, inspected.subject, now)
    else:
        access = registry.access(client, requested, server, now)
    if not access.scope_ends.keys() >= set(token.scopes):
        return "scope_withdrawn"
    if token.roles and not set(token.roles).issubset(access.grant(token.scopes).roles):
        return "role_withdrawn"
    return ""


def _has_ended(token: TokenSummary, inspected: InspectedToken, record: RevocationRecord) -> bool:
    audience = audience_key(token.audience)
    namespaces = namespaces_of(token.client_id, token.audience) if record.namespaces else ()
    if has_ended(record, token.uid_hash, token.jti, audience, token.issued_at, namespaces):
        return True
    return inspected.sid != "" and user_token_has_ended(
        record, token.uid_hash, token.jti, audience, token.issued_at, inspected.sid, inspected.subject
    )


def _exchange_invalid_reason(parent: TokenSummary | None, token: TokenSummary, registry: Registry) -> InvalidReason:
    """The client that exchanged a token must still be the API that the token was for."""
    if parent is None:
        return ""
    client, server = client_of(token, registry), server_of(parent, registry)
    return "" if client is not None and server is not None and is_served_by(server, client) else "scope_withdrawn"
