"""Puts the parts of the users' endpoints together."""

from dataclasses import dataclass

from starlette.routing import Route

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability.user_events import EndReason
from scopewright.issuer.observability.user_metrics import UserLoad, UserMetrics
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.client import OpenIDLogins
from scopewright.issuer.upstream.connection import Observe, Within
from scopewright.issuer.upstream.login import PasswordLogins, UpstreamLogins
from scopewright.issuer.upstream.password_budgets import PasswordBudgets
from scopewright.issuer.upstream.passwords import Passwords
from scopewright.issuer.users.account import Account
from scopewright.issuer.users.application import UserApplication, UserLog
from scopewright.issuer.users.attempts import Attempts
from scopewright.issuer.users.authorization_request import HintedSubject
from scopewright.issuer.users.authorize import Authorize
from scopewright.issuer.users.callback import Callback
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.completed_login import CompletedLogin
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.decision_pages import DecisionPages
from scopewright.issuer.users.developer_form import DeveloperForm
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.failed_login import FailedLogin
from scopewright.issuer.users.login import LoginPages
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.logout import Logout, ReadHint
from scopewright.issuer.users.password_form import PasswordForm
from scopewright.issuer.users.pool import Places, UserPool
from scopewright.issuer.users.push_bounds import BroughtBounds
from scopewright.issuer.users.pushed import PushedRequests
from scopewright.issuer.users.sessions import SessionTimes, UserSessions
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.step_context import StepContext
from scopewright.issuer.users.upstream_checks import UpstreamChecks
from scopewright.issuer.users.upstream_visit import UpstreamVisits
from scopewright.issuer.users.user_checks import UserChecks
from scopewright.rate_budget import Clock
from scopewright.stores.sessions.sealed import SealedSessions


@dataclass(frozen=True, slots=True)
class UserLogins:
    """How users log in: at OpenID providers or with a password."""

    upstreams: UpstreamLogins
    passwords: PasswordLogins
    client: OpenIDLogins | None = None
    """To be closed at the end; None: `upstreams` is the test's."""

    @classmethod
    def of(
        cls, settings: UserEndpointSettings, observe: Observe, within: Within, clock: Clock, monotonic: Clock
    ) -> "UserLogins":
        passwords = settings.passwords or Passwords(clock, PasswordBudgets(monotonic))
        if settings.upstreams is not None:
            return cls(settings.upstreams, passwords)
        client = OpenIDLogins(
            allow_loopback=settings.allow_loopback, observe=observe, within=within, clock=clock, timer=monotonic
        )
        return cls(client, passwords, client)

    @property
    def computations(self) -> tuple[int, int]:
        """Passwords that are computed, and those that wait for it."""
        return self.passwords.computations.load if isinstance(self.passwords, Passwords) else (0, 0)

    async def close(self) -> None:
        """Close the connections to providers."""
        if self.client is not None:
            await self.client.aclose()


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored about users. Pages and the token endpoint share it."""

    sealed: SealedSessions
    sessions: UserSessions
    consents: Consents
    codes: Codes
    pushed: PushedRequests
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
        log: UserLog,
        metrics: UserMetrics,
        guard: SessionStoreGuard | None = None,
    ) -> "UserState":
        sealed = SealedSessions(
            settings.store,
            lambda: _installation(registry),
            lambda: registry.session_keys,
            clock,
            guard.require_shared if guard else lambda: None,
        )

        async def end(sid: str, subject: str, reason: EndReason) -> None:
            if await sessions.end(sid, subject):
                report(subject, sid, reason)

        def report(subject: str, sid: str, reason: EndReason) -> None:
            log.write("", "session", "ended", {"subject": subject, "sid": sid, "reason": reason})

        # Sessions and checks need each other.
        upstream = UpstreamChecks(sealed, logins.upstreams, end, metrics.check)
        checks = UserChecks(policy, settings.developer, logins.passwords, upstream)
        sessions = UserSessions(sealed, revocations.end_sessions, lambda: _session_times(registry), checks, report)
        consents = Consents(sealed, registry.server_of, revocations.end_consent)
        return cls(sealed, sessions, consents, Codes(sealed), PushedRequests(sealed, clock), logins, upstream)

    async def close(self) -> None:
        """Wait a while for answers of providers that are not stored yet, and close the connections to them."""
        await self.checks.close()
        await self.logins.close()


def _installation(registry: Registry) -> str:
    if registry.issuer is None:
        raise Unavailable("the issuer is starting", refused=True)
    return registry.issuer.issuer


def _session_times(registry: Registry) -> SessionTimes:
    issuer = registry.issuer
    return SessionTimes(issuer.session_idle_timeout, issuer.session_max_lifetime) if issuer else SessionTimes()


def hinted_subject_by(read_hint: ReadHint, clock: Clock) -> HintedSubject:
    """`read_hint` verifies ID tokens: pages know no keys."""

    def hinted_subject(token: str) -> str | None:
        hint = read_hint(token, clock())
        return hint.subject if hint else None

    return hinted_subject


def build_application(
    settings: UserEndpointSettings,
    state: UserState,
    registry: Registry,
    policy: LoginPolicy,
    read_hint: ReadHint,
    clock: Clock,
    monotonic: Clock,
    log: UserLog,
    metrics: UserMetrics,
) -> UserApplication:
    attempts = Attempts(lambda: registry.session_keys)
    context = StepContext(registry, state.sessions, attempts, clock, log, state.pushed)
    pages = DecisionPages(context, state.consents, policy)
    hinted_subject, brought = hinted_subject_by(read_hint, clock), BroughtBounds(clock)
    authorize = Authorize(context, state.consents, state.codes, policy, pages, hinted_subject, brought)
    logout = Logout(registry, state.sessions, read_hint, clock, log)
    account = Account(registry, state.sessions, state.consents, log)
    logins = login_routes(context, policy, CompletedLogin(context, policy, pages), state.logins, settings.developer)
    routes = [*authorize.routes(), *logins, *logout.routes(), *account.routes()]
    pool = UserPool(turns=settings.turns)
    metrics.load = lambda: UserLoad(pool.in_progress, pool.limit, *state.logins.computations)
    return UserApplication(registry, log, routes, pool, metrics, monotonic, state.sealed.require_shared)


def login_routes(
    context: StepContext,
    policy: LoginPolicy,
    completed: CompletedLogin,
    logins: UserLogins,
    developer: DeveloperLogin | None,
) -> list[Route]:
    """The pages on which users log in, and the way back from providers."""
    visits, failed = UpstreamVisits(context, logins.upstreams), FailedLogin(context, policy)
    passwords = PasswordForm(context, logins.passwords, completed, Places())
    developers = DeveloperForm(context, developer, completed) if developer else None
    login = LoginPages(context, policy, developers, passwords, visits, failed)
    return [*login.routes(), *Callback(context, policy, visits, completed, failed).routes()]
