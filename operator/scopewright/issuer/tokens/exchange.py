"""Token exchange (RFC 8693): an API exchanges its caller's token for one for the next API.

Only delegation is supported: the client that authenticates is the actor, so there are no actor tokens. The new token
has the scopes that both the client and the subject have at the target, and never outlives the subject token.

A subject token that is bound to a key (RFC 9449) is exchanged without a proof of that key: the caller's proof is for
the API that it called, and only that API, which authenticates here, can exchange the token.
"""

from typing import Final

from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.errors import OAuthError, invalid_request
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client, GrantedScopes, ResourceServerEntry, ServerAccess
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import (
    TOKEN_EXCHANGE,
    Authorisation,
    Delegation,
    invalid_scope,
    invalid_target,
    require_grant_type,
    single_resource,
)
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.validity import client_of, invalid_reason, is_served_by, server_of

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"

MAX_EXCHANGES: Final = 4
"""Exchanges in the history of one token."""


def read_subject_token(form: Form) -> str:
    """The token to exchange; raises OAuthError."""
    token, token_type = parameter(form, "subject_token"), parameter(form, "subject_token_type")
    if not token or not token_type:
        raise invalid_request("send subject_token and subject_token_type", reason="subject_token_missing")
    if token_type not in (ACCESS_TOKEN, JWT):
        raise invalid_request(f"subject_token_type must be {ACCESS_TOKEN} or {JWT}", reason="subject_token_type")
    if parameter(form, "requested_token_type") not in ("", ACCESS_TOKEN, JWT):
        raise invalid_request(f"requested_token_type must be {ACCESS_TOKEN} or {JWT}", reason="requested_token_type")
    if "actor_token" in form:
        raise invalid_request("actor_token is not supported; the authenticated client is the actor", reason="actor")
    if "actor_token_type" in form:
        raise invalid_request("actor_token_type is not supported without an actor_token", reason="actor")
    return token


class Exchange:
    def __init__(self, registry: Registry, inspector: Inspector, revocations: Revocations) -> None:
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations

    def authorise(
        self, exchanger: Client, subject_token: str, targets: tuple[str, ...], scopes: tuple[str, ...], now: float
    ) -> Authorisation:
        """The authorisation of an authenticated client; raises OAuthError. `targets` are resources and audiences."""
        require_grant_type(exchanger, TOKEN_EXCHANGE)
        issuer = self._registry.require_issuer()
        inspected = self._inspected(subject_token, exchanger, issuer, now)
        server = self._target(targets)
        caller = client_of(inspected.token_chain[0], self._registry)
        own_access, caller_access = self._access(exchanger, server, now), self._access(caller, server, now)
        if own_access is None or caller_access is None:
            raise invalid_target()
        own_ends, caller_ends = own_access.scope_ends, caller_access.scope_ends
        ends = {scope: min(end, caller_ends[scope]) for scope, end in own_ends.items() if scope in caller_ends}
        for token in inspected.token_chain:
            if token.audience == server.audience:
                ends = {scope: end for scope, end in ends.items() if scope in token.scopes}
        if not ends:
            raise invalid_target()
        if not ends.keys() >= set(scopes):
            raise invalid_scope()
        granted = scopes or tuple(ends)
        not_after = min(inspected.expires_at, *(ends[scope] for scope in granted))
        return Authorisation(exchanger, server, GrantedScopes(granted, not_after), _delegation(inspected, exchanger))

    def _inspected(self, subject_token: str, exchanger: Client, issuer: IssuerRecord, now: float) -> InspectedToken:
        """The error is the same for every token that is not valid, or not for an API of this client."""
        inspected = self._inspector.inspect(subject_token, issuer, now)
        if inspected is None:
            raise _bad_subject("unknown_or_expired")
        server = server_of(inspected.summary, self._registry)
        if server is None or not is_served_by(server, exchanger):
            raise _bad_subject("not_theirs")
        if reason := invalid_reason(inspected, self._registry, self._revocations, now):
            raise _bad_subject(reason)
        if len(inspected.token_chain) > MAX_EXCHANGES:
            raise invalid_request(f"a token may be exchanged at most {MAX_EXCHANGES} times", reason="chain_too_long")
        return inspected

    def _target(self, targets: tuple[str, ...]) -> ResourceServerEntry:
        servers = [self._registry.servers.by_resource(target) for target in targets]
        if not servers:
            raise OAuthError("invalid_target", "name the resource that the token is for")
        if any(server is not servers[0] for server in servers):
            raise single_resource()
        if servers[0] is None:
            raise invalid_target()
        return servers[0]

    def _access(self, client: Client | None, server: ResourceServerEntry, now: float) -> ServerAccess | None:
        requested = client.requested_from(server) if client is not None else None
        # As in `authorise`: a grant that ends within this second has ended.
        return self._registry.access(client, requested, server, int(now) + 1) if client and requested else None


def _delegation(inspected: InspectedToken, exchanger: Client) -> Delegation:
    act = {"sub": exchanger.client_id}
    before = inspected.claims.get("act")
    return Delegation(
        subject=inspected.claims["sub"],
        act=act | ({"act": before} if before is not None else {}),
        chain=[token.as_claim() for token in inspected.token_chain],
    )


def _bad_subject(reason: str) -> OAuthError:
    return invalid_request(
        "subject_token must be an active token of this issuer for an API that this client serves", reason=reason
    )
