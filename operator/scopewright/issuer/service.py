"""The issuer: answers each request from memory, by its path."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from scopewright.core.records.issuer import IssuerRecord
from scopewright.http import Handler
from scopewright.issuer.background import Background
from scopewright.issuer.endpoints import metadata
from scopewright.issuer.endpoints.base import Endpoint
from scopewright.issuer.endpoints.cross_origin import CrossOrigin, any_origin
from scopewright.issuer.endpoints.feed import FeedEndpoint
from scopewright.issuer.endpoints.userinfo import UserinfoEndpoint
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.tracing import Traced
from scopewright.issuer.protocol.errors import invalid_request, unavailable
from scopewright.issuer.protocol.responses import Answer, HttpRequest, json_answer
from scopewright.issuer.readiness import Readiness
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock

HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"

AnyEndpoint = Endpoint[Any] | UserinfoEndpoint | CrossOrigin | Traced


@dataclass(frozen=True, slots=True)
class ClientEndpoints:
    """The endpoints that authenticate a client. `revocation` is None if the issuer has no write access, and `par` if no
    user can log in.
    """

    token: AnyEndpoint
    introspection: AnyEndpoint
    revocation: AnyEndpoint | None
    par: AnyEndpoint | None = None


class UserEndpoints(Protocol):
    """The pages and endpoints of users."""

    def serves(self, path: str, issuer: str) -> bool:
        """Whether the path, percent-decoded, is that of one of them, at the issuer of this URL."""

    async def answer(self, http: HttpRequest) -> Answer:
        """Answer a request that `serves` has accepted."""


@dataclass(eq=False, slots=True)
class Issuer:
    """Made by `build_issuer`. Answers from memory; `running` keeps that memory current.

    `proxies` are those whose X-Forwarded-For names the caller.
    """

    registry: Registry
    endpoints: ClientEndpoints
    feed: FeedEndpoint
    metrics: IssuerMetrics
    readiness: Readiness
    background: Background
    clock: Clock
    proxies: TrustedProxies | None
    users: UserEndpoints | None = None
    """None: no user can log in."""
    userinfo: AnyEndpoint | None = None
    """None if no user can log in."""
    offers_login: Callable[[], bool] = lambda: False
    """Whether users can log in now: without an identity provider their endpoints are not there."""
    _routed: str = field(init=False, default="")
    """The issuer of these paths."""
    _paths: metadata.Paths = field(init=False, default=metadata.paths(""))
    _clients: dict[str, Handler] = field(init=False, default_factory=dict)
    """By path: the endpoints that authenticate a client."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Issuer"]:
        async with self.background.running():
            yield self

    async def ready(self) -> str:
        """Wait until tokens can be issued. Returns the issuer's URL."""
        await self.readiness.wait()
        return self.registry.issuer.issuer if self.registry.issuer else ""

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        """The answer if no I/O is needed, else an awaitable."""
        if self.proxies is not None:
            http.peer = self.proxies.caller(http)
        record = self.registry.issuer
        if record is not None:
            if self._routed != record.issuer:
                self._route(record)
            paths = self._paths
            if not self.readiness.started and http.path in paths.need_records:
                return _starting()
            decide = self._clients.get(http.path)
            if decide is not None:
                return decide(http)
            answer = self._of_users(http, record, paths) or self._document(http, record, paths)
            if answer is not None:
                return answer
        return self._health(http) or (metadata.not_found() if record else _starting())

    def _of_users(
        self, http: HttpRequest, record: IssuerRecord, paths: metadata.Paths
    ) -> Answer | Awaitable[Answer] | None:
        """The answer of a page, of userinfo or of a push; None for other paths, and while no user can log in."""
        if self.users is not None and self.users.serves(http.path, record.issuer):
            if not self.readiness.started:
                return _starting()
            return self.users.answer(http) if self.offers_login() else None
        if http.path == paths.userinfo and self.userinfo is not None and self.offers_login():
            return self.userinfo.decide(http)
        if http.path == paths.par and self.endpoints.par is not None and self.offers_login():
            return self.endpoints.par.decide(http)
        return None

    def observe(self, http: HttpRequest) -> Answer:
        """Answers for operators of the issuer, on a listener of its own: `/metrics` and health."""
        if http.path != METRICS:
            return self._health(http) or metadata.not_found()
        return self.metrics.answer() if http.method in ("GET", "HEAD") else _only_get()

    def _route(self, record: IssuerRecord) -> None:
        endpoints, paths = self.endpoints, metadata.paths(record.issuer)
        self._routed, self._paths = record.issuer, paths
        self._clients = {paths.token: endpoints.token.decide, paths.introspection: endpoints.introspection.decide}
        if endpoints.revocation:
            self._clients[paths.revocation] = endpoints.revocation.decide

    def _document(self, http: HttpRequest, record: IssuerRecord, paths: metadata.Paths) -> Answer | None:
        if http.path not in (paths.jwks, paths.feed, paths.oauth_metadata, paths.openid_metadata):
            return None
        if http.path != paths.feed and self.offers_login():
            return any_origin(http, self._public_document(http, record, paths))
        return self._public_document(http, record, paths)

    def _public_document(self, http: HttpRequest, record: IssuerRecord, paths: metadata.Paths) -> Answer:
        if http.method not in ("GET", "HEAD"):
            return _only_get()
        if http.path == paths.feed:
            return self.feed.answer(record.issuer, http)
        offered = {"revoking": self.endpoints.revocation is not None, "users": self.offers_login()}
        if http.path == paths.oauth_metadata:
            return metadata.document(metadata.oauth_metadata(record, **offered), record)
        jwks = self.registry.keys.jwks(self.clock())
        if http.path == paths.jwks:
            return metadata.key_set(jwks, record, http)
        return metadata.document(metadata.openid_metadata(record, jwks, **offered), record)

    def _health(self, http: HttpRequest) -> Answer | None:
        if http.path not in (HEALTHZ, READYZ):
            return None
        if http.method not in ("GET", "HEAD"):
            return _only_get()
        return self.readiness.answer() if http.path == READYZ else json_answer(200, {"status": "ok"})


def _only_get() -> Answer:
    return invalid_request("use GET", status=405, headers=((b"allow", b"GET, HEAD"),)).answer()


def _starting() -> Answer:
    return unavailable("the issuer is starting: see /readyz", reason="starting").answer()
