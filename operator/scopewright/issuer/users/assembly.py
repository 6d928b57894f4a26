"""Puts the parts of the users' endpoints together."""

from dataclasses import dataclass

from scopewright.issuer.observability import audit
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.registry import Registry
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
from scopewright.stores.sessions.sealed import SealedSessions


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored about users. Pages and the token endpoint share it."""

    sealed: SealedSessions
    sessions: UserSessions
    consents: Consents
    codes: Codes

    @classmethod
    def of(
        cls, settings: UserEndpointSettings, registry: Registry, revocations: Revocations, clock: Clock
    ) -> "UserState":
        sealed = SealedSessions(settings.store, lambda: registry.session_keys, clock)
        current = settings.developer.current if settings.developer else lambda session: session
        sessions = UserSessions(sealed, revocations.end_sessions, lambda: _session_times(registry), current)
        consents = Consents(sealed, registry.server_of, revocations.end_consent)
        return cls(sealed, sessions, consents, Codes(sealed))


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
