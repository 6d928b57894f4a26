"""The users' endpoints: one Starlette router, with a bound on requests, and with a page for every error."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability import audit
from scopewright.issuer.protocol.errors import OAuthError, whole_seconds
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import bridge
from scopewright.issuer.users.authorization_request import RefusedRequest
from scopewright.issuer.users.pages import ErrorPage
from scopewright.issuer.users.pool import PoolExhausted, UserPool
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.responses import error_url, page_response, redirect

log: Final = logging.getLogger(__name__)

_METHODS: Final = ("GET", "POST")
BUSY_SECONDS: Final = 2


class UserLog:
    """Writes audit lines of the users' endpoints."""

    def __init__(self, sink: audit.Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    def __call__(self, http: Request, event: str, result: str, more: Mapping[str, Any]) -> None:
        self.write(http.client.host if http.client else "", event, result, more)

    def write(self, peer: str, event: str, result: str, more: Mapping[str, Any]) -> None:
        self._sink(audit.entry(event, self._clock(), peer, result, more))


class UserApplication:
    """Answers the requests for `routes`, which are below the path of the issuer."""

    def __init__(self, registry: Registry, log_user: UserLog, routes: Iterable[Route], pool: UserPool) -> None:
        self._registry = registry
        self._log = log_user
        routes = [*routes]
        # Redirects to a path with or without a slash would be built from the header Host.
        self._router = Router(routes, redirect_slashes=False, default=self._unknown_path)
        self._pool = pool
        self._names = frozenset(route.path.split("/")[1] for route in routes)
        self._prefix = ("", "")

    def serves(self, path: str, issuer: str) -> bool:
        """Whether the path, percent-decoded, is that of one of the endpoints."""
        if self._prefix[0] != issuer:
            self._prefix = (issuer, unquote(urlsplit(issuer).path) + "/")
        prefix = self._prefix[1]
        return path.startswith(prefix) and path[len(prefix) :].partition("/")[0] in self._names

    async def answer(self, http: HttpRequest) -> Answer:
        """Answer a request that `serves` has accepted."""
        path = http.path[len(self._prefix[1]) - 1 :]
        try:
            return await self._pool.run(http, lambda: self._answer(http, path))
        except PoolExhausted as exhausted:
            problem = PageProblem("Too many logins at once. Try again shortly.", reason=str(exhausted), status=503)
            return await bridge.call(self._page(problem, http.peer, retry_after=BUSY_SECONDS), http, path)

    async def _answer(self, http: HttpRequest, path: str) -> Answer:
        try:
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
                problem = PageProblem(
                    "No login and no logout is possible at the moment. Try again shortly.", reason="store", status=503
                )
                return self._page(problem, peer, retry_after=failure.retry_after)
        problem = PageProblem("The issuer failed. The error is in its log.", reason="exception", status=500)
        return self._page(problem, peer, failure=failure)

    def _refused(self, refused: RefusedRequest, peer: str) -> Response:
        target, issuer = refused.target, self._registry.require_issuer().issuer
        more = {"client": target.client.client_id, "reason": refused.description}
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


def _sentence(description: str) -> str:
    return f"{description[:1].upper()}{description[1:]}."
