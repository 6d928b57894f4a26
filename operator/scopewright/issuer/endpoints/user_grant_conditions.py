"""Conditions on client, session and user, without which a code or a refresh token gives no tokens.

They held when the code was issued, and are checked again against the current records. Each refusal is an OAuthError.
"""

from dataclasses import dataclass, replace

from scopewright.api import redirect_uris
from scopewright.core.records.client import Login
from scopewright.core.revocations import MAX_LEEWAY_SECONDS
from scopewright.core.users import OFFLINE_ACCESS
from scopewright.issuer.endpoints.user_grant_request import invalid_grant
from scopewright.issuer.protocol.errors import OAuthError, unavailable
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import REFRESH_TOKEN
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import DelegatedAccess, Session
from scopewright.issuer.users.upstream_logins import VersionedLogin, read_login
from scopewright.issuer.users.user_record import VersionedUser, read_user, with_tokens
from scopewright.stores.sessions.sealed import SealedSessions


def require_owner(client: Client, delegated: DelegatedAccess) -> None:
    """The client that the user delegated to, and not a new one of the same name."""
    if not delegated.is_to(client.client_id, client.uid_hash):
        raise invalid_grant("not_theirs")


@dataclass(frozen=True, slots=True)
class UserGrantConditions:
    """Methods that read the store raise `Unavailable` while it is away. `login` is that of the client's record."""

    registry: Registry
    policy: LoginPolicy
    store: SealedSessions
    sessions: UserSessions
    consents: Consents

    async def confirmed(
        self, client: Client, login: Login, redirect_uri: str, session: Session | None, now: float
    ) -> Session:
        """The session as its user is now, if it has not ended and the client may still have it.

        The provider is asked if it last confirmed the user too long ago. `now` is the clock of the store.
        """
        if session is None:
            raise invalid_grant("session_ended")
        try:
            session = await self.sessions.checks.confirmed(session, now)
        except LoginRefused as refused:
            raise OAuthError(
                "invalid_grant",
                "the identity provider's answer about the user is refused; the user must log in again, which shows why",
                reason=refused.reason,
            ) from None
        self._require_unchanged(client)
        if session is None:
            raise invalid_grant("user_gone")
        if not redirect_uris.is_registered(redirect_uri, login.redirect_uris, public=client.public):
            raise invalid_grant("redirect_uri_withdrawn")
        if self.policy.refusal_of(login, session):
            raise invalid_grant("login_policy")
        return session

    async def consenting_user(
        self, client: Client, login: Login, delegated: DelegatedAccess, session: Session
    ) -> VersionedUser:
        """The record of the user who still consents, with the note that the session gets a token.

        It is written with every redemption: a logout, or a withdrawal of the consent, that does not know of the token
        then fails, and is repeated.
        """
        user = await read_user(self.store, delegated.subject)
        self._require_unchanged(client)
        if login.consent != "Skip" and not self.consents.covering(user, client, delegated):
            raise invalid_grant("consent_withdrawn")
        if not user.record.lists_session(session.sid):
            raise invalid_grant("session_ended")
        until = int(user.now) + self.registry.require_issuer().max_token_lifetime
        if REFRESH_TOKEN in client.grant_types:
            until = session.end_time
        return replace(user, record=with_tokens(user.record, session.sid, until + MAX_LEEWAY_SECONDS))

    async def shared_login(self, delegated: DelegatedAccess, session: Session) -> VersionedLogin | None:
        """The stored login at the provider, for a refresh token that outlives the session of the browser."""
        if OFFLINE_ACCESS not in delegated.scopes or not session.login:
            return None
        login = await read_login(self.store, session.login)
        if login is None:
            raise invalid_grant("session_ended")
        return login

    def _require_unchanged(self, client: Client) -> None:
        """The store was read since the client was authenticated."""
        if self.registry.clients.get(client.client_id) is not client:
            raise unavailable("the client has changed; try again", reason="client_changed")
