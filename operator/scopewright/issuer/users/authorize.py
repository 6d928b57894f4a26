"""The authorization endpoint, and the decisions that follow a login.

    /authorize ──▶ /login/<attempt> ──▶ /consent/<attempt> ──▶ redirect to the client

Each step reads the request again, from its sealed cookie or as it was pushed (RFC 9126), and validates it against the
records as they are now.
"""

from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.core.revocation_keys import uid_hash
from scopewright.issuer.observability.user_events import NO_SCOPES, POLICY
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.state.entries import Client
from scopewright.issuer.users import authorization_request, flow
from scopewright.issuer.users.attempts import PendingLogin, TooLarge
from scopewright.issuer.users.authorization_request import AuthorizationRequest, HintedSubject
from scopewright.issuer.users.browser_request import authorization_parameters, own_form
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.decision_pages import DecisionPages, shown_on_consent
from scopewright.issuer.users.flow import IssueCode, SendError, ShowConsent, ShowLogin, ShowRefusal
from scopewright.issuer.users.login import CHOOSE
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.push_bounds import BroughtBounds
from scopewright.issuer.users.pushed import FoundPushed, names_pushed
from scopewright.issuer.users.responses import code_url, error_url, redirect, with_cookies
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext, forged_form
from scopewright.issuer.users.stored import Code, DelegatedAccess, Session

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
    context: StepContext
    consents: Consents
    codes: Codes
    policy: LoginPolicy
    pages: DecisionPages
    hinted_subject: HintedSubject
    brought: BroughtBounds

    def routes(self) -> list[Route]:
        return [
            Route("/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/consent/{attempt}", self.go_on, methods=["GET"]),
            Route("/consent/{attempt}", self.answer_consent, methods=["POST"]),
        ]

    # Steps

    async def authorize(self, http: Request) -> Response:
        """A cross-site POST carries no Lax cookie, so it only begins an attempt, and the GET that follows decides."""
        form = await authorization_parameters(http)
        request = await self._requested(form)
        if http.method == "POST":
            return await self._begin(http, form, request, "consent")
        step = await self._step(http, request, None)
        if isinstance(step.outcome, IssueCode | SendError):
            return await self._answer(http, step)
        return await self._begin(http, form, request, "login" if isinstance(step.outcome, ShowLogin) else "consent")

    async def go_on(self, http: Request) -> Response:
        """Continue after a login, or show what the user must decide. An attempt that began by POST, where no cookie
        came with it, makes room for itself here.
        """
        resumed = await self.context.resume(http)
        step = await self._step(http, resumed.request, resumed.attempt)
        return with_cookies(
            await self._next(http, resumed, step), self.context.forgotten(http, kept=resumed.attempt.id)
        )

    async def _next(self, http: Request, resumed: ResumedAttempt, step: Step) -> Response:
        if isinstance(step.outcome, ShowLogin):
            return redirect(self.context.login_path(resumed.attempt))
        if isinstance(step.outcome, ShowConsent) and step.session is not None:
            return await self.pages.consent(resumed, step.session, step.outcome.delegated)
        if isinstance(step.outcome, ShowRefusal) and step.session is not None:
            reason = NO_SCOPES if step.outcome.missing else POLICY
            self.context.log(http, "access", "refused", {**_audited(step), "reason": reason})
            return self.pages.refusal(resumed, step.session, step.outcome)
        return await self._answer(http, step)

    async def answer_consent(self, http: Request) -> Response:
        resumed = await self.context.resume(http)
        attempt = resumed.attempt
        form = await own_form(http)
        step = await self._step(http, resumed.request, attempt)
        token, decision, outcome = parameter(form, "csrf"), parameter(form, "decision"), step.outcome
        delegated = outcome.delegated if isinstance(outcome, ShowConsent | IssueCode) else None
        consents = delegated is not None and attempt.accepts(token, *shown_on_consent(delegated))
        if decision in ("deny", "back") and (consents or attempt.accepts(token, "back")):
            self.context.log(http, "consent", "denied", _audited(step))
            denied = SendError("access_denied", "the user refused, or may not use this application")
            return await self._answer(http, replace(step, outcome=denied))
        if isinstance(outcome, ShowLogin):
            return redirect(f"{self.context.login_path(attempt)}?{CHOOSE}")
        if delegated is None:
            return redirect(self.context.consent_path(attempt))
        if not consents or decision != "allow":
            raise forged_form(resumed.request)
        await self.consents.remember(resumed.request.client, delegated)
        self.context.log(http, "consent", "allowed", _audited(step))
        return await self._answer(http, replace(step, outcome=IssueCode(delegated)))

    # Parts of a step

    async def _requested(self, form: Form) -> AuthorizationRequest:
        """With a pushed request, all other parameters but `client_id` are ignored (RFC 9126 §4)."""
        registry = self.context.registry
        if not names_pushed(form):
            return authorization_request.read(form, registry, self.hinted_subject)
        client, _ = authorization_request.client_of(form, registry)
        found = await self.context.pushed.of_browser(form, client.client_id)
        return self.context.read_pushed(found)

    async def _step(self, http: Request, request: AuthorizationRequest, attempt: PendingLogin | None) -> Step:
        session, now = await self.context.session(http), self.context.clock()
        fresh = session is not None and attempt is not None and session.sid == attempt.sid
        scopes_of = flow.scopes_of_user(request, self.context.registry, now)
        decided = flow.decide(request, session, self.policy, scopes_of, now, fresh=fresh)
        if not isinstance(decided, flow.AskConsent):
            return Step(request, session, attempt, decided)
        covered = not flow.skips_consent(request) and await self.consents.covers(request.client, decided.delegated)
        outcome = flow.after_consent(request, decided, covered=covered)
        return Step(request, session, attempt, outcome)

    async def _answer(self, http: Request, step: Step) -> Response:
        """A redirect to the client, and the end of the attempt."""
        issuer, target = self.context.registry.require_issuer().issuer, step.request.target
        ended = [self.context.ended(step.attempt)] if step.attempt else []
        if isinstance(step.outcome, IssueCode):
            code = await self._issue(step.request, step.outcome.delegated)
            self.context.log(http, "authorize", "issued", _audited(step))
            return redirect(code_url(target, issuer, code), ended)
        error = step.outcome if isinstance(step.outcome, SendError) else SendError("server_error", "unexpected step")
        if step.request.pushed is not None:
            await self.context.pushed.end(step.request.pushed)
            self.brought.remove(step.request.client, step.request.pushed.handle)
        self.context.log(http, "authorize", error.error, _audited(step))
        return redirect(error_url(target, issuer, error.error, error.description), ended)

    async def _issue(self, request: AuthorizationRequest, delegated: DelegatedAccess) -> str:
        """One code for a pushed request: the write that stores the code uses the request up."""
        servers = {access.resource_server: self.context.registry.server_of(access) for access in delegated.access}
        apis = {name: uid_hash(server.record.uid) for name, server in servers.items() if server is not None}
        delegated = replace(delegated, apis=apis)
        code = Code(delegated, request.target.redirect_uri, request.code_challenge, request.nonce)
        if request.pushed is None:
            return await self.codes.issue(code)
        issued = await self.context.pushed.use_up(request.pushed, lambda used: self.codes.issue(code, used))
        self.brought.remove(request.client, request.pushed.handle)
        return issued

    async def _keep(self, http: Request, client: Client, pushed: FoundPushed) -> None:
        peer = http.client.host if http.client else ""
        if displaced := self.brought.add(client, peer, pushed.handle):
            await self.context.pushed.forget(displaced)
        await self.context.pushed.keep(pushed)

    async def _begin(self, http: Request, form: Form, request: AuthorizationRequest, page: str) -> Response:
        attempts, now = self.context.attempts, self.context.clock()
        if request.pushed is not None:
            await self._keep(http, request.client, request.pushed)
            attempt = attempts.begin({}, now, request.pushed.handle)
        else:
            attempt = attempts.begin(authorization_request.parameters_to_keep(form, request), now)
        try:
            sealed = self.context.sealed(attempt)
        except TooLarge:
            raise authorization_request.too_large(request) from None
        return redirect(
            self.context.path(f"{page}/{attempt.id}"), [*self.context.forgotten(http, size=len(sealed)), sealed]
        )


def _audited(step: Step) -> dict[str, Any]:
    fields: dict[str, Any] = {"client": step.request.client.client_id}
    if step.session is not None:
        fields |= {"subject": step.session.subject, "sid": step.session.sid}
    if isinstance(step.outcome, IssueCode | ShowConsent):
        delegated = step.outcome.delegated
        fields["scopes"] = [*delegated.scopes, *(scope for entry in delegated.access for scope in entry.scopes)]
    return fields
