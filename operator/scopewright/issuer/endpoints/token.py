"""The token endpoint (RFC 6749 §3.2, §4.4, RFC 8693): authorise → sign, without I/O."""

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright.core.profile import allows
from scopewright.issuer.authentication.authenticator import Authenticated
from scopewright.issuer.authentication.dpop import DpopProofs, proof_required
from scopewright.issuer.endpoints.base import Outcome
from scopewright.issuer.protocol.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.protocol.request import ClientRequest, Form, parameter
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import CLIENT_CREDENTIALS, TOKEN_EXCHANGE, Authorisation, authorise
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, Exchange, read_subject_token
from scopewright.issuer.tokens.sign import IssuedToken, Randomness, sign, verifier_lag

log: Final = logging.getLogger(__name__)

GRANT_TYPES: Final = (CLIENT_CREDENTIALS, TOKEN_EXCHANGE)
ISSUED: Final = "issued"
_ISSUED: Final = b',"issued_token_type":"%s"' % ACCESS_TOKEN.encode()


@dataclass(slots=True)
class TokenRequest:
    grant_type: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    subject_token: str | None = field(default=None, repr=False)
    proofs: tuple[bytes, ...] = field(default=(), repr=False)

    def audit_fields(self) -> Mapping[str, Any]:
        return {"resource": self.resources, "scope": " ".join(self.scopes)}


class TokenEndpoint:
    name: str = "token"

    def __init__(self, registry: Registry, exchange: Exchange, dpop: DpopProofs, random: Randomness) -> None:
        self._registry = registry
        self._exchange = exchange
        self._dpop = dpop
        self._random = random
        self._without_key: set[str] = set()
        """Names of SigningKeys without a key that signs now; logged once."""

    def read(self, request: ClientRequest) -> TokenRequest:
        form = request.form
        grant_type = _grant_type(form)
        is_exchange = grant_type == TOKEN_EXCHANGE
        resources = [*form.get("resource", ()), *(form.get("audience", ()) if is_exchange else ())]
        return TokenRequest(
            grant_type=grant_type,
            scopes=_scopes(form),
            resources=tuple(dict.fromkeys(resources)),
            subject_token=read_subject_token(form) if is_exchange else None,
            proofs=request.proofs,
        )

    def serve(self, authenticated: Authenticated, parameters: TokenRequest, now: float) -> Outcome | Awaitable[Outcome]:
        if parameters.proofs:
            return self._serve_bound(authenticated, parameters, now)
        authorisation = self._authorise(authenticated, parameters, now)
        if authorisation.server.record.dpop_required or self._registry.is_fapi2:
            # FAPI 2.0 §5.3.2.1: all tokens are bound, also before the operator has updated the record of the server.
            raise proof_required()
        return self._issue(authorisation, now)

    async def _serve_bound(self, authenticated: Authenticated, parameters: TokenRequest, now: float) -> Outcome:
        nonce = self._dpop.nonce_header(now)
        try:
            self._authorise(authenticated, parameters, now)
            jkt = await self._dpop.verify(parameters.proofs, authenticated.client.client_id, now)
            if self._registry.clients.get(authenticated.client.client_id) is not authenticated.client:
                raise unavailable("the client has changed; try again", reason="client_changed")
            authorisation = self._authorise(authenticated, parameters, now)
            authorisation.jkt = jkt
            outcome = self._issue(authorisation, now)
        except OAuthError as error:
            error.headers += nonce
            raise
        outcome.answer.headers += nonce
        return outcome

    def _issue(self, authorisation: Authorisation, now: float) -> Outcome:
        token = self._sign(authorisation, now)
        body = b'{"access_token":"%s","token_type":"%s","expires_in":%d,"scope":%s%s}' % (
            token.value,
            b"DPoP" if authorisation.jkt else b"Bearer",
            token.expires_in,
            orjson.dumps(authorisation.granted.scope),
            _ISSUED if authorisation.delegation else b"",
        )
        return Outcome(Answer(200, NO_STORE, body), ISSUED, _audit_fields(authorisation, token))

    def _authorise(self, authenticated: Authenticated, parameters: TokenRequest, now: float) -> Authorisation:
        resources, scopes = parameters.resources, parameters.scopes
        if parameters.subject_token is not None:
            return self._exchange.authorise(authenticated.client, parameters.subject_token, resources, scopes, now)
        return authorise(authenticated.client, parameters.grant_type, resources, scopes, self._registry, now)

    def _sign(self, authorisation: Authorisation, now: float) -> IssuedToken:
        issuer = self._registry.require_issuer()
        name = authorisation.server.record.signing_key
        key = self._registry.keys.signing_key(name, now, verifier_lag(issuer))
        if key is None:
            if name not in self._without_key:
                self._without_key.add(name)
                log.error("SigningKey %s has no key that signs now; check that the operator is running", name)
            raise unavailable("no signing key is active", reason="no_signing_key", retry_after=5.0)
        if not allows(issuer.profile, key.alg):
            raise unavailable("no signing key is active", reason="profile_algorithm", retry_after=30.0)
        self._without_key.discard(name)
        return sign(authorisation, key, issuer, now, self._random)


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
    return entry


def _grant_type(form: Form) -> str:
    grant_type = parameter(form, "grant_type")
    if not grant_type:
        raise invalid_request("grant_type is missing", reason="grant_type_missing")
    if grant_type not in GRANT_TYPES:
        raise OAuthError("unsupported_grant_type", f"grant_type must be one of: {', '.join(GRANT_TYPES)}")
    return grant_type


def _scopes(form: Form) -> tuple[str, ...]:
    """In the order of the request. Malformed scopes are not granted, as unknown ones are not."""
    return tuple(dict.fromkeys(s for s in parameter(form, "scope").split(" ") if s))
