"""The revocation endpoint (RFC 7009): a client revokes its own tokens.

The answer is the same for a token that the client may not revoke, although §2.1 has an error for it: the error would
show that the token of another client is valid. Tokens that were exchanged from a revoked one are revoked too.
"""

from collections.abc import Awaitable, Mapping
from typing import Final

from scopewright.issuer.authentication.authenticator import Authenticated
from scopewright.issuer.endpoints.base import Outcome
from scopewright.issuer.endpoints.introspection import TokenParameter, TokenParameterEndpoint
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.tokens.inspect import InspectedToken
from scopewright.issuer.tokens.validity import was_issued_to

REVOKED: Final = "revoked"
NOTHING: Final = "nothing"

_DONE: Final = Answer(200, NO_STORE, b"{}")


class RevocationEndpoint(TokenParameterEndpoint):
    name: str = "revocation"

    def serve(
        self, authenticated: Authenticated, parameters: TokenParameter, now: float
    ) -> Outcome | Awaitable[Outcome]:
        audit_fields = {"client": authenticated.client.client_id}
        inspected = self._inspected(parameters, now)
        if inspected is None:
            return Outcome(_DONE, NOTHING, audit_fields | {"reason": "unknown_or_expired"})
        audit_fields["jti"] = inspected.summary.jti
        if not was_issued_to(inspected.summary, authenticated.client):
            return Outcome(_DONE, NOTHING, audit_fields | {"reason": "not_theirs"})
        return self._revoke(authenticated, inspected, audit_fields)

    async def _revoke(
        self, authenticated: Authenticated, inspected: InspectedToken, audit_fields: Mapping[str, str]
    ) -> Outcome:
        token, namespace = inspected.summary, authenticated.client.namespace
        await self._revocations.revoke(token.uid_hash, namespace, token.jti, inspected.expires_at)
        return Outcome(_DONE, REVOKED, audit_fields)
