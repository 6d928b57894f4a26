"""The page of the developer login: the users of `users.yaml` to choose from, without a password."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from scopewright.issuer.protocol.request import parameter
from scopewright.issuer.users.browser_request import host_name, own_form
from scopewright.issuer.users.completed_login import CompletedLogin
from scopewright.issuer.users.developer_login import DeveloperLogin, ListedUser
from scopewright.issuer.users.login_pages import DeveloperLoginPage, DeveloperUser
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext
from scopewright.origins import is_loopback


@dataclass(frozen=True, slots=True)
class DeveloperForm:
    context: StepContext
    developer: DeveloperLogin
    completed: CompletedLogin

    def show(self, http: Request, resumed: ResumedAttempt) -> Response:
        self._require_own_host(http)
        attempt, request = resumed.attempt, resumed.request
        users = sorted(self._listed(resumed).values(), key=lambda user: request.login_hint not in (user.id, user.email))
        page = DeveloperLoginPage(
            action=self.context.login_path(attempt),
            csrf=attempt.csrf_token("login"),
            application=resumed.application,
            users=tuple(DeveloperUser(u.id, u.name or u.id, u.email or "", tuple(u.groups)) for u in users),
        )
        return self.context.page(page, request)

    async def answer(self, http: Request, resumed: ResumedAttempt) -> Response:
        self._require_own_host(http)
        form = await own_form(http)
        resumed.require_token(parameter(form, "csrf"), "login")
        user = self._listed(resumed).get(parameter(form, "user"))
        if user is None:
            raise PageProblem("This user is not in users.yaml any more.", reason="unknown_user")
        return await self.completed.answer(http, resumed, user.authenticated(int(self.context.clock())))

    def _require_own_host(self, http: Request) -> None:
        """No password is checked here, so refuse sites whose names lead to this machine (DNS rebinding)."""
        host = host_name(http)
        if not is_loopback(host) and host != urlsplit(self.context.registry.require_issuer().issuer).hostname:
            raise PageProblem(
                "The developer login is at the address of the issuer only.", reason="foreign_host", status=421
            )

    def _listed(self, resumed: ResumedAttempt) -> Mapping[str, ListedUser]:
        """The users of the file, by id; raises PageProblem."""
        listed = self.developer.users()
        if listed.problem:
            raise PageProblem(listed.problem, reason="users_file", status=500, client_id=resumed.client_id)
        return listed.users
