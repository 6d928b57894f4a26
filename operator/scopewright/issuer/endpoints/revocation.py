"""The revocation endpoint (RFC 7009): a client ends a token of its own before its time.

The answer is the same for a token that it may not revoke, though §2.1 would tell it: that the token of somebody else
is a good one is nothing to tell. What was exchanged from a token ends with it.
"""

from collections.abc import Awaitable
from typing import Final

from scopewright.issuer.authentication.authenticator import Authenticated
from scopewright.issuer.endpoints.base import Outcome
from scopewright.issuer.endpoints.introspection import TokenParameter, TokenParameterEndpoint
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.tokens.inspect import InspectedToken
from scopewright.issuer.tokens.validity import is_of

REVOKED: Final = "revoked"
NOTHING: Final = "nothing"

_DONE: Final = Answer(200, NO_STORE, b"{}")


class RevocationEndpoint(TokenParameterEndpoint):
    name: str = "revocation"

    def serve(self, who: Authenticated, parameters: TokenParameter, now: float) -> Outcome | Awaitable[Outcome]:
        told = {"client": who.client.client_id}
        inspected = self._inspected(parameters, now)
        if inspected is None:
            return Outcome(_DONE, NOTHING, told | {"reason": "unknown_or_expired"})
        if not is_of(inspected.link, who.client):
            return Outcome(_DONE, NOTHING, told | {"reason": "not_theirs", "jti": inspected.link.jti})
        return self._revoke(who, inspected)

    async def _revoke(self, who: Authenticated, inspected: InspectedToken) -> Outcome:
        link = inspected.link
        await self._revocations.revoke(link.client, who.client.namespace, link.jti, inspected.expires)
        return Outcome(_DONE, REVOKED, {"client": who.client.client_id, "jti": link.jti})
