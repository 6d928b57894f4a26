"""The pages about what a user may do: consent, no access, and a user whom the client does not admit."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response

from scopewright.issuer.users.consent_view import apis_on_page, openid_on_page, roles_of_user
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.flow import ShowRefusal
from scopewright.issuer.users.login_policy import LoginPolicy, ProvenUser
from scopewright.issuer.users.pages import ConsentPage, NoAccessPage, NotAdmittedPage
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext
from scopewright.issuer.users.stored import DelegatedAccess, Session


class NamedUser(ProvenUser, Protocol):
    @property
    def display_name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class DecisionPages:
    """Each page has a way back to the client, and a link to log in as another user."""

    context: StepContext
    consents: Consents
    policy: LoginPolicy

    async def consent(self, resumed: ResumedAttempt, session: Session, delegated: DelegatedAccess) -> Response:
        context, request, attempt = self.context, resumed.request, resumed.attempt
        known = await self.consents.known(request.client, delegated)
        roles_of = roles_of_user(context.registry, request.client, session, context.clock())
        page = ConsentPage(
            action=context.consent_path(attempt),
            csrf=attempt.csrf_token(*shown_on_consent(delegated)),
            application=resumed.application,
            user=session.display_name,
            email=str(session.claims.get("email") or ""),
            login_path=context.login_path(attempt, another_user=True),
            account_path=context.path("account"),
            openid_scopes=openid_on_page(delegated, known),
            apis=apis_on_page(context.registry, delegated.access, known, roles_of),
        )
        return context.page(page, request)

    def refusal(self, resumed: ResumedAttempt, session: Session, refusal: ShowRefusal) -> Response:
        if not refusal.missing:
            return self.not_admitted(resumed, session)
        context, attempt = self.context, resumed.attempt
        page = NoAccessPage(
            action=context.consent_path(attempt),
            csrf=attempt.csrf_token("back"),
            application=resumed.application,
            user=session.display_name,
            subject=session.subject,
            login_path=context.login_path(attempt, another_user=True),
            apis=apis_on_page(context.registry, refusal.missing),
        )
        return context.page(page, resumed.request, HTTPStatus.FORBIDDEN)

    def not_admitted(self, resumed: ResumedAttempt, user: NamedUser) -> Response:
        """The groups of the client are named only to a user who lacks them."""
        context, attempt, login = self.context, resumed.attempt, resumed.request.login
        by_provider = self.policy.refusal_of_provider(login, user)
        page = NotAdmittedPage(
            action=context.consent_path(attempt),
            csrf=attempt.csrf_token("back"),
            application=resumed.application,
            user=user.display_name,
            login_path=context.login_path(attempt, another_user=True),
            groups=() if by_provider else login.allowed_groups or (),
        )
        return context.page(page, resumed.request, HTTPStatus.FORBIDDEN)


def shown_on_consent(delegated: DelegatedAccess) -> tuple[str, ...]:
    """Everything that the consent page showed: a consent is to exactly that, by the user who saw it."""
    access = (f"{entry.resource_server} {' '.join(entry.scopes)}" for entry in delegated.access)
    return "consent", delegated.subject, delegated.client_uid_hash, " ".join(delegated.scopes), *access
