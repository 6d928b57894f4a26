"""Where a user logs in: the only provider of the client, one of several, or the developer login.

/login/<attempt>             the developer login, the page or the redirect of the only provider, or a choice
/login/<attempt>/<provider>  the redirect to an OpenID provider, or the password form of a static one
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.users.developer_form import DeveloperForm
from scopewright.issuer.users.failed_login import FailedLogin
from scopewright.issuer.users.login_pages import ProviderChoicePage, ProviderOnPage
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.password_form import PasswordForm
from scopewright.issuer.users.pool import PoolExhausted
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.responses import redirect
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext, wants_another_user
from scopewright.issuer.users.upstream_visit import UpstreamVisits
from scopewright.upstream import UpstreamFailed

CHOOSE: Final = "choose=yes"
"""Query of `/login/<attempt>` after a form: a page, because its policy allows no redirect to a provider."""


@dataclass(frozen=True, slots=True)
class LoginPages:
    context: StepContext
    policy: LoginPolicy
    developer: DeveloperForm | None
    passwords: PasswordForm
    visits: UpstreamVisits
    failed: FailedLogin

    def routes(self) -> list[Route]:
        return [
            Route("/login/{attempt}", self.show, methods=["GET"]),
            Route("/login/{attempt}", self.answer_developer, methods=["POST"]),
            Route("/login/{attempt}/{provider}", self.show_provider, methods=["GET"]),
            Route("/login/{attempt}/{provider}", self.answer_password, methods=["POST"]),
        ]

    async def show(self, http: Request) -> Response:
        resumed = await self.context.resume(http)
        if not resumed.request.interactive:
            return self._decided(resumed)
        if developer := self._developer():
            return developer.show(http, resumed)
        offered = self._offered(resumed)
        only = offered[0] if len(offered) == 1 else None
        if only is None or (only.record.oidc is not None and http.query_params.get("choose") == "yes"):
            return self._choice(resumed, offered, another_user=wants_another_user(http))
        return await self._show_provider(http, resumed, only)

    async def answer_developer(self, http: Request) -> Response:
        resumed = await self.context.resume(http)
        developer = self._developer()
        if developer is None:
            raise PageProblem(
                "The developer login is not offered here.",
                reason="no_developer_login",
                status=404,
                way_back=self.context.way_back(resumed),
            )
        return await developer.answer(http, resumed)

    async def show_provider(self, http: Request) -> Response:
        resumed = await self.context.resume(http)
        if not resumed.request.interactive:
            return self._decided(resumed)
        return await self._show_provider(http, resumed, self._of_path(http, resumed))

    async def answer_password(self, http: Request) -> Response:
        resumed = await self.context.resume(http)
        provider = self._of_path(http, resumed)
        if provider.record.oidc is not None:
            raise PageProblem(
                "This login has no password here.",
                reason="no_password",
                status=404,
                way_back=self.context.way_back(resumed),
            )
        return await self.passwords.answer(http, resumed, provider)

    async def _show_provider(self, http: Request, resumed: ResumedAttempt, provider: Provider) -> Response:
        if provider.record.oidc is None:
            return self.passwords.show(resumed, provider, resumed.request.login_hint)
        session, another_user = await self.context.session(http), wants_another_user(http)
        try:
            url = await self.visits.authorization_url(resumed, provider, session, another_user=another_user)
        except (UpstreamFailed, PoolExhausted) as failure:
            return self.failed.answer(http, resumed, provider, failure)
        return redirect(url)

    def _decided(self, resumed: ResumedAttempt) -> Response:
        """With `prompt=none` no user logs in, whatever path of the attempt is opened."""
        return redirect(self.context.consent_path(resumed.attempt))

    def _choice(self, resumed: ResumedAttempt, offered: tuple[Provider, ...], *, another_user: bool) -> Response:
        attempt, path = resumed.attempt, self.context.login_path
        page = ProviderChoicePage(
            action=self.context.consent_path(attempt),
            csrf=attempt.csrf_token("back"),
            application=resumed.application,
            providers=tuple(
                ProviderOnPage(each.name, each.record.display_name, path(attempt, each.name, another_user=another_user))
                for each in offered
            ),
        )
        return self.context.page(page, resumed.request)

    def _developer(self) -> DeveloperForm | None:
        return self.developer if self.policy.offers_developer_login else None

    def _offered(self, resumed: ResumedAttempt) -> tuple[Provider, ...]:
        """The providers of the client; raises PageProblem if there are none."""
        offered = self.policy.offered(resumed.request.login)
        if not offered:
            raise PageProblem(
                self.policy.missing_provider(resumed.request.login),
                reason="no_provider",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                client_id=resumed.client_id,
                way_back=self.context.way_back(resumed),
            )
        return offered

    def _of_path(self, http: Request, resumed: ResumedAttempt) -> Provider:
        return offered_provider(self.context, self.policy, resumed, http.path_params["provider"])


def offered_provider(context: StepContext, policy: LoginPolicy, resumed: ResumedAttempt, name: str) -> Provider:
    """Raises PageProblem unless the client's users may log in at the provider, which is in force."""
    for provider in policy.offered(resumed.request.login):
        if provider.name == name:
            return provider
    raise PageProblem(
        "The application does not offer this login, or its provider is not in use any more.",
        reason="provider_not_offered",
        status=404,
        client_id=resumed.client_id,
        way_back=context.way_back(resumed),
    )
