"""The answer of an OpenID provider: the browser returns to `/callback/<provider>` (RFC 6749 §4.1.2).

The answer is of use only to the browser that began the attempt in `state`, only at the provider to which the attempt
was sent, and only once.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.issuer.protocol.request import decode_form
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.attempts import attempt_of_state
from scopewright.issuer.users.completed_login import CompletedLogin
from scopewright.issuer.users.failed_login import FailedLogin
from scopewright.issuer.users.login import offered_provider
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.pool import PoolExhausted
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.step_context import StepContext
from scopewright.issuer.users.upstream_visit import UpstreamVisits, bound_to
from scopewright.upstream import UpstreamFailed


@dataclass(frozen=True, slots=True)
class Callback:
    context: StepContext
    policy: LoginPolicy
    visits: UpstreamVisits
    completed: CompletedLogin
    failed: FailedLogin

    def routes(self) -> list[Route]:
        return [
            Route("/callback/{provider}", self.receive, methods=["GET"]),
            Route("/callback/{provider}", self.refuse_form, methods=["POST"]),
        ]

    async def receive(self, http: Request) -> Response:
        """`state` is checked before anything else of the answer is believed, its error too."""
        parameters = _parameters(http)
        state = parameters.get("state", "")
        resumed = await self.context.resume_attempt(http, attempt_of_state(state))
        provider = offered_provider(self.context, self.policy, resumed, http.path_params["provider"])
        if not resumed.attempt.accepts_state(state, bound_to(provider)):
            raise PageProblem(
                "This answer of the login does not belong to this attempt, or was used already.",
                reason="state",
                client_id=resumed.client_id,
            )
        session = await self.context.session(http)
        try:
            user = await self.visits.redeem(resumed, provider, session, parameters)
        except (LoginRefused, UpstreamFailed, PoolExhausted) as failure:
            return self.failed.answer(http, resumed, provider, failure)
        return await self.completed.answer(http, resumed, user)

    async def refuse_form(self, http: Request) -> Response:
        """A cross-site POST carries no Lax cookie, so the attempt would not be found."""
        raise PageProblem(
            "The provider sent its answer as a form. It must redirect with a query (response_mode=query).",
            reason="form_post",
        )


def _parameters(http: Request) -> dict[str, str]:
    """Those of the query; raises PageProblem if one is repeated."""
    form = decode_form(http.scope["query_string"])
    if any(len(values) > 1 for values in form.values()):
        raise PageProblem("The answer of the provider repeats a parameter.", reason="repeated_parameter")
    return {name: values[0] for name, values in form.items()}
