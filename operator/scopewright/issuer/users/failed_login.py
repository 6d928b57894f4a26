"""The page of a login that an OpenID provider has refused or not answered, and its audit line."""

import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from scopewright.issuer.observability.user_events import BUSY
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.login_pages import LoginFailedPage, LoginProblem, ProviderOnPage
from scopewright.issuer.users.login_policy import LoginPolicy, way_of
from scopewright.issuer.users.pool import PoolExhausted
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext
from scopewright.upstream import UpstreamFailed

RETRY_SECONDS: Final = 5

FailedVisit = LoginRefused | UpstreamFailed | PoolExhausted


@dataclass(frozen=True, slots=True)
class FailedLogin:
    context: StepContext
    policy: LoginPolicy

    def answer(self, http: Request, resumed: ResumedAttempt, provider: Provider, failure: FailedVisit) -> Response:
        """Nothing of the provider's answer is on the page: its id leads to the audit line."""
        error_id = secrets.token_hex(8)
        problem, reason, detail = _of(failure)
        unavailable = not isinstance(failure, LoginRefused)
        audited = {"client": resumed.client_id, "provider": provider.name, "way": way_of(provider.name, provider)}
        audited |= {"reason": reason, "error_id": error_id}
        if detail:
            audited["detail"] = detail
        self.context.log(http, "login", "temporarily_unavailable" if unavailable else "access_denied", audited)
        status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.FORBIDDEN
        response = self.context.page(self._page(resumed, provider, problem, error_id), resumed.request, status)
        if unavailable:
            response.headers["retry-after"] = str(RETRY_SECONDS)
        return response

    def _page(
        self, resumed: ResumedAttempt, provider: Provider, problem: LoginProblem, error_id: str
    ) -> LoginFailedPage:
        context, attempt = self.context, resumed.attempt
        others = (each for each in self.policy.offered(resumed.request.login) if each.name != provider.name)
        return LoginFailedPage(
            action=context.consent_path(attempt),
            csrf=attempt.csrf_token("back"),
            application=resumed.application,
            provider=provider.record.display_name,
            problem=problem,
            error_id=error_id,
            again_path=context.login_path(attempt, provider.name),
            login_path=context.login_path(attempt, another_user=True),
            others=tuple(
                ProviderOnPage(each.name, each.record.display_name, context.login_path(attempt, each.name))
                for each in others
            ),
        )


def _of(failure: FailedVisit) -> tuple[LoginProblem, str, str]:
    """The problem for the page; reason and detail for the audit log."""
    match failure:
        case LoginRefused():
            return failure.reason, failure.reason, failure.detail
        case UpstreamFailed():
            return "unavailable", failure.reason, failure.message
    return "busy", BUSY, ""
