"""The token endpoint (RFC 6749 §3.2, §4.4, RFC 8693): authorise → sign, without I/O."""

from collections.abc import Awaitable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from scopewright.issuer.authentication.dpop import DpopProofs, proof_required
from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.endpoints.user_grant_answer import ISSUED
from scopewright.issuer.endpoints.user_grant_request import USER_GRANT_TYPES, UserGrantRequest, read_user_grant
from scopewright.issuer.endpoints.user_tokens import UserGrants
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.request import ClientRequest, Form, parameter
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.repeated import RepeatedToken
from scopewright.issuer.tokens import repeat
from scopewright.issuer.tokens.authorise import CLIENT_CREDENTIALS, TOKEN_EXCHANGE, Authorisation, authorise
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, Exchange, SubjectSession, read_subject_token
from scopewright.issuer.tokens.sign import IssuedToken, new_jti, sign_claims
from scopewright.issuer.tokens.signer import Signer

GRANT_TYPES: Final = (CLIENT_CREDENTIALS, TOKEN_EXCHANGE)
_ISSUED: Final = b',"issued_token_type":"%s"' % ACCESS_TOKEN.encode()


@dataclass(slots=True)
class TokenRequest:
    grant_type: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    subject_token: str | None = field(default=None, repr=False)
    proofs: tuple[bytes, ...] = field(default=(), repr=False)
    user_grant: UserGrantRequest | None = None
    waits: bool = False
    """Whether it may need I/O: it has a proof, is a grant of a user, or an exchange, which may be of a user's token."""

    @property
    def key(self) -> Hashable:
        """None also for an exchange, which has a token."""
        return None if self.waits else (self.grant_type, self.scopes, self.resources)

    def audit_fields(self) -> Mapping[str, Any]:
        fields = {"resource": self.resources, "scope": " ".join(self.scopes)}
        return fields | {"grant_type": self.grant_type} if self.user_grant else fields


