"""The user of a session as its provider has them, for every request that uses the session.

A session counts only while its provider is in force, with the UID that logged the user in, and unless `revokedBefore`
of the provider is later than its login. Static users, and those of the developer login, have the groups and claims of
the current list. Users of an OpenID provider have those of its last answer.
"""

from dataclasses import dataclass, replace

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.login import PasswordLogins
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.login_policy import DEVELOPER, LoginPolicy
from scopewright.issuer.users.sessions import ProviderAway
from scopewright.issuer.users.stored import Session
from scopewright.issuer.users.upstream_checks import RETRY_SECONDS, UpstreamChecks
from scopewright.issuer.users.upstream_logins import is_recent


@dataclass(frozen=True, slots=True)
class UserChecks:
    """Implements `SessionChecks`."""

    policy: LoginPolicy
    developer: DeveloperLogin | None
    passwords: PasswordLogins
    upstream: UpstreamChecks

    def stored(self, session: Session, now: float) -> Session | None:
        if session.provider == DEVELOPER:
            if self.developer is None or not self.policy.offers_developer_login:
                return None
            return self.developer.current(session)
        provider = self._provider(session)
        if provider is None:
            return None
        if provider.record.oidc is None:
            return self._static(provider, session)
        if not is_recent(session.checked_time, provider.record.check_max_age, now):
            raise ProviderAway(provider.name, RETRY_SECONDS)
        return session

    async def confirmed(self, session: Session, now: float) -> Session | None:
        provider = self._provider(session)
        if provider is None or provider.record.oidc is None:
            return self.stored(session, now)
        checked = await self.upstream.check(session, provider, now)
        return self.stored(checked, now) if checked is not None else None

    def _provider(self, session: Session) -> Provider | None:
        """The provider of the session; None if the session is over."""
        provider = self.policy.providers.find(session.provider, session.provider_uid)
        return None if provider is None or provider.has_ended_login(session.begun_time) else provider

    def _static(self, provider: Provider, session: Session) -> Session | None:
        user = self.passwords.current(provider, session.subject)
        return replace(session, groups=user.groups, claims=user.claims) if user is not None else None
