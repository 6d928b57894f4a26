"""Token exchange (RFC 8693): an API exchanges its caller's token for one for the next API.

Only delegation is supported: the client that authenticates is the actor, so there are no actor tokens. The new token
has the scopes that both the client and the subject have at the target, and never outlives the subject token.

The token of a user is exchanged for another one of the user, of the same login, with the scopes that the user has at
the target through this client. The client needs no grant of its own there. The user's groups come from the session,
which is read once; that is the only I/O, and a client's token needs none.

A subject token that is bound to a key (RFC 9449) is exchanged without a proof of that key: the caller's proof is for
the API that it called, and only that API, which authenticates here, can exchange the token.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from scopewright.core.records.client import Login
from scopewright.core.users import User
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client, GrantedScopes, ResourceServerEntry, ServerAccess
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import (
    TOKEN_EXCHANGE,
    Authorisation,
    Delegation,
    TokenUser,
    invalid_scope,
    invalid_target,
    require_grant_type,
    single_resource,
)
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector, TokenSummary
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


class SubjectSession(Protocol):
    """The session of a user, as far as an exchange needs it."""

    @property
    def subject(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def provider_uid(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...

    @property
    def end_time(self) -> int: ...


class SubjectSessions(Protocol):
    """Sessions of users by `sid`; None if it has ended. Raises `Unavailable` while the store is away."""

    async def of_sid(self, sid: str) -> SubjectSession | None: ...


LoginRule = Callable[[Login | None, SubjectSession], str]
"""Returns why the user may not use a client with this login; empty if the user may."""


@dataclass(frozen=True, slots=True)
class SubjectUsers:
    """What exchanges know of users."""

    sessions: SubjectSessions
    login_refusal: LoginRule


class Exchange:
    def __init__(
        self,
        registry: Registry,
        inspector: Inspector,
        revocations: Revocations,
        users: SubjectUsers | None = None,
    ) -> None:
        """`users` is None if no user can log in."""
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations
        self._users = users

    def is_of_user(self, subject_token: str, now: float) -> bool:
        """Whether `authorise` needs the session of the token."""
        inspected = self._inspector.inspect(subject_token, self._registry.require_issuer(), now)
        return inspected is not None and inspected.sid != ""

    async def read_session(self, exchanger: Client, subject_token: str, now: float) -> SubjectSession:
        """The session of a valid token of a user; raises OAuthError, or `Unavailable` if the store is away."""
        inspected = self._inspected(subject_token, exchanger, now)
        if self._users is None:
            raise unavailable("this issuer has no sessions of users", reason="no_session_store")
        session = await self._users.sessions.of_sid(inspected.sid)
        if session is None:
            raise _bad_subject("session_ended")
        return session

    def authorise(
        self,
        exchanger: Client,
        subject_token: str,
        targets: tuple[str, ...],
        scopes: tuple[str, ...],
        now: float,
        session: SubjectSession | None = None,
    ) -> Authorisation:
        """The authorisation of an authenticated client; raises OAuthError. `targets` are resources and audiences.

        `session` is that of the token of a user, which must have been read for this request.
        """
        inspected = self._inspected(subject_token, exchanger, now)
        server = self._target(targets)
        if inspected.sid:
            return self._for_user(exchanger, inspected, server, scopes, now, session)
        caller = client_of(inspected.token_chain[0], self._registry)
        own_access, caller_access = self._access(exchanger, server, now), self._access(caller, server, now)
        if own_access is None or caller_access is None:
            raise invalid_target()
        own_ends, caller_ends = own_access.scope_ends, caller_access.scope_ends
        ends = {scope: min(end, caller_ends[scope]) for scope, end in own_ends.items() if scope in caller_ends}
        ends = _within(ends, *(token.scopes for token in _tokens_for(server, inspected)))
        if not ends:
            raise invalid_target()
        if not ends.keys() >= set(scopes):
            raise invalid_scope()
        granted = scopes or tuple(ends)
        not_after = min(inspected.expires_at, *(ends[scope] for scope in granted))
        return Authorisation(exchanger, server, GrantedScopes(granted, not_after), _delegation(inspected, exchanger))

    def _for_user(
        self,
        exchanger: Client,
        inspected: InspectedToken,
        server: ResourceServerEntry,
        scopes: tuple[str, ...],
        now: float,
        session: SubjectSession | None,
    ) -> Authorisation:
        """The scopes of the user are narrowed to what they have, as everywhere, and refused if none is left."""
        first = client_of(inspected.token_chain[0], self._registry)
        if session is None or self._users is None or first is None or session.subject != inspected.subject:
            raise _bad_subject("session_ended")
        if self._users.login_refusal(first.login, session):
            raise _bad_subject("login_policy")
        requested = exchanger.requested_from(server)
        if requested is None:
            raise invalid_target()
        if not set(requested.scopes).issuperset(scopes):
            raise invalid_scope()
        user = User(session.subject, session.groups)
        # As in `authorise`: a grant that ends within this second has ended.
        access = self._registry.user_access(exchanger, requested, server, user, int(now) + 1)
        earlier = _tokens_for(server, inspected)
        access.scope_ends = _within(access.scope_ends, *(token.scopes for token in earlier))
        access.role_ends = _within(access.role_ends, *(token.roles for token in earlier))
        left = tuple(scope for scope in scopes or requested.scopes if scope in access.scope_ends)
        if not left:
            raise invalid_target()
        granted = access.grant(left)
        granted.not_after = min(granted.not_after, inspected.expires_at, session.end_time)
        return Authorisation(exchanger, server, granted, _delegation(inspected, exchanger), user=_user_of(inspected))

    def _inspected(self, subject_token: str, exchanger: Client, now: float) -> InspectedToken:
        """The error is the same for every token that is not valid, or not for an API of this client."""
        require_grant_type(exchanger, TOKEN_EXCHANGE)
        inspected = self._inspector.inspect(subject_token, self._registry.require_issuer(), now)
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


def _tokens_for(server: ResourceServerEntry, inspected: InspectedToken) -> list[TokenSummary]:
    """The tokens of the chain for this API: the new token must not have more than any of them."""
    return [token for token in inspected.token_chain if token.audience == server.audience]


def _within(ends: dict[str, float], *limits: Collection[str]) -> dict[str, float]:
    """The scopes or roles that are in each of `limits`."""
    return {name: end for name, end in ends.items() if all(name in limit for limit in limits)}


def _delegation(inspected: InspectedToken, exchanger: Client) -> Delegation:
    """`act` names each client that acts for the subject. For a user, the one that they logged in to is the first."""
    before = inspected.claims.get("act")
    if before is None and inspected.sid:
        before = {"sub": inspected.summary.client_id}
    return Delegation(
        subject=inspected.subject,
        act={"sub": exchanger.client_id} | ({"act": before} if before is not None else {}),
        chain=[token.as_claim() for token in inspected.token_chain],
    )


def _user_of(inspected: InspectedToken) -> TokenUser:
    """The user and the login of the subject token."""
    claims = inspected.claims
    return TokenUser(
        inspected.subject,
        inspected.sid,
        int(claims.get("auth_time", 0)),
        str(claims.get("acr", "")),
        tuple(claims.get("amr", ())),
    )


def _bad_subject(reason: str) -> OAuthError:
    return invalid_request(
        "subject_token must be an active token of this issuer for an API that this client serves", reason=reason
    )
