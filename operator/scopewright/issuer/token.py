"""The token endpoint (RFC 6749 §3.2, §4.4): authorise → sign, from memory."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from scopewright.issuer.authenticate import Authenticated
from scopewright.issuer.authorise import Grant, authorise
from scopewright.issuer.endpoint import Outcome
from scopewright.issuer.errors import OAuthError, invalid_request, unavailable
from scopewright.issuer.messages import NO_STORE, Answer
from scopewright.issuer.registry import Registry
from scopewright.issuer.request import ClientRequest, Form, one
from scopewright.issuer.sign import Randomness, Token, sign, tail

log: Final = logging.getLogger(__name__)

CLIENT_CREDENTIALS: Final = "client_credentials"
GRANT_TYPES: Final = (CLIENT_CREDENTIALS,)
ISSUED: Final = "issued"

NoteUse = Callable[[bytes, float], None]
"""Takes the SHA-256 of a credential that was accepted, and when, in seconds since the epoch."""


@dataclass(slots=True)
class TokenRequest:
    grant_type: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]

    def audited(self) -> Mapping[str, Any]:
        return {"resource": self.resources, "scope": " ".join(self.scopes)}


class Tokens:
    """Gives an authenticated client the token that it asks for."""

    name: str = "token"

    def __init__(
        self,
        registry: Registry,
        *,
        random: Randomness = os.urandom,
        note_use: NoteUse = lambda digest, now: None,
    ) -> None:
        self._registry = registry
        self._random = random
        self._note_use = note_use
        self._unsigned: set[str] = set()

    def read(self, request: ClientRequest) -> TokenRequest:
        form = request.form
        return TokenRequest(
            grant_type=_grant_type(form),
            scopes=_scopes(form),
            resources=tuple(dict.fromkeys(form.get("resource", ()))),
        )

    def serve(self, who: Authenticated, parameters: TokenRequest, now: float) -> Outcome:
        grant = authorise(
            who.client, parameters.grant_type, parameters.resources, parameters.scopes, self._registry, now
        )
        token = self._sign(grant, now)
        self._note_use(who.digest, now)
        body = b'{"access_token":"%s","token_type":"Bearer","expires_in":%d,"scope":%s}' % (
            token.value,
            token.expires_in,
            orjson.dumps(token.scope),
        )
        return Outcome(Answer(200, NO_STORE, body), ISSUED, _audited(grant, token))

    def _sign(self, grant: Grant, now: float) -> Token:
        issuer = self._registry.issuer
        if issuer is None:
            raise unavailable("the issuer is starting", reason="no_issuer_record")
        name = grant.server.record.signing_key
        key = self._registry.keys.signing(name, now, tail(issuer))
        if key is None:
            if name not in self._unsigned:
                self._unsigned.add(name)
                log.error("no key of SigningKey %s may sign now: is the operator running?", name)
            raise unavailable("no signing key is in force", reason="no_signing_key", retry_after=5.0)
        self._unsigned.discard(name)
        return sign(grant, key, issuer, now, self._random)


def _audited(grant: Grant, token: Token) -> Mapping[str, Any]:
    return {
        "client": grant.client.client_id,
        "audience": grant.server.audience,
        "scope": token.scope,
        "kid": token.kid,
        "jti": token.jti,
        "expires_in": token.expires_in,
    }


def _grant_type(form: Form) -> str:
    grant_type = one(form, "grant_type")
    if not grant_type:
        raise invalid_request("grant_type is missing", reason="grant_type_missing")
    if grant_type not in GRANT_TYPES:
        raise OAuthError("unsupported_grant_type", f"grant types served here: {', '.join(GRANT_TYPES)}")
    return grant_type


def _scopes(form: Form) -> tuple[str, ...]:
    """In the order asked; whether a scope exists is not decided here, so a malformed one is just not granted."""
    return tuple(dict.fromkeys(s for s in one(form, "scope").split(" ") if s))
