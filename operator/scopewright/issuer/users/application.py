"""The users' endpoints: one Starlette router, with a bound on requests, and with a page for every error."""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from scopewright.core.failures import Unavailable
from scopewright.core.session_stores import NOT_SHARED
from scopewright.issuer.observability.user_events import UserEvent
from scopewright.issuer.observability.user_metrics import PageResult, UserMetrics
from scopewright.issuer.protocol.errors import OAuthError, from_failure, whole_seconds
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import bridge
from scopewright.issuer.users.authorization_request import RefusedRequest
from scopewright.issuer.users.pages import ErrorPage
from scopewright.issuer.users.pool import PoolExhausted, UserPool
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.responses import error_url, page_response, redirect
from scopewright.rate_budget import Clock
from scopewright.serving import audit

log: Final = logging.getLogger(__name__)

_METHODS: Final = ("GET", "POST")
BUSY_SECONDS: Final = 2
MAX_DETAIL: Final = 300
_CHOSEN: Final = ("detail", "redirect_uri")
"""Members of audit lines with text that providers, or anybody who changes a URL, may choose: at most MAX_DETAIL
characters."""


class UserLog:
    """Writes audit lines about users, and counts them."""

    def __init__(self, sink: audit.Sink, clock: Clock, metrics: UserMetrics) -> None:
        self._sink = sink
        self._clock = clock
        self._metrics = metrics

    def __call__(self, http: Request, event: UserEvent, result: str, more: Mapping[str, Any]) -> None:
        self.write(http.client.host if http.client else "", event, result, more)

    def write(self, peer: str, event: UserEvent, result: str, more: Mapping[str, Any]) -> None:
        """`peer` is empty for what happens without a request of a browser."""
        self._metrics.decided(event, result, more)
        chosen = {name: audit.printable(more[name][:MAX_DETAIL]) for name in _CHOSEN if name in more}
        self._sink(audit.entry(event, self._clock(), peer, result, {**more, **chosen}))


class UserApplication:
    """Answers the requests for `routes`, which are below the path of the issuer."""

    def __init__(
        self,
        registry: Registry,
        log_user: UserLog,
        routes: Iterable[Route],
        pool: UserPool,
        metrics: UserMetrics,
        monotonic: Clock,
        require_shared: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._monotonic = monotonic
        self._log = log_user
        routes = [*routes]
        # Redirects to a path with or without a slash would be built from the header Host.
        self._router = Router(routes, redirect_slashes=False, default=self._unknown_path)
        self._pool = pool
        self._require_shared = require_shared
        self._names = frozenset(route.path.split("/")[1] for route in routes)
        self._prefix = ("", "")

    def serves(self, path: str, issuer: str) -> bool:
        """Whether the path, percent-decoded, is that of one of the endpoints."""
        if self._prefix[0] != issuer:
            self._prefix = (issuer, unquote(urlsplit(issuer).path) + "/")
        prefix = self._prefix[1]
        return path.startswith(prefix) and path[len(prefix) :].partition("/")[0] in self._names

    def handler_of(self, http: HttpRequest) -> str:
        """The first part of the path, of a request that `serves` has accepted: one of `user_metrics.HANDLERS`."""
        return self._path(http).split("/")[1]

    async def answer(self, http: HttpRequest) -> Answer:
        """Answer a request that `serves` has accepted."""
        begun, handler = self._monotonic(), self.handler_of(http)
        answer, result = await self._pooled(http, self._path(http))
        self._metrics.request(handler, result, self._monotonic() - begun)
        return answer

    def _path(self, http: HttpRequest) -> str:
        return http.path[len(self._prefix[1]) - 1 :]

    async def _pooled(self, http: HttpRequest, path: str) -> tuple[Answer, PageResult]:
        try:
            answer = await self._pool.run(http, lambda: self._answer(http, path))
        except PoolExhausted as exhausted:
            problem = PageProblem("Too many logins at once. Try again shortly.", reason=exhausted.cause, status=503)
            page = self._page(problem, http.peer, retry_after=BUSY_SECONDS)
            return await bridge.call(page, http, path), exhausted.cause
        return answer, _result_of(answer.status)

    async def _answer(self, http: HttpRequest, path: str) -> Answer:
        try:
            self._require_shared()
            return await bridge.call(self._endpoint(http), http, path)
        except Exception as failure:
            return await bridge.call(self._failed(failure, http.peer), http, path)

    def _endpoint(self, http: HttpRequest) -> ASGIApp:
        return self._router if http.method in _METHODS else self._unknown_method

    def _failed(self, failure: Exception, peer: str) -> Response:
        match failure:
            case RefusedRequest():
                return self._refused(failure, peer)
            case PageProblem():
                return self._page(failure, peer)
            case OAuthError():
                problem = PageProblem(_sentence(failure.description), reason=failure.reason, status=failure.status)
                return self._page(problem, peer)
            case Unavailable():
                what_to_do, reason = "Try again shortly.", "store"
                if failure.reason == NOT_SHARED:
                    refusal = from_failure(failure)
                    what_to_do, reason = f"For the operators of this issuer: {refusal.description}.", refusal.reason
                problem = PageProblem(
                    f"No login and no logout is possible at the moment. {what_to_do}", reason=reason, status=503
                )
                return self._page(problem, peer, retry_after=failure.retry_after)
        problem = PageProblem("The issuer failed. The error is in its log.", reason="exception", status=500)
        return self._page(problem, peer, failure=failure)

    def _refused(self, refused: RefusedRequest, peer: str) -> Response:
        target, issuer = refused.target, self._registry.require_issuer().issuer
        more = {"client": target.client.client_id, "detail": refused.description}
        self._log.write(peer, "authorize", refused.error, more)
        return redirect(error_url(target, issuer, refused.error, refused.description))

    def _page(
        self, problem: PageProblem, peer: str, *, retry_after: float = 0, failure: Exception | None = None
    ) -> Response:
        """An error page. Its id is in the audit line, and in the log if the failure is unexpected."""
        error_id = secrets.token_hex(8)
        if failure is not None:
            log.error("a request of a user failed, error id %s", error_id, exc_info=failure)
        result = "server_error" if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
        known = {"client": problem.client_id, "redirect_uri": problem.redirect_uri}
        more = {"reason": problem.reason, "error_id": error_id} | {
            name: value for name, value in known.items() if value
        }
        self._log.write(peer, "user_error", result, more)
        way_back = problem.way_back
        redirect_uri = way_back.application.redirect_uri if way_back else ""
        page = ErrorPage(problem.description, error_id, way_back)
        response = page_response(page, problem.status, redirect_uri=redirect_uri)
        if retry_after:
            response.headers["retry-after"] = whole_seconds(retry_after)
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["allow"] = ", ".join(_METHODS)
        return response

    async def _unknown_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise PageProblem("There is no such page.", reason="path", status=404)

    async def _unknown_method(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise PageProblem("The page takes GET and POST only.", reason="method", status=405)


def _result_of(status: int) -> PageResult:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "unavailable"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "failed"
    if status >= HTTPStatus.BAD_REQUEST:
        return "refused"
    return "redirect" if status >= HTTPStatus.MULTIPLE_CHOICES else "page"


def _sentence(description: str) -> str:
    return f"{description[:1].upper()}{description[1:]}."
