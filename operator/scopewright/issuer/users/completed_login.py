"""The end of a login at any provider: the policy of the client, a new session, and its cookie."""

from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from scopewright.issuer.observability.user_events import POLICY
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.decision_pages import DecisionPages
from scopewright.issuer.users.login_policy import LoginPolicy, way_of
from scopewright.issuer.users.responses import redirect
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext


@dataclass(frozen=True, slots=True)
class CompletedLogin:
    context: StepContext
    policy: LoginPolicy
    pages: DecisionPages

    async def answer(self, http: Request, resumed: ResumedAttempt, user: AuthenticatedUser) -> Response:
        """A new session with a new cookie begins, whatever cookie the browser had (session fixation)."""
        context, attempt = self.context, resumed.attempt
        provider = context.registry.providers.find(user.provider, user.provider_uid)
        audited = {"client": resumed.client_id, "subject": user.subject, "provider": user.provider}
        audited["way"] = way_of(user.provider, provider)
        if reason := self.policy.refusal_of(resumed.request.login, user):
            context.log(http, "login", "access_denied", {**audited, "reason": POLICY, "detail": reason})
            return self.pages.not_admitted(resumed, user)
        before = await context.session(http, idle_too=True)
        cookie, session = await context.sessions.begin(user, before)
        context.log(http, "login", "accepted", {**audited, "sid": session.sid, "groups": len(user.groups)})
        cookies = context.cookies
        set_cookies = [cookies.set(cookies.session, cookie), context.sealed(replace(attempt, sid=session.sid))]
        return redirect(context.consent_path(attempt), set_cookies)
