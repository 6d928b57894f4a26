"""Put the issuer together from its settings, a store and what else the process provides."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from scopewright.core.session_stores import ADVICE
from scopewright.issuer.authentication.authenticator import Authenticator
from scopewright.issuer.authentication.clusters import TrustedClusters
from scopewright.issuer.authentication.dpop import DpopProofs
from scopewright.issuer.authentication.read_through import READ_BUDGET, RESERVE_BUDGET, ReadThrough
from scopewright.issuer.authentication.throttle import FailureThrottle
from scopewright.issuer.background import Background
from scopewright.issuer.endpoints.base import MIN_REFUSAL_SECONDS, Endpoint
from scopewright.issuer.endpoints.cross_origin import CrossOrigin
from scopewright.issuer.endpoints.feed import FeedEndpoint
from scopewright.issuer.endpoints.handler import FindKnown, Handler
from scopewright.issuer.endpoints.introspection import IntrospectionEndpoint
from scopewright.issuer.endpoints.revocation import RevocationEndpoint
from scopewright.issuer.endpoints.token import TokenEndpoint
from scopewright.issuer.endpoints.user_grant_conditions import UserGrantConditions
from scopewright.issuer.endpoints.user_tokens import UserGrants
from scopewright.issuer.endpoints.userinfo import UserinfoEndpoint
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.session_store import MeasuredSessions
from scopewright.issuer.observability.tracing import Decides, Traced, TracedPages, child_spans, traced_sink
from scopewright.issuer.observability.usage import REPORT_INTERVAL_SECONDS, CredentialUsage
from scopewright.issuer.readiness import Readiness
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.service import AnyEndpoint, ClientEndpoints, Issuer
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.issuer.state.follow import Follower
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.issuer.tokens.exchange import Exchange, SubjectUsers
from scopewright.issuer.tokens.inspect import Inspector
from scopewright.issuer.tokens.sign import Randomness
from scopewright.issuer.tokens.signer import Signer
from scopewright.issuer.users.id_tokens import IdTokens
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.refresh_tokens import RefreshTokenFamilies
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.turns import SessionsInTurns
from scopewright.rate_budget import Clock, RateBudget
from scopewright.serving import audit
from scopewright.serving.counters import WorkerCounters
from scopewright.serving.replay import LocalReplay, ReplayStore
from scopewright.serving.supervise import SupervisedTasks
from scopewright.stores import Listener, Reader, ServiceAccountIssuer, Store
from scopewright.tracing import Tracing

E = TypeVar("E", bound=Decides)

STORE_TIMEOUT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Times in seconds."""

    namespace: str
    """Of the records."""
    snapshot: Path | None = None
    """The file to start from if the store does not answer."""
    writes_snapshot: bool = True
    """False in all but one of the processes with the same file."""
    store_timeout: float = STORE_TIMEOUT_SECONDS
    """How long an issuer with a snapshot waits for the store's lists before it serves from the snapshot."""
    usage_interval: float = REPORT_INTERVAL_SECONDS
    """Between two reports of credential usage."""
    min_refusal: float = MIN_REFUSAL_SECONDS
    """Minimum duration of a response to a wrong credential."""
    read_budget: RateBudget = READ_BUDGET
    reserve_budget: RateBudget = RESERVE_BUDGET
    allow_http: bool = False
    """Whether the records may name an http issuer that is not on loopback: those of `scopewright dev` may."""
    proxies: TrustedProxies | None = None
    """Proxies whose X-Forwarded-For names the caller."""
    reports: bool = True
    """Whether credential usage and the session store are reported. False: the store is read-only."""
    users: UserEndpointSettings | None = None
    """None: there are no endpoints for users."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Time and randomness: `clock` in seconds since the epoch, `monotonic` in seconds."""

    clock: Clock = time.time
    monotonic: Clock = time.monotonic
    random: Randomness = os.urandom


