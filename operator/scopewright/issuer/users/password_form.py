"""The page of a static provider: user name and password."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from scopewright.core.providers.password_hash import MAX_PASSWORD
from scopewright.issuer.protocol.errors import whole_seconds
from scopewright.issuer.protocol.request import parameter
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.login import PasswordLogins, PasswordsBusy, TooManyAttempts, WrongPassword
from scopewright.issuer.upstream.passwords import MAX_USERNAME
from scopewright.issuer.users.browser_request import own_form
from scopewright.issuer.users.completed_login import CompletedLogin
from scopewright.issuer.users.login_pages import PasswordPage, PasswordProblem
from scopewright.issuer.users.login_policy import way_of
from scopewright.issuer.users.pool import Places, PoolExhausted
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext

BUSY_SECONDS: Final = 2

_STATUS: Final[dict[PasswordProblem, HTTPStatus]] = {
    "": HTTPStatus.OK,
    "wrong": HTTPStatus.FORBIDDEN,
    "too_many": HTTPStatus.TOO_MANY_REQUESTS,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class PasswordForm:
    context: StepContext
    passwords: PasswordLogins
    completed: CompletedLogin
    places: Places

    def show(
        self, resumed: ResumedAttempt, provider: Provider, username: str = "", problem: PasswordProblem = ""
    ) -> Response:
        """After a wrong password the user name stays, and the password does not."""
        attempt = resumed.attempt
        page = PasswordPage(
            action=self.context.login_path(attempt, provider.name),
            csrf=attempt.csrf_token("password", provider.uid),
            back_action=self.context.consent_path(attempt),
            back_csrf=attempt.csrf_token("back"),
            application=resumed.application,
            provider=provider.record.display_name,
            username=username[:MAX_USERNAME],
            problem=problem,
        )
        return self.context.page(page, resumed.request, _STATUS[problem])

    async def answer(self, http: Request, resumed: ResumedAttempt, provider: Provider) -> Response:
        """One page for an unknown user and a wrong password: it does not say who has an account."""
        form = await own_form(http)
        resumed.require_token(parameter(form, "csrf"), "password", provider.uid)
        username, password = parameter(form, "username"), parameter(form, "password")
        if not 0 < len(username) <= MAX_USERNAME or not 0 < len(password) <= MAX_PASSWORD:
            return self._refused(http, resumed, provider, username, "wrong")
        address = http.client.host if http.client else ""
        try:
            with self.places.one():
                user = await self.passwords.verify(provider, username, password, address)
        except WrongPassword:
            return self._refused(http, resumed, provider, username, "wrong")
        except TooManyAttempts as refused:
            return self._refused(http, resumed, provider, username, "too_many", refused.retry_after)
        except (PasswordsBusy, PoolExhausted):
            return self._refused(http, resumed, provider, username, "busy", BUSY_SECONDS)
        return await self.completed.answer(http, resumed, user)

    def _refused(
        self,
        http: Request,
        resumed: ResumedAttempt,
        provider: Provider,
        username: str,
        problem: PasswordProblem,
        retry_after: float = 0,
    ) -> Response:
        """The audit line has no user name: some users type their password into that field."""
        audited = {"client": resumed.client_id, "provider": provider.name, "way": way_of(provider.name, provider)}
        audited["reason"] = f"password_{problem}"
        result = "temporarily_unavailable" if problem == "busy" else "access_denied"
        self.context.log(http, "login", result, audited)
        response = self.show(resumed, provider, username, problem)
        if retry_after:
            response.headers["retry-after"] = whole_seconds(retry_after)
        return response
