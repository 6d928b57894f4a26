"""The revocation endpoint (RFC 7009): a client revokes its own tokens.

The answer is the same for a token that the client may not revoke, although §2.1 has an error for it: the error would
show that the token of another client is valid. Tokens that were exchanged from a revoked one are revoked too. With a
refresh token, all access tokens of the same grant end.
"""

from collections.abc import Awaitable, Mapping
from typing import Final

from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.endpoints.introspection import TokenParameter, TokenParameterEndpoint
from scopewright.issuer.protocol.request import Form
from scopewright.issuer.protocol.responses import NO_STORE, Answer
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import Authenticated
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.validity import was_issued_to
from scopewright.issuer.users.refresh_tokens import RefreshTokenFamilies, parse_refresh_token

REVOKED: Final = "revoked"
NOTHING: Final = "nothing"

_DONE: Final = Answer(200, NO_STORE, b"{}")


class RevocationEndpoint(TokenParameterEndpoint):
    name: str = "revocation"

    def __init__(
        self,
        registry: Registry,
        inspector: Inspector,
        revocations: Revocations,
        families: RefreshTokenFamilies | None = None,
    ) -> None:
        """`families` is None if no user can log in."""
        super().__init__(registry, inspector, revocations)
        self._families = families

    def admits_public(self, form: Form) -> bool:
        """A public client revokes its tokens too: holding one is enough (RFC 7009 §2.1)."""
        return self._families is not None

    def serve(
        self, authenticated: Authenticated, parameters: TokenParameter, now: float
    ) -> Outcome | Awaitable[Outcome]:
        audit_fields = {"client": authenticated.client.client_id}
        if self._families is not None and parse_refresh_token(parameters.token):
            return self._revoke_family(self._families, authenticated.client, parameters.token, audit_fields)
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
        if inspected.sid:
            await self._revocations.revoke_user_token(token.jti, inspected.subject)
        else:
            await self._revocations.revoke(token.uid_hash, namespace, token.jti, inspected.expires_at)
        return Outcome(_DONE, REVOKED, audit_fields)

    async def _revoke_family(
        self, families: RefreshTokenFamilies, client: Client, token: str, audit_fields: dict[str, str]
    ) -> Outcome:
        """The refresh token first: it could give further access tokens."""
        found = await families.find(token)
        if found is None:
            return Outcome(_DONE, NOTHING, audit_fields | {"reason": "unknown_or_expired"})
        delegated = found.family.delegated
        if not delegated.is_to(client.client_id, client.uid_hash):
            return Outcome(_DONE, NOTHING, audit_fields | {"reason": "not_theirs"})
        await families.end(found.token.family_id, delegated.subject)
        await self._revocations.revoke_grant(client.uid_hash, found.family.grant_id, delegated.subject)
        return Outcome(_DONE, REVOKED, audit_fields | {"subject": delegated.subject, "sid": delegated.sid})
