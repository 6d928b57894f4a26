"""The introspection endpoint (RFC 7662), for the client of a token and for the API that the token is for.

For other callers and for every invalid token, the answer is the same: not active.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import orjson

from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.protocol.errors import invalid_request
from scopewright.issuer.protocol.request import ClientRequest, Form, parameter
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import MAX_BODY_BYTES, Authenticated
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.known_active import KnownActive, KnownActiveTokens
from scopewright.issuer.tokens.validity import invalid_reason, is_served_by, server_of, was_issued_to

ACTIVE: Final = "active"
INACTIVE: Final = "inactive"

_TOKEN_ALONE: Final = frozenset(("token", "token_type_hint"))
_USUAL_HINTS: Final = ("", "access_token")
_INACTIVE: Final = Answer(200, NO_STORE, b'{"active":false}')
_OF_USERS: Final = ("sid", "auth_time", "acr", "amr")
"""Of the login of a user. The answer has no user name: services know users by `sub`."""
_CLAIMS: Final = (
    "scope",
    "client_id",
    "exp",
    "iat",
    "nbf",
    "sub",
    "aud",
    "iss",
    "jti",
    "act",
    "cnf",
    "roles",
    *_OF_USERS,
)


@dataclass(slots=True)
class TokenParameter:
    """The parameter `token` of introspection and revocation. token_type_hint is ignored: there is one token type."""

    token: str = field(repr=False)
    key: None = None
    digest: bytes = field(default=b"", repr=False)
    """The SHA-256 of a body that has the token and a usual hint at most, if the answer may be kept."""
    known: KnownActive | None = None

    def audit_fields(self) -> Mapping[str, Any]:
        return {}


class TokenParameterEndpoint:
    """Shared by the endpoints with the parameter `token`."""

    def __init__(self, registry: Registry, inspector: Inspector, revocations: Revocations) -> None:
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations

    def admits_public(self, form: Form) -> bool:
        return False

    def read(self, request: ClientRequest) -> TokenParameter:
        token = parameter(request.form, "token")
        if not token:
            raise invalid_request("token is missing", reason="token_missing")
        is_usual = (
            _TOKEN_ALONE.issuperset(request.form)
            and parameter(request.form, "token_type_hint") in _USUAL_HINTS
            and len(request.body) <= MAX_BODY_BYTES
        )
        return TokenParameter(token, digest=sha256(request.body).digest() if is_usual else b"")

    def _inspected(self, parameters: TokenParameter, now: float) -> InspectedToken | None:
        """The token, if this issuer signed it and it has not expired."""
        issuer = self._registry.issuer
        return self._inspector.inspect(parameters.token, issuer, now) if issuer else None


class IntrospectionEndpoint(TokenParameterEndpoint):
    name: str = "introspection"

    def __init__(self, registry: Registry, inspector: Inspector, revocations: Revocations) -> None:
        super().__init__(registry, inspector, revocations)
        self._known = KnownActiveTokens(registry, revocations)

    def find_known(self, body: bytes, caller: Client, now: float) -> TokenParameter | None:
        if len(body) > MAX_BODY_BYTES:
            return None
        known = self._known.find(sha256(body).digest(), caller, now)
        return TokenParameter("", known=known) if known else None

    def serve(self, authenticated: Authenticated, parameters: TokenParameter, now: float) -> Outcome:
        if (known := parameters.known) is not None:
            answer = Answer(200, NO_STORE, known.body)
            return Outcome(answer, ACTIVE, {"client": known.caller.client_id, "jti": known.jti})
        audit_fields = {"client": authenticated.client.client_id}
        inspected = self._inspected(parameters, now)
        if inspected is None:
            return Outcome(_INACTIVE, INACTIVE, audit_fields | {"reason": "unknown_or_expired"})
        audit_fields["jti"] = inspected.summary.jti
        if not self._may_introspect(authenticated, inspected):
            reason = "not_theirs"
        else:
            reason = invalid_reason(inspected, self._registry, self._revocations, now)
        if reason:
            return Outcome(_INACTIVE, INACTIVE, audit_fields | {"reason": reason})
        answer = _active(inspected)
        if parameters.digest:
            self._known.remember(parameters.digest, authenticated.client, inspected, answer.body, now)
        return Outcome(answer, ACTIVE, audit_fields)

    def _may_introspect(self, authenticated: Authenticated, inspected: InspectedToken) -> bool:
        if was_issued_to(inspected.summary, authenticated.client):
            return True
        server = server_of(inspected.summary, self._registry)
        return server is not None and is_served_by(server, authenticated.client)


def _active(inspected: InspectedToken) -> Answer:
    claims = inspected.claims
    content = {"active": True, "token_type": "DPoP" if inspected.is_bound else "Bearer"}
    return Answer(200, NO_STORE, orjson.dumps(content | {name: claims[name] for name in _CLAIMS if name in claims}))
