"""Token exchange (RFC 8693): an API that was called gets a token for the next API, still on its caller's behalf.

It is delegation and nothing else: the exchanger is the actor, so an actor token has nothing to say. The new token gives
what both the exchanger and the subject have at the target, and for as long as the subject token would have lived.

A subject token that is bound to a key (RFC 9449) may be exchanged without that key: its caller's proof is for the API
that was called, and nobody but that API, which authenticates here, gets anything for it.
"""

from dataclasses import dataclass, field
from typing import Final

from scopewright.core.records import IssuerRecord
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state.entries import Client, GrantedScopes, ResourceServerEntry, ServerAccess
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import (
    TOKEN_EXCHANGE,
    Delegation,
    Grant,
    invalid_scope,
    invalid_target,
    only_one,
    require_grant_type,
)
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.validity import client_of, invalid_reason, server_of, serves

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"

MAX_EXCHANGES: Final = 4
"""Exchanges that one token may have behind it."""


@dataclass(slots=True)
class Subject:
    """What is to be exchanged."""

    token: str = field(repr=False)


def read_subject(form: Form) -> Subject:
    token, kind = parameter(form, "subject_token"), parameter(form, "subject_token_type")
    if not token or not kind:
        raise invalid_request("send subject_token and subject_token_type", reason="subject_token_missing")
    if kind not in (ACCESS_TOKEN, JWT):
        raise invalid_request(f"subject_token_type must be {ACCESS_TOKEN} or {JWT}", reason="subject_token_type")
    if parameter(form, "requested_token_type") not in ("", ACCESS_TOKEN, JWT):
        raise invalid_request(f"requested_token_type must be {ACCESS_TOKEN} or {JWT}", reason="requested_token_type")
    if "actor_token" in form:
        raise invalid_request("actor_token is not taken: the client that authenticates is the actor", reason="actor")
    if "actor_token_type" in form:
        raise invalid_request("actor_token_type comes only with an actor_token", reason="actor")
    return Subject(token)


class Exchange:
    def __init__(self, registry: Registry, inspector: Inspector, revocations: Revocations) -> None:
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations

    def authorise(
        self, exchanger: Client, subject: Subject, targets: tuple[str, ...], scopes: tuple[str, ...], now: float
    ) -> Grant:
        """The grant to a client that is authenticated, or OAuthError. `targets` are resources and audiences alike."""
        require_grant_type(exchanger, TOKEN_EXCHANGE)
        issuer = self._registry.issuer
        if issuer is None:
            raise unavailable("the issuer is starting", reason="no_issuer_record")
        inspected = self._inspected(subject, exchanger, issuer, now)
        server = self._target(targets)
        origin = (*inspected.chain, inspected.link)[0]
        caller = client_of(origin, self._registry)
        mine, theirs = self._access(exchanger, server, now), self._access(caller, server, now)
        if mine is None or theirs is None:
            raise invalid_target()
        both = {s: min(end, theirs.granted[s]) for s, end in mine.granted.items() if s in theirs.granted}
        for link in (*inspected.chain, inspected.link):
            if link.audience == server.audience:
                both = {s: end for s, end in both.items() if s in link.scopes}
        if not both:
            raise invalid_target()
        if not both.keys() >= set(scopes):
            raise invalid_scope()
        given = scopes or tuple(both)
        not_after = min(inspected.expires, *(both[s] for s in given))
        return Grant(exchanger, server, GrantedScopes(given, not_after), _delegation(inspected, exchanger))

    def _inspected(self, subject: Subject, exchanger: Client, issuer: IssuerRecord, now: float) -> InspectedToken:
        """One answer for every token that is not a good one, or not for this client."""
        inspected = self._inspector.inspect(subject.token, issuer, now)
        if inspected is None:
            raise _bad_subject("unknown_or_expired")
        server = server_of(inspected.link, self._registry)
        if server is None or not serves(exchanger, server):
            raise _bad_subject("not_theirs")
        if why := invalid_reason(inspected, self._registry, self._revocations, now):
            raise _bad_subject(why)
        if len(inspected.chain) >= MAX_EXCHANGES:
            raise invalid_request(f"a token is exchanged {MAX_EXCHANGES} times at the most", reason="chain_too_long")
        return inspected

    def _target(self, targets: tuple[str, ...]) -> ResourceServerEntry:
        servers = [self._registry.servers.by_resource(target) for target in targets]
        if not servers:
            raise OAuthError("invalid_target", "name the resource that the token is to be for")
        if any(server is not servers[0] for server in servers):
            raise only_one()
        if servers[0] is None:
            raise invalid_target()
        return servers[0]

    def _access(self, client: Client | None, server: ResourceServerEntry, now: float) -> ServerAccess | None:
        asked = client.asked_at(server) if client is not None else None
        # As in `authorise`: a grant that ends within this second is over.
        return self._registry.access(client, asked, server, int(now) + 1) if client and asked else None


def _delegation(inspected: InspectedToken, exchanger: Client) -> Delegation:
    act = {"sub": exchanger.client_id}
    before = inspected.claims.get("act")
    return Delegation(
        subject=inspected.claims["sub"],
        act=act | ({"act": before} if before is not None else {}),
        chain=[link.claim() for link in (*inspected.chain, inspected.link)],
    )


def _bad_subject(reason: str) -> OAuthError:
    return invalid_request(
        "the subject_token is no active token of this issuer for an API that this client serves", reason=reason
    )
