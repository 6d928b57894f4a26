"""The gateway: answers each request of a proxy, by its path."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from scopewright.gateway import tracing as spans
from scopewright.gateway.answers import answer, json_answer
from scopewright.gateway.apis import ApiTable
from scopewright.gateway.audit import RefusalAudit
from scopewright.gateway.decide import Decider, Decision
from scopewright.gateway.follow import ApiFollower
from scopewright.gateway.identity_headers import IdentityHeaders
from scopewright.gateway.metadata import MetadataDocuments
from scopewright.gateway.metrics import GatewayMetrics
from scopewright.gateway.profiles import AuthRoute, Profile, auth_route
from scopewright.gateway.readiness import GatewayReadiness
from scopewright.gateway.verifiers import Verifiers
from scopewright.http import Answer, HttpRequest
from scopewright.rate_budget import Clock
from scopewright.serving.replay import ReplayStore
from scopewright.serving.supervise import SupervisedTasks
from scopewright.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"


class Closes(Protocol):
    async def aclose(self) -> None: ...


class RequestHandler:
    """Decides for proxies at `/auth/<profile>/<hostname>`, and serves protected resource metadata. All else is 404.

    `profiles` are the enabled ones.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        identity: IdentityHeaders,
        metrics: GatewayMetrics,
        audit: RefusalAudit,
        tracing: Tracing | None = None,
        monotonic: Clock = time.perf_counter,
    ) -> None:
        self._profiles = profiles
        self._identity = identity
        self._metrics = metrics
        self._audit = audit
        self._tracing = tracing
        self._monotonic = monotonic
        self._decider = Decider()
        self._documents = MetadataDocuments()
        self._not_found = not_found(
            "This is a Scopewright gateway; proxies ask it at /auth/<profile>/<hostname>, and the enabled profiles are "
            + ", ".join(profiles)
        )

    def use(self, table: ApiTable | None, documents: MetadataDocuments) -> None:
        """Replace the APIs. None: every decision is unavailable."""
        self._decider.apis, self._documents = table, documents
        if table is not None:
            self._metrics.keep({api.key: api.requirements.keys() for api in table.apis})

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        """The answer if no I/O is needed, else an awaitable."""
        route = auth_route(http.target, self._profiles)
        if route is None:
            return self._documents.answer(http) or self._not_found
        started = self._monotonic()
        if self._tracing is not None:
            return self._traced(http, route, started, spans.begin(self._tracing, http, route.profile.name))
        decided = self._decider.decide(http, route)
        if isinstance(decided, Decision):
            return self._finish(decided, http, started)
        return self._finish_later(decided, http, started)

    async def _finish_later(self, deciding: Awaitable[Decision], http: HttpRequest, started: float) -> Answer:
        return self._finish(await deciding, http, started)

    def _finish(self, decision: Decision, http: HttpRequest, started: float) -> Answer:
        answered = answer(decision, self._identity)
        self._metrics.count(decision, self._monotonic() - started)
        if decision.refusal is not None:
            self._audit.note(decision, answered.status, http.peer)
        return answered

    async def _traced(self, http: HttpRequest, route: AuthRoute, started: float, span: "Span") -> Answer:
        try:
            decided = self._decider.decide(http, route)
            decision = decided if isinstance(decided, Decision) else await decided
            answered = self._finish(decision, http, started)
        except BaseException:
            spans.fail(span)
            raise
        spans.end(span, decision, answered)
        return answered


@dataclass(eq=False, slots=True)
class Gateway:
    """Made by `build_gateway`. Answers from memory; `running` keeps that memory current."""

    requests: RequestHandler
    follower: ApiFollower
    verifiers: Verifiers
    metrics: GatewayMetrics
    readiness: GatewayReadiness
    tasks: SupervisedTasks
    replay: ReplayStore
    http: Closes
    """The client of the issuer."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        self.tasks.start("follow", self.follower.run, needed=True)
        self.tasks.start("keys", self.verifiers.run, needed=True)
        if self.metrics.shared:
            self.tasks.start("metrics", self.metrics.run)
        try:
            yield self
        finally:
            await self.tasks.stop()
            await self.replay.close()
            await self.http.aclose()

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        return self.requests.decide(http)

    def observe(self, http: HttpRequest) -> Answer:
        """Answers for operators of the gateway, on a listener of its own: `/metrics` and health."""
        if http.path not in (HEALTHZ, READYZ, METRICS):
            return not_found(f"This listener of a Scopewright gateway serves {METRICS}, {HEALTHZ} and {READYZ}")
        if http.method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, ((b"allow", b"GET, HEAD"),), b"")
        if http.path == METRICS:
            return self.metrics.answer()
        return self.readiness.answer() if http.path == READYZ else json_answer(HTTPStatus.OK, {"status": "ok"})


def not_found(description: str) -> Answer:
    return json_answer(HTTPStatus.NOT_FOUND, {"error": "not_found", "error_description": description})