def build_issuer(
    settings: IssuerSettings,
    reader: Reader,
    *,
    writer: Store | None = None,
    service_accounts: ServiceAccountIssuer | None = None,
    replay: ReplayStore | None = None,
    counters: WorkerCounters | None = None,
    sink: audit.Sink = audit.to_log,
    tracing: Tracing | None = None,
    runtime: Runtime = Runtime(),
) -> Issuer:
    """An issuer that is not running yet.

    `writer` stores revocations and credential usage. None: there is no revocation endpoint.
    `service_accounts` is the cluster that issues tokens accepted for `in-cluster`.
    `replay` stores what may be used only once. None: in the memory of this process.
    `counters` are this worker's, if several processes serve.
    """
    clock, monotonic, namespace = runtime.clock, runtime.monotonic, settings.namespace
    snapshots = SnapshotFile(settings.snapshot, keeps=settings.writes_snapshot) if settings.snapshot else None
    # Registry and revocations need each other, as do readiness and follower.
    registry = Registry(namespace, lambda ended: revocations.end(ended), allow_http=settings.allow_http)
    keep = snapshots.keep_later if snapshots else lambda ref, make: None
    revocations = Revocations(writer, namespace, clock, lambda: registry.issuer, keep)
    tasks = SupervisedTasks(monotonic)
    listener = reader if isinstance(reader, Listener) else None
    contact = listener.contact if listener else None
    readiness = Readiness(
        registry, tasks, clock, lambda: follower.incomplete, contact, lambda: _failing_logins(metrics, guard)
    )
    reports_to = writer if settings.reports else None
    guard = (
        SessionStoreGuard(reports_to, namespace, settings.users.store, clock) if reports_to and settings.users else None
    )
    follower = Follower(
        reader, registry, revocations, snapshots, clock=clock, changed=readiness.update, session_stores=guard
    )
    metrics = IssuerMetrics(
        registry,
        clock,
        counters,
        ready=lambda: not readiness.obstacles(),
        last_activity=listener.last_activity if listener else None,
        last_contact=(lambda: contact.last) if contact else None,
        shares_sessions=(lambda: guard.is_shared) if guard else None,
    )
    known = registry.clients.credentials
    usage = (
        CredentialUsage(reports_to, namespace, known, clock, settings.usage_interval, runtime.random)
        if reports_to
        else None
    )
    replay = replay or LocalReplay(clock)
    spans, sink = child_spans(tracing), traced_sink(sink) if tracing else sink
    authenticator = Authenticator(registry, replay, TrustedClusters(service_accounts, clock), clock)
    read_through = ReadThrough(
        reader,
        registry,
        clock=clock,
        monotonic=monotonic,
        reads=settings.read_budget,
        reserve=settings.reserve_budget,
    )
    throttle = FailureThrottle(monotonic)
    validation = (registry, Inspector(registry.keys), revocations)

    def traced(made: E, name: str) -> E | Traced:
        return Traced(made, name, tracing) if tracing else made

    def endpoint(handler: Handler[Any], find_known: FindKnown[Any] | None = None) -> Endpoint[Any] | Traced:
        made: Endpoint[Any] = Endpoint(
            handler,
            registry,
            authenticator,
            read_through,
            throttle,
            metrics.endpoint(handler.name),
            clock=clock,
            monotonic=monotonic,
            sink=sink,
            min_refusal_seconds=settings.min_refusal,
            note_use=usage.note if usage else lambda digest, now: None,
            find_known=find_known,
        )
        return traced(made, handler.name)

    def shared(endpoint: AnyEndpoint) -> AnyEndpoint:
        """For browsers too, if users can log in."""
        return CrossOrigin(endpoint.decide, registry, offers_login) if settings.users else endpoint

    def offers_login() -> bool:
        return settings.users is not None and policy.offers_login

    proofs, signer = DpopProofs(registry, replay), Signer(registry, runtime.random)
    developer = settings.users.developer if settings.users else None
    policy = LoginPolicy(registry.providers, developer.is_offered if developer else lambda: False)
    state, users, user_grants, userinfo, par, families, subjects = None, None, None, None, None, None, None
    sessions = None
    if settings.users is not None:
        # Starlette and Jinja2 take a tenth of the time that an issuer needs to start, and most have no users.
        from scopewright.issuer.endpoints.pushed_requests import PushedRequestEndpoint
        from scopewright.issuer.users.application import UserLog
        from scopewright.issuer.users.assembly import UserLogins, UserState, build_application, hinted_subject_by
        from scopewright.issuer.users.push_bounds import PushBounds

        id_tokens = IdTokens(registry)
        sessions = MeasuredSessions(settings.users.store, metrics.users, monotonic, spans)
        measured = replace(settings.users, store=SessionsInTurns(sessions, settings.users.turns))
        logins = UserLogins.of(
            measured,
            metrics.providers.observe,
            lambda provider, operation: spans(f"provider.{operation}", {"scopewright.provider": provider}),
            clock,
            monotonic,
        )
        log = UserLog(sink, clock, metrics.users)
        state = UserState.of(measured, logins, registry, policy, revocations, clock, log, metrics.users, guard)
        pages = build_application(
            measured, state, registry, policy, id_tokens.verify_hint, clock, monotonic, log, metrics.users
        )
        users = TracedPages(pages, tracing) if tracing else pages
        families = RefreshTokenFamilies(state.sealed)
        subjects = SubjectUsers(state.sessions, policy.refusal_of)
        conditions = UserGrantConditions(registry, policy, state.sealed, state.sessions, state.consents)
        user_grants = UserGrants(
            registry, state.sealed, conditions, families, proofs, signer, revocations, id_tokens, metrics.users
        )
        made = UserinfoEndpoint(
            *validation,
            state.sessions,
            policy,
            proofs,
            metrics.endpoint(UserinfoEndpoint.name),
            clock=clock,
            monotonic=monotonic,
            sink=sink,
        )
        userinfo = shared(traced(made, UserinfoEndpoint.name))
        hinted_subject = hinted_subject_by(id_tokens.verify_hint, clock)
        pushed = PushedRequestEndpoint(registry, state.pushed, hinted_subject, proofs, PushBounds(monotonic))
        par = shared(endpoint(pushed))
    exchange = Exchange(*validation, subjects)
    introspection = IntrospectionEndpoint(*validation)
    endpoints = ClientEndpoints(
        token=shared(endpoint(TokenEndpoint(registry, exchange, proofs, signer, user_grants))),
        introspection=endpoint(introspection, introspection.find_known),
        revocation=shared(endpoint(RevocationEndpoint(*validation, families))) if writer else None,
        par=par,
    )
    background = Background(
        registry,
        follower,
        revocations,
        readiness,
        metrics,
        tasks,
        replay,
        clock,
        snapshots=snapshots,
        usage=usage,
        store_timeout=settings.store_timeout,
        users=state,
        sessions=sessions,
        session_stores=guard,
    )
    feed = FeedEndpoint(revocations, registry.keys)
    return Issuer(
        registry,
        endpoints,
        feed,
        metrics,
        readiness,
        background,
        clock,
        settings.proxies,
        users,
        userinfo,
        offers_login,
    )


def _failing_logins(metrics: IssuerMetrics, guard: SessionStoreGuard | None) -> list[str]:
    """What fails of the login of users, for `/readyz`."""
    failing = [f"identity provider {name}" for name in metrics.providers.failing]
    return failing if guard is None or guard.is_shared else [*failing, f"session store: {ADVICE}"]
