"""The introspection endpoint (RFC 7662): what a token is, for its own client and for the API that it is for.

Whatever the reason, and whoever asks without being one of these, the answer is the same: it is not active.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright.issuer.authentication.authenticator import Authenticated
from scopewright.issuer.endpoints.base import Outcome
from scopewright.issuer.protocol.errors import invalid_request
from scopewright.issuer.protocol.request import ClientRequest, parameter
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.validity import invalid_reason, is_of, server_of, serves

ACTIVE: Final = "active"
INACTIVE: Final = "inactive"

_INACTIVE: Final = Answer(200, NO_STORE, b'{"active":false}')
_TOLD: Final = ("scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "act", "cnf")


@dataclass(slots=True)
class TokenParameter:
    """`token`, for introspection and revocation alike. There is one kind of token: a hint has nothing to hint at."""

    token: str = field(repr=False)

    @classmethod
    def of(cls, request: ClientRequest) -> "TokenParameter":
        token = parameter(request.form, "token")
        if not token:
            raise invalid_request("token is missing", reason="token_missing")
        return cls(token)

    def audited(self) -> Mapping[str, Any]:
        return {}


class TokenParameterEndpoint:
    """What the endpoints that are given a token have in common."""

    def __init__(self, registry: Registry, inspector: Inspector, revocations: Revocations) -> None:
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations

    def read(self, request: ClientRequest) -> TokenParameter:
        return TokenParameter.of(request)

    def _inspected(self, parameters: TokenParameter, now: float) -> InspectedToken | None:
        """The token, if it is one of ours that has not expired."""
        issuer = self._registry.issuer
        return self._inspector.inspect(parameters.token, issuer, now) if issuer else None


class IntrospectionEndpoint(TokenParameterEndpoint):
    name: str = "introspection"

    def serve(self, who: Authenticated, parameters: TokenParameter, now: float) -> Outcome:
        told = {"client": who.client.client_id}
        inspected = self._inspected(parameters, now)
        if inspected is None:
            return Outcome(_INACTIVE, INACTIVE, told | {"reason": "unknown_or_expired"})
        told["jti"] = inspected.link.jti
        why = "not_theirs" if not self._concerns(who, inspected) else self._lapse(inspected, now)
        if why:
            return Outcome(_INACTIVE, INACTIVE, told | {"reason": why})
        return Outcome(_active(inspected), ACTIVE, told)

    def _concerns(self, who: Authenticated, inspected: InspectedToken) -> bool:
        if is_of(inspected.link, who.client):
            return True
        server = server_of(inspected.link, self._registry)
        return server is not None and serves(who.client, server)

    def _lapse(self, inspected: InspectedToken, now: float) -> str:
        return invalid_reason(inspected, self._registry, self._revocations, now)


def _active(inspected: InspectedToken) -> Answer:
    claims = inspected.claims
    content = {"active": True, "token_type": "DPoP" if inspected.bound else "Bearer"}
    return Answer(200, NO_STORE, orjson.dumps(content | {name: claims[name] for name in _TOLD if name in claims}))
