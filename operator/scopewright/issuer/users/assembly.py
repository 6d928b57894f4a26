"""Puts the parts of the users' endpoints together."""

from collections.abc import Mapping
from dataclasses import dataclass

from scopewright.issuer.observability import audit
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import PasswordLogins, UpstreamLogins, UpstreamRequest, WrongPassword
from scopewright.issuer.users.account import Account
from scopewright.issuer.users.application import UserApplication, UserLog
from scopewright.issuer.users.attempts import Attempts
from scopewright.issuer.users.authorize import Authorize
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.logout import Logout, ReadHint
from scopewright.issuer.users.pool import UserPool
from scopewright.issuer.users.sessions import SessionTimes, UserSessions
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.upstream_checks import UpstreamChecks
from scopewright.issuer.users.user_checks import UserChecks
from scopewright.stores.sessions.sealed import SealedSessions
from scopewright.upstream import UpstreamFailed


class _Pending:
    """Until the clients are wired in: no provider answers, and no static user is known."""

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        raise UpstreamFailed("Unreachable", "not wired")

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        raise UpstreamFailed("Unreachable", "not wired")

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        raise UpstreamFailed("Unreachable", "not wired")

    async def verify(self, provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        raise WrongPassword

    def current(self, provider: Provider, subject: str) -> AuthenticatedUser | None:
        return None


@dataclass(frozen=True, slots=True)
class UserLogins:
    """How users log in: at OpenID providers, with a password, or by the developer login."""

    upstreams: UpstreamLogins
    passwords: PasswordLogins

    @classmethod
    def of(cls, settings: UserEndpointSettings, clock: Clock) -> "UserLogins":
        return cls(settings.upstreams or _Pending(), settings.passwords or _Pending())


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored about users. Pages and the token endpoint share it."""

    sealed: SealedSessions
    sessions: UserSessions
    consents: Consents
    codes: Codes
    logins: UserLogins
    checks: UpstreamChecks

    @classmethod
    def of(
        cls,
        settings: UserEndpointSettings,
        logins: UserLogins,
        registry: Registry,
        policy: LoginPolicy,
        revocations: Revocations,
        clock: Clock,
    ) -> "UserState":
        sealed = SealedSessions(settings.store, lambda: registry.session_keys, clock)
        # Sessions and checks need each other.
        upstream = UpstreamChecks(sealed, logins.upstreams, lambda sid, subject: sessions.end(sid, subject))
        checks = UserChecks(policy, settings.developer, logins.passwords, upstream)
        sessions = UserSessions(sealed, revocations.end_sessions, lambda: _session_times(registry), checks)
        consents = Consents(sealed, registry.server_of, revocations.end_consent)
        return cls(sealed, sessions, consents, Codes(sealed), logins, upstream)


def _session_times(registry: Registry) -> SessionTimes:
    issuer = registry.issuer
    return SessionTimes(issuer.session_idle_timeout, issuer.session_max_lifetime) if issuer else SessionTimes()


def build_application(
    settings: UserEndpointSettings,
    state: UserState,
    registry: Registry,
    policy: LoginPolicy,
    read_hint: ReadHint,
    clock: Clock,
    sink: audit.Sink,
) -> UserApplication:
    """`read_hint` verifies ID tokens: pages know no keys."""
    log = UserLog(sink, clock)

    def hinted_subject(token: str) -> str | None:
        hint = read_hint(token, clock())
        return hint.subject if hint else None

    authorize = Authorize(
        registry=registry,
        sessions=state.sessions,
        consents=state.consents,
        codes=state.codes,
        attempts=Attempts(lambda: registry.session_keys),
        policy=policy,
        developer=settings.developer,
        hinted_subject=hinted_subject,
        clock=clock,
        log=log,
    )
    logout = Logout(registry, state.sessions, read_hint, clock, log)
    account = Account(registry, state.sessions, state.consents, log)
    routes = [*authorize.routes(), *logout.routes(), *account.routes()]
    return UserApplication(registry, log, routes, UserPool())
