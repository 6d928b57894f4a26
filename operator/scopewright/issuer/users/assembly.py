"""Puts the parts of the users' endpoints together."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.routing import Route

from scopewright.issuer.observability import audit
from scopewright.issuer.observability.providers import ObservedLogins, ProviderMetrics
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.providers import Provider, ProviderIndex
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import PasswordLogins, UpstreamRequest
from scopewright.issuer.upstream.password_budgets import PasswordBudgets
from scopewright.issuer.upstream.passwords import Passwords
from scopewright.issuer.users.account import Account
from scopewright.issuer.users.application import UserApplication, UserLog
from scopewright.issuer.users.attempts import Attempts
from scopewright.issuer.users.authorize import Authorize
from scopewright.issuer.users.callback import Callback
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.completed_login import CompletedLogin
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.decision_pages import DecisionPages
from scopewright.issuer.users.developer_form import DeveloperForm
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.failed_login import FailedLogin
from scopewright.issuer.users.login import Login
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.logout import Logout, ReadHint
from scopewright.issuer.users.password_form import PasswordForm
from scopewright.issuer.users.pool import UserPool
from scopewright.issuer.users.sessions import SessionTimes, UserSessions
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.step_context import StepContext
from scopewright.issuer.users.upstream_checks import UpstreamChecks
from scopewright.issuer.users.upstream_visit import UpstreamVisits
from scopewright.issuer.users.user_checks import UserChecks
from scopewright.stores.sessions.sealed import SealedSessions
from scopewright.upstream import UpstreamFailed


class _Pending:
    """Until the client is wired in: no provider answers."""

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        raise UpstreamFailed("Unreachable", "not wired")

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        raise UpstreamFailed("Unreachable", "not wired")

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        raise UpstreamFailed("Unreachable", "not wired")


@dataclass(frozen=True, slots=True)
class UserLogins:
    """How users log in: at OpenID providers, with a password, or by the developer login."""

    upstreams: ObservedLogins
    passwords: PasswordLogins

    @classmethod
    def of(
        cls,
        settings: UserEndpointSettings,
        metrics: ProviderMetrics,
        providers: ProviderIndex,
        clock: Clock,
        monotonic: Clock,
    ) -> "UserLogins":
        upstreams = ObservedLogins(settings.upstreams or _Pending(), metrics, providers, clock)
        return cls(upstreams, settings.passwords or Passwords(clock, PasswordBudgets(monotonic)))


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

    async def close(self) -> None:
        """Wait a while for answers of providers that are not stored yet."""
        await self.checks.close()


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

    context = StepContext(registry, state.sessions, Attempts(lambda: registry.session_keys), clock, log)
    pages = DecisionPages(context, state.consents, policy)
    authorize = Authorize(context, state.consents, state.codes, policy, pages, hinted_subject)
    logout = Logout(registry, state.sessions, read_hint, clock, log)
    account = Account(registry, state.sessions, state.consents, log)
    logins = login_routes(context, policy, CompletedLogin(context, policy, pages), state.logins, settings.developer)
    routes = [*authorize.routes(), *logins, *logout.routes(), *account.routes()]
    return UserApplication(registry, log, routes, UserPool())


def login_routes(
    context: StepContext,
    policy: LoginPolicy,
    completed: CompletedLogin,
    logins: UserLogins,
    developer: DeveloperLogin | None,
) -> list[Route]:
    """The pages on which users log in, and the way back from providers."""
    visits, failed = UpstreamVisits(context, logins.upstreams), FailedLogin(context, policy)
    passwords = PasswordForm(context, logins.passwords, completed)
    developers = DeveloperForm(context, developer, completed) if developer else None
    login = Login(context, policy, developers, passwords, visits, failed)
    return [*login.routes(), *Callback(context, policy, visits, completed, failed).routes()]
