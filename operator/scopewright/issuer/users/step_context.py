"""What all steps of a login share: the attempt of the browser, its session, cookies, paths and pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from scopewright.issuer.observability.user_events import UserEvent
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import authorization_request
from scopewright.issuer.users.attempts import ATTEMPT_SECONDS, Attempts, PendingLogin
from scopewright.issuer.users.authorization_request import AuthorizationRequest
from scopewright.issuer.users.browser_request import sent_cookies
from scopewright.issuer.users.cookies import Cookies
from scopewright.issuer.users.page_values import Application, WayBack
from scopewright.issuer.users.pages import Page
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.pushed import FoundPushed, PushedRequests
from scopewright.issuer.users.responses import page_response
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Session
from scopewright.rate_budget import Clock

Log = Callable[[Request, UserEvent, str, Mapping[str, Any]], None]
"""Writes an audit line: the request, the event, its result, and more."""


@dataclass(frozen=True, slots=True)
class ResumedAttempt:
    """A pending login of the browser, and its request, validated against the records as they are now."""

    attempt: PendingLogin
    request: AuthorizationRequest

    @property
    def application(self) -> Application:
        return Application.of(self.request.client, self.request.target.redirect_uri)

    @property
    def client_id(self) -> str:
        return self.request.client.client_id

    def require_token(self, token: str, *bound_to: str) -> None:
        """Check the token of a form (CSRF); raises PageProblem."""
        if not self.attempt.accepts(token, *bound_to):
            raise forged_form(self.request)


@dataclass(frozen=True, slots=True)
class StepContext:
    registry: Registry
    sessions: UserSessions
    attempts: Attempts
    clock: Clock
    log: Log
    pushed: PushedRequests

    async def resume(self, http: Request) -> ResumedAttempt:
        """The attempt of the path, from its cookie; raises PageProblem."""
        return await self.resume_attempt(http, http.path_params["attempt"])

    async def resume_attempt(self, http: Request, attempt_id: str) -> ResumedAttempt:
        """As `resume`. Only the browser that began the attempt has its cookie."""
        value = sent_cookies(http).get(self.cookies.attempt(attempt_id), "")
        attempt = self.attempts.open(attempt_id, value, self.clock()) if value else None
        if attempt is None:
            raise PageProblem(
                f"This login is finished or older than {ATTEMPT_SECONDS // 60} minutes, or the browser does not accept "
                "cookies.",
                reason="no_attempt",
            )
        if attempt.pushed:
            return ResumedAttempt(attempt, self.read_pushed(await self.pushed.read(attempt.pushed)))
        request = authorization_request.read(attempt.parameters, self.registry, lambda subject: subject)
        return ResumedAttempt(attempt, request)

    def read_pushed(self, found: FoundPushed) -> AuthorizationRequest:
        """A pushed request, validated against the records as they are now; raises as `authorization_request.read`."""
        parameters, registry = found.pushed.parameters, self.registry
        client, _ = authorization_request.client_of(parameters, registry)
        if client.uid_hash != found.pushed.client_uid_hash:
            raise PageProblem(
                "The application was registered anew since it sent the request. Go back to it, and try again.",
                reason="request_uri_of_another_client",
                client_id=client.client_id,
            )
        request = authorization_request.read(parameters, registry, lambda subject: subject, pushed=True)
        return replace(request, pushed=found)

    async def session(self, http: Request, *, idle_too: bool = False) -> Session | None:
        """The session of the browser."""
        cookie = sent_cookies(http).get(self.cookies.session)
        return await self.sessions.of_cookie(cookie, idle_too=idle_too) if cookie else None

    def sealed(self, attempt: PendingLogin) -> str:
        """Return the Set-Cookie header of an attempt; raises TooLarge."""
        cookies = self.cookies
        return cookies.set(cookies.attempt(attempt.id), self.attempts.seal(attempt, self.clock()), ATTEMPT_SECONDS)

    def ended(self, attempt: PendingLogin) -> str:
        """Return the Set-Cookie header that ends an attempt."""
        return self.cookies.delete(self.cookies.attempt(attempt.id))

    def forgotten(self, http: Request, *, kept: str = "", size: int = 0) -> list[str]:
        """Set-Cookie headers that delete the oldest attempts, so that there is room for another one: `kept`, which was
        sent, or one whose cookie has `size` bytes.
        """
        cookies = self.cookies
        sent = cookies.attempts(sent_cookies(http))
        excess = self.attempts.excess(sent, self.clock(), size or len(sent.get(kept, "")), kept)
        return [cookies.delete(cookies.attempt(old)) for old in excess]

    def way_back(self, resumed: ResumedAttempt) -> WayBack:
        attempt = resumed.attempt
        return WayBack(self.consent_path(attempt), attempt.csrf_token("back"), resumed.application)

    def page(self, page: Page, request: AuthorizationRequest, status: int = HTTPStatus.OK) -> Response:
        """A page whose forms may lead to the redirect URI of the request, and nowhere else."""
        return page_response(page, status, redirect_uri=request.target.redirect_uri)

    @property
    def cookies(self) -> Cookies:
        return Cookies.of(self.registry.require_issuer().issuer)

    def url(self, page: str) -> str:
        return f"{self.registry.require_issuer().issuer}/{page}"

    def path(self, page: str) -> str:
        return f"{urlsplit(self.registry.require_issuer().issuer).path}/{page}"

    def consent_path(self, attempt: PendingLogin) -> str:
        """The path on which an attempt goes on, and to which the pages of a login send the user back."""
        return self.path(f"consent/{attempt.id}")

    def login_path(self, attempt: PendingLogin, provider: str = "", *, another_user: bool = False) -> str:
        """The path of the login page. `another_user`: whatever session the provider has, it must ask who logs in."""
        path = self.path(f"login/{attempt.id}" + (f"/{provider}" if provider else ""))
        return f"{path}?{ANOTHER_USER}" if another_user else path


ANOTHER_USER = "user=another"


def wants_another_user(http: Request) -> bool:
    return http.query_params.get("user") == "another"


def forged_form(request: AuthorizationRequest) -> PageProblem:
    return PageProblem(
        "The form is out of date, or did not come from its page.",
        reason="csrf",
        status=403,
        client_id=request.client.client_id,
    )
