"""The authorization endpoint, and the pages for login and consent that follow it.

    /authorize ──▶ /login/<attempt> ──▶ /consent/<attempt> ──▶ redirect to the client

Each step reads the request again from its sealed cookie and validates it against the records as they are now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import authorization_request, flow
from scopewright.issuer.users.attempts import ATTEMPT_SECONDS, Attempts, PendingLogin, TooLarge
from scopewright.issuer.users.authorization_request import AuthorizationRequest, HintedSubject
from scopewright.issuer.users.browser_request import authorization_parameters, host_name, own_form, sent_cookies
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.consent_view import apis_on_page, openid_on_page, roles_of_user
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.cookies import Cookies
from scopewright.issuer.users.developer_login import DeveloperLogin, ListedUser
from scopewright.issuer.users.flow import IssueCode, SendError, ShowConsent, ShowLogin, ShowRefusal
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.pages import (
    Application,
    ConsentPage,
    DeveloperLoginPage,
    DeveloperUser,
    NoAccessPage,
    NotAdmittedPage,
    Page,
)
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.responses import code_url, error_url, page_response, redirect, with_cookies
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Code, DelegatedAccess, Session
from scopewright.origins import is_loopback

Log = Callable[[Request, str, str, Mapping[str, Any]], None]
"""Writes an audit line: the request, the event, its result, and more."""

Outcome = ShowLogin | ShowRefusal | ShowConsent | IssueCode | SendError


@dataclass(frozen=True, slots=True)
class Step:
    """A request on its way: its attempt (None: it has none yet), and the session of the browser."""

    request: AuthorizationRequest
    session: Session | None
    attempt: PendingLogin | None
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Authorize:
    registry: Registry
    sessions: UserSessions
    consents: Consents
    codes: Codes
    attempts: Attempts
    policy: LoginPolicy
    developer: DeveloperLogin | None
    hinted_subject: HintedSubject
    clock: Clock
    log: Log

    def routes(self) -> list[Route]:
        return [
            Route("/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/login/{attempt}", self.show_login, methods=["GET"]),
            Route("/login/{attempt}", self.log_in, methods=["POST"]),
            Route("/consent/{attempt}", self.go_on, methods=["GET"]),
            Route("/consent/{attempt}", self.answer_consent, methods=["POST"]),
        ]

    # Steps

    async def authorize(self, http: Request) -> Response:
        """A cross-site POST carries no Lax cookie, so it only begins an attempt, and the GET that follows decides."""
        form = await authorization_parameters(http)
        request = authorization_request.read(form, self.registry, self.hinted_subject)
        if http.method == "POST":
            return self._begin(http, form, request, "consent")
        step = await self._step(http, request, None)
        if isinstance(step.outcome, IssueCode | SendError):
            return await self._answer(http, step)
        return self._begin(http, form, request, "login" if isinstance(step.outcome, ShowLogin) else "consent")

    async def show_login(self, http: Request) -> Response:
        self._require_own_host(http)
        attempt, request = self._resume(http)
        users = sorted(self._listed(request).values(), key=lambda user: request.login_hint not in (user.id, user.email))
        page = DeveloperLoginPage(
            action=self._path(f"login/{attempt.id}"),
            csrf=attempt.csrf_token("login"),
            application=_application(request),
            users=tuple(DeveloperUser(u.id, u.name or u.id, u.email or "", tuple(u.groups)) for u in users),
        )
        return self._page(page, request)

    async def log_in(self, http: Request) -> Response:
        """A new session with a new cookie begins, whatever cookie the browser had."""
        self._require_own_host(http)
        attempt, request = self._resume(http)
        form = await own_form(http)
        _require_token(attempt.accepts(parameter(form, "csrf"), "login"), request)
        user = self._listed(request).get(parameter(form, "user"))
        if user is None:
            raise PageProblem("This user is not in users.yaml any more.", reason="unknown_user")
        authenticated = user.authenticated(int(self.clock()))
        audited = {"client": request.client.client_id, "subject": user.subject, "provider": authenticated.provider}
        if reason := self.policy.refusal_of(request.login, authenticated):
            self.log(http, "login", "access_denied", {**audited, "reason": reason})
            return self._not_admitted(request, attempt, authenticated.display_name)
        before = await self._session(http, idle_too=True)
        cookie, session = await self.sessions.begin(authenticated, before)
        self.log(http, "login", "accepted", {**audited, "sid": session.sid})
        cookies = self._cookies
        set_cookies = [cookies.set(cookies.session, cookie), self._sealed(replace(attempt, sid=session.sid))]
        return redirect(self._path(f"consent/{attempt.id}"), set_cookies)

    async def go_on(self, http: Request) -> Response:
        """Continue after a login, or show what the user must decide. An attempt that began by POST, where no cookie
        came with it, makes room for itself here.
        """
        attempt, request = self._resume(http)
        step = await self._step(http, request, attempt)
        return with_cookies(await self._next(http, request, attempt, step), self._forgotten(http, attempt.id))

    async def _next(self, http: Request, request: AuthorizationRequest, attempt: PendingLogin, step: Step) -> Response:
        if isinstance(step.outcome, ShowLogin):
            return redirect(self._path(f"login/{attempt.id}"))
        if isinstance(step.outcome, ShowConsent) and step.session is not None:
            page = await self._consent_page(request, attempt, step.session, step.outcome.delegated)
            return self._page(page, request)
        if isinstance(step.outcome, ShowRefusal) and step.session is not None:
            return self._refusal_page(request, attempt, step.session, step.outcome)
        return await self._answer(http, step)

    async def answer_consent(self, http: Request) -> Response:
        attempt, request = self._resume(http)
        form = await own_form(http)
        step = await self._step(http, request, attempt)
        token, decision, outcome = parameter(form, "csrf"), parameter(form, "decision"), step.outcome
        delegated = outcome.delegated if isinstance(outcome, ShowConsent | IssueCode) else None
        consents = delegated is not None and attempt.accepts(token, *_shown(delegated))
        if decision in ("deny", "back") and (consents or attempt.accepts(token, "back")):
            self.log(http, "consent", "denied", _audited(step))
            denied = SendError("access_denied", "the user refused, or may not use this application")
            return await self._answer(http, replace(step, outcome=denied))
        if delegated is None:
            return redirect(self._path(f"consent/{attempt.id}"))
        _require_token(consents and decision == "allow", request)
        await self.consents.remember(request.client, delegated)
        self.log(http, "consent", "allowed", _audited(step))
        return await self._answer(http, replace(step, outcome=IssueCode(delegated)))

    # Parts of a step

    async def _step(self, http: Request, request: AuthorizationRequest, attempt: PendingLogin | None) -> Step:
        session, now = await self._session(http), self.clock()
        fresh = session is not None and attempt is not None and session.sid == attempt.sid
        scopes_of = flow.scopes_of_user(request, self.registry, now)
        decided = flow.decide(request, session, self.policy, scopes_of, now, fresh=fresh)
        if not isinstance(decided, flow.AskConsent):
            return Step(request, session, attempt, decided)
        covered = await self.consents.covers(request.client, decided.delegated)
        outcome = flow.after_consent(request, decided, covered=covered)
        return Step(request, session, attempt, outcome)

    async def _answer(self, http: Request, step: Step) -> Response:
        """A redirect to the client, and the end of the attempt."""
        issuer, target = self.registry.require_issuer().issuer, step.request.target
        cookies = self._cookies
        ended = [cookies.delete(cookies.attempt(step.attempt.id))] if step.attempt else []
        if isinstance(step.outcome, IssueCode):
            challenge, nonce = step.request.code_challenge, step.request.nonce
            code = await self.codes.issue(Code(step.outcome.delegated, target.redirect_uri, challenge, nonce))
            self.log(http, "authorize", "issued", _audited(step))
            return redirect(code_url(target, issuer, code), ended)
        error = step.outcome if isinstance(step.outcome, SendError) else SendError("server_error", "unexpected step")
        self.log(http, "authorize", error.error, _audited(step))
        return redirect(error_url(target, issuer, error.error, error.description), ended)

    def _begin(self, http: Request, form: Form, request: AuthorizationRequest, page: str) -> Response:
        kept = {name: form[name] for name in authorization_request.PARAMETERS if name in form}
        if request.hinted_subject:
            kept["id_token_hint"] = (request.hinted_subject,)
        attempt = self.attempts.begin(kept, self.clock())
        try:
            sealed = self._sealed(attempt)
        except TooLarge:
            raise authorization_request.too_large(request) from None
        return redirect(self._path(f"{page}/{attempt.id}"), [*self._forgotten(http), sealed])

    def _resume(self, http: Request) -> tuple[PendingLogin, AuthorizationRequest]:
        """The attempt of the path, from its cookie; raises PageProblem."""
        attempt_id = http.path_params["attempt"]
        value = sent_cookies(http).get(self._cookies.attempt(attempt_id), "")
        attempt = self.attempts.open(attempt_id, value, self.clock()) if value else None
        if attempt is None:
            raise PageProblem(
                f"This login is finished or older than {ATTEMPT_SECONDS // 60} minutes, or the browser does not accept "
                "cookies.",
                reason="no_attempt",
            )
        return attempt, authorization_request.read(attempt.parameters, self.registry, lambda subject: subject)

    def _require_own_host(self, http: Request) -> None:
        """Nobody checks who logs in here, so a site whose name was made to lead to this machine must not."""
        host = host_name(http)
        if not is_loopback(host) and host != urlsplit(self.registry.require_issuer().issuer).hostname:
            raise PageProblem(
                "The developer login is at the address of the issuer only.", reason="foreign_host", status=421
            )

    def _listed(self, request: AuthorizationRequest) -> Mapping[str, ListedUser]:
        """The users of the developer login, by id; raises PageProblem."""
        if self.developer is None or not self.policy.offers_developer_login:
            raise PageProblem("The developer login is not offered here.", reason="no_developer_login", status=404)
        listed = self.developer.users()
        if listed.problem:
            raise PageProblem(listed.problem, reason="users_file", status=500, client_id=request.client.client_id)
        return listed.users

    async def _session(self, http: Request, *, idle_too: bool = False) -> Session | None:
        cookie = sent_cookies(http).get(self._cookies.session)
        return await self.sessions.of_cookie(cookie, idle_too=idle_too) if cookie else None

    def _sealed(self, attempt: PendingLogin) -> str:
        cookies = self._cookies
        return cookies.set(cookies.attempt(attempt.id), self.attempts.seal(attempt, self.clock()), ATTEMPT_SECONDS)

    def _forgotten(self, http: Request, kept: str = "") -> list[str]:
        """Set-Cookie headers that delete the oldest attempts, so that there is room for another one."""
        cookies = self._cookies
        sent = cookies.attempts(sent_cookies(http))
        return [cookies.delete(cookies.attempt(old)) for old in self.attempts.excess(sent, self.clock(), kept)]

    # Pages

    def _page(self, page: Page, request: AuthorizationRequest, status: int = HTTPStatus.OK) -> Response:
        return page_response(page, status, redirect_uri=request.target.redirect_uri)

    async def _consent_page(
        self, request: AuthorizationRequest, attempt: PendingLogin, session: Session, delegated: DelegatedAccess
    ) -> ConsentPage:
        known = await self.consents.known(request.client, delegated)
        roles_of = roles_of_user(self.registry, request.client, session, self.clock())
        return ConsentPage(
            action=self._path(f"consent/{attempt.id}"),
            csrf=attempt.csrf_token(*_shown(delegated)),
            application=_application(request),
            user=session.display_name,
            email=str(session.claims.get("email") or ""),
            login_path=self._path(f"login/{attempt.id}"),
            account_path=self._path("account"),
            openid_scopes=openid_on_page(delegated, known),
            apis=apis_on_page(self.registry, delegated.access, known, roles_of),
        )

    def _refusal_page(
        self, request: AuthorizationRequest, attempt: PendingLogin, session: Session, refusal: ShowRefusal
    ) -> Response:
        name = session.display_name
        if not refusal.missing:
            return self._not_admitted(request, attempt, name)
        page = NoAccessPage(
            action=self._path(f"consent/{attempt.id}"),
            csrf=attempt.csrf_token("back"),
            application=_application(request),
            user=name,
            subject=session.subject,
            login_path=self._path(f"login/{attempt.id}"),
            apis=apis_on_page(self.registry, refusal.missing),
        )
        return self._page(page, request, HTTPStatus.FORBIDDEN)

    def _not_admitted(self, request: AuthorizationRequest, attempt: PendingLogin, user: str) -> Response:
        page = NotAdmittedPage(
            action=self._path(f"consent/{attempt.id}"),
            csrf=attempt.csrf_token("back"),
            application=_application(request),
            user=user,
            login_path=self._path(f"login/{attempt.id}"),
            groups=request.login.allowed_groups or (),
        )
        return self._page(page, request, HTTPStatus.FORBIDDEN)

    @property
    def _cookies(self) -> Cookies:
        return Cookies.of(self.registry.require_issuer().issuer)

    def _path(self, page: str) -> str:
        return f"{urlsplit(self.registry.require_issuer().issuer).path}/{page}"


def _application(request: AuthorizationRequest) -> Application:
    return Application.of(request.client, request.target.redirect_uri)


def _shown(delegated: DelegatedAccess) -> tuple[str, ...]:
    """Everything that the consent page showed: a consent is to exactly that, by the user who saw it."""
    access = (f"{entry.resource_server} {' '.join(entry.scopes)}" for entry in delegated.access)
    return "consent", delegated.subject, delegated.client_uid_hash, " ".join(delegated.scopes), *access


def _require_token(accepted: bool, request: AuthorizationRequest) -> None:
    if not accepted:
        raise PageProblem(
            "The form is out of date, or did not come from its page.",
            reason="csrf",
            status=403,
            client_id=request.client.client_id,
        )


def _audited(step: Step) -> dict[str, Any]:
    fields: dict[str, Any] = {"client": step.request.client.client_id}
    if step.session is not None:
        fields |= {"subject": step.session.subject, "sid": step.session.sid}
    if isinstance(step.outcome, IssueCode | ShowConsent):
        delegated = step.outcome.delegated
        fields["scopes"] = [*delegated.scopes, *(scope for entry in delegated.access for scope in entry.scopes)]
    return fields