class TokenEndpoint:
    name: str = "token"

    def __init__(
        self,
        registry: Registry,
        exchange: Exchange,
        dpop: DpopProofs,
        signer: Signer,
        user_grants: UserGrants | None = None,
    ) -> None:
        """`user_grants` is None if no user can log in."""
        self._registry = registry
        self._exchange = exchange
        self._dpop = dpop
        self._sign = signer.sign
        self._random = signer.random
        self._user_grants = user_grants
        self._grant_types = (*GRANT_TYPES, *(USER_GRANT_TYPES if user_grants else ()))

    def admits_public(self, form: Form) -> bool:
        """Only for the grants of users: a client without a credential gets no token for itself."""
        return self._user_grants is not None and parameter(form, "grant_type") in USER_GRANT_TYPES

    def read(self, request: ClientRequest) -> TokenRequest:
        form = request.form
        grant_type = self._grant_type(form)
        is_exchange = grant_type == TOKEN_EXCHANGE
        resources = [*form.get("resource", ()), *(form.get("audience", ()) if is_exchange else ())]
        parameters = TokenRequest(
            grant_type=grant_type,
            scopes=_scopes(form),
            resources=tuple(dict.fromkeys(resources)),
            subject_token=read_subject_token(form) if is_exchange else None,
            proofs=request.proofs,
            waits=is_exchange or bool(request.proofs),
        )
        if grant_type in USER_GRANT_TYPES:
            parameters.user_grant = read_user_grant(
                form, grant_type, parameters.resources, parameters.scopes, request.proofs
            )
            parameters.waits = True
        return parameters

    def _grant_type(self, form: Form) -> str:
        grant_type = parameter(form, "grant_type")
        if not grant_type:
            raise invalid_request("grant_type is missing", reason="grant_type_missing")
        if grant_type not in self._grant_types:
            raise OAuthError("unsupported_grant_type", f"grant_type must be one of: {', '.join(self._grant_types)}")
        return grant_type

    def serve(self, authenticated: Authenticated, parameters: TokenRequest, now: float) -> Outcome | Awaitable[Outcome]:
        if parameters.waits:
            if parameters.user_grant is not None and self._user_grants is not None:
                return self._user_grants.serve(authenticated, parameters.user_grant, now)
            token = parameters.subject_token
            if token is not None and self._exchange.is_of_user(token, now):
                return self._serve_for_user(authenticated, parameters, token, now)
            if parameters.proofs:
                return self._serve_bound(authenticated, parameters, now)
            return self._issue_unbound(self._authorise(authenticated, parameters, now), now)
        repeated = repeat.find(authenticated.client, parameters, self._registry, now)
        if repeated is not None:
            return self._issue_again(authenticated.client, repeated, now)
        authorisation = self._authorise(authenticated, parameters, now)
        outcome = self._issue_unbound(authorisation, now)
        resource = parameters.resources[0] if parameters.resources else ""
        repeat.remember(
            authorisation, parameters, resource, _scope_member(authorisation.granted.scope), self._registry, now
        )
        return outcome

    def _issue_again(self, client: Client, repeated: RepeatedToken, now: float) -> Outcome:
        """As `_issue`, with what the tokens of equal requests have in common."""
        issued_at, jti = int(now), new_jti(client.uid_hash, self._random)
        expires_at = int(min(issued_at + repeated.lifetime, repeated.last_expiry))
        token, expires_in = sign_claims(repeated.template, jti, issued_at, expires_at), expires_at - issued_at
        audited = repeat.audited(client.client_id, repeated.audited, jti, expires_in)
        return Outcome(Answer(200, NO_STORE, _body(token, b"Bearer", expires_in, repeated.answered)), ISSUED, audited)

    def _issue_unbound(self, authorisation: Authorisation, now: float) -> Outcome:
        required = authorisation.server.record.dpop_required or authorisation.client.dpop_required
        if required or self._registry.is_fapi2:
            # FAPI 2.0 §5.3.2.1: all tokens are bound, also before the operator has updated the record of the server.
            raise proof_required()
        return self._issue(authorisation, now)

    async def _serve_for_user(
        self, authenticated: Authenticated, parameters: TokenRequest, token: str, now: float
    ) -> Outcome:
        """An exchange of the token of a user: with one read of the user's session."""
        session = await self._exchange.read_session(authenticated.client, token, now)
        if parameters.proofs:
            return await self._serve_bound(authenticated, parameters, now, session)
        self._require_unchanged(authenticated)
        return self._issue_unbound(self._authorise(authenticated, parameters, now, session), now)

    async def _serve_bound(
        self,
        authenticated: Authenticated,
        parameters: TokenRequest,
        now: float,
        session: SubjectSession | None = None,
    ) -> Outcome:
        with self._dpop.nonce_for(parameters.proofs, now) as nonce:
            self._authorise(authenticated, parameters, now, session)
            jkt = await self._dpop.verify(parameters.proofs, authenticated.client.client_id, now)
            self._require_unchanged(authenticated)
            authorisation = self._authorise(authenticated, parameters, now, session)
            authorisation.jkt = jkt
            outcome = self._issue(authorisation, now)
        outcome.answer.headers += nonce
        return outcome

    def _issue(self, authorisation: Authorisation, now: float) -> Outcome:
        token = self._sign(authorisation, now)
        more = _scope_member(authorisation.granted.scope) + (_ISSUED if authorisation.delegation else b"")
        body = _body(token.value, b"DPoP" if authorisation.jkt else b"Bearer", token.expires_in, more)
        return Outcome(Answer(200, NO_STORE, body), ISSUED, _audit_fields(authorisation, token))

    def _require_unchanged(self, authenticated: Authenticated) -> None:
        """The client as it was authenticated, after I/O."""
        if self._registry.clients.get(authenticated.client.client_id) is not authenticated.client:
            raise unavailable("the client has changed; try again", reason="client_changed")

    def _authorise(
        self,
        authenticated: Authenticated,
        parameters: TokenRequest,
        now: float,
        session: SubjectSession | None = None,
    ) -> Authorisation:
        client, resources, scopes = authenticated.client, parameters.resources, parameters.scopes
        if parameters.subject_token is not None:
            return self._exchange.authorise(client, parameters.subject_token, resources, scopes, now, session)
        return authorise(client, parameters.grant_type, resources, scopes, self._registry, now)


def _body(token: bytes, token_type: bytes, expires_in: int, more: bytes) -> bytes:
    return b'{"access_token":"%b","token_type":"%b","expires_in":%d,%b}' % (token, token_type, expires_in, more)


@lru_cache(maxsize=1024)
def _scope_member(scope: str) -> bytes:
    return b'"scope":' + orjson.dumps(scope)


def _audit_fields(authorisation: Authorisation, token: IssuedToken) -> Mapping[str, Any]:
    entry: dict[str, Any] = {
        "client": authorisation.client.client_id,
        "audience": authorisation.server.audience,
        "scope": authorisation.granted.scope,
        "kid": token.kid,
        "jti": token.jti,
        "expires_in": token.expires_in,
    }
    if authorisation.jkt:
        entry["jkt"] = authorisation.jkt
    if authorisation.delegation:
        entry["subject"] = authorisation.delegation.subject
        entry["exchanged_jti"] = authorisation.delegation.chain[-1]["jti"]
    if authorisation.user:
        entry["sid"] = authorisation.user.sid
    return entry


def _scopes(form: Form) -> tuple[str, ...]:
    """In the order of the request. Malformed scopes are not granted, as unknown ones are not."""
    return tuple(dict.fromkeys(s for s in parameter(form, "scope").split(" ") if s))
