"""Decides the next step of an authorization request: a page, a code or an error. It is pure: no I/O and no clock."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from scopewright.core.records.client import RequestedAccess
from scopewright.core.users import User
from scopewright.issuer.protocol.errors import AuthorizationErrorCode
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users.authorization_request import AuthorizationRequest
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.stored import DelegatedAccess, Session

ScopesOfUser = Callable[[RequestedAccess, User], frozenset[str]]
"""Returns the scopes that the user has through the client, of those that were asked for at one API."""


@dataclass(frozen=True, slots=True)
class ShowLogin:
    """A page on which the user logs in."""


@dataclass(frozen=True, slots=True)
class ShowRefusal:
    """A page that says why the user cannot go on, with a way back to the client (`access_denied`).

    `missing` are the scopes that the user lacks, by API; empty if the login policy of the client refuses the user.
    """

    reason: str
    missing: tuple[RequestedAccess, ...] = ()


@dataclass(frozen=True, slots=True)
class AskConsent:
    """The user may have all of `delegated`, but must have consented to it."""

    delegated: DelegatedAccess


@dataclass(frozen=True, slots=True)
class ShowConsent:
    """A page on which the user consents or refuses."""

    delegated: DelegatedAccess


@dataclass(frozen=True, slots=True)
class IssueCode:
    """A redirect to the client with a code."""

    delegated: DelegatedAccess


@dataclass(frozen=True, slots=True)
class SendError:
    """A redirect to the client with an error."""

    error: AuthorizationErrorCode
    description: str


def decide(
    request: AuthorizationRequest,
    session: Session | None,
    policy: LoginPolicy,
    scopes_of: ScopesOfUser,
    now: float,
    *,
    fresh: bool,
) -> ShowLogin | ShowRefusal | AskConsent | SendError:
    """Decide everything but consent. `fresh`: the session began with a login for this very request.

    A login is needed without a session, with `prompt=login` or `select_account`, and if the last one is older than
    `max_age`: then only a fresh one is enough.
    """
    if session is None or not (fresh or _is_recent_enough(request, session, now)):
        if request.interactive:
            return ShowLogin()
        return SendError("login_required", "the user is not logged in, or the login is too old")
    if request.hinted_subject and request.hinted_subject != session.subject:
        return SendError("login_required", "another user than that of id_token_hint is logged in")
    if reason := policy.refusal_of(request.login, session):
        return _refused(request, ShowRefusal(reason))
    granted = _granted(request, session, scopes_of)
    if request.access and not granted:
        reason = "You have no access to what the application asks for."
        return _refused(request, ShowRefusal(reason, missing=request.access))
    return AskConsent(
        DelegatedAccess(
            client_id=request.client.client_id,
            client_uid_hash=request.client.uid_hash,
            sid=session.sid,
            subject=session.subject,
            scopes=request.scopes,
            access=granted,
            jkt=request.dpop_jkt,
        )
    )


def after_consent(
    request: AuthorizationRequest, asked: AskConsent, *, covered: bool
) -> ShowConsent | IssueCode | SendError:
    """Decide about consent. `covered`: an earlier one covers all of it.

    A native application never goes without the page: any program of the user's machine can send its request
    (RFC 8252 §8.6).
    """
    if request.is_native and not request.interactive:
        return SendError("interaction_required", "a native application needs the user's confirmation each time")
    if "consent" in request.prompt or request.is_native or not (covered or skips_consent(request)):
        if request.interactive:
            return ShowConsent(asked.delegated)
        return SendError("consent_required", "the user has not consented to this access")
    return IssueCode(asked.delegated)


def skips_consent(request: AuthorizationRequest) -> bool:
    """Whether no consent is needed, whatever the user has consented to before."""
    return request.login.consent == "Skip" and not request.is_native


def scopes_of_user(request: AuthorizationRequest, registry: Registry, now: float) -> ScopesOfUser:
    """Look up what a user has through the client of the request, from memory."""

    def scopes_of(requested: RequestedAccess, user: User) -> frozenset[str]:
        server = registry.server_of(requested)
        if server is None:
            return frozenset()
        return frozenset(registry.user_access(request.client, requested, server, user, now).scope_ends)

    return scopes_of


def must_authenticate(request: AuthorizationRequest, session: Session | None, now: float) -> bool:
    """Whether the user must prove again who they are: a login that a provider remembers is not enough."""
    if "login" in request.prompt or request.max_age == 0:  # both mean the same (OpenID Connect Core §3.1.2.1)
        return True
    return session is not None and request.max_age is not None and now - session.auth_time > request.max_age


def _is_recent_enough(request: AuthorizationRequest, session: Session, now: float) -> bool:
    return "select_account" not in request.prompt and not must_authenticate(request, session, now)


def _refused(request: AuthorizationRequest, page: ShowRefusal) -> ShowRefusal | SendError:
    return page if request.interactive else SendError("access_denied", "the user may not use this application")


def _granted(request: AuthorizationRequest, session: Session, scopes_of: ScopesOfUser) -> tuple[RequestedAccess, ...]:
    user = User(session.subject, session.groups)
    granted = []
    for asked in request.access:
        held = scopes_of(asked, user)
        if scopes := tuple(s for s in asked.scopes if s in held):
            granted.append(replace(asked, scopes=scopes))
    return tuple(granted)
