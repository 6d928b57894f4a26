"""The account page: the user's logins and what they have allowed, with buttons that end both."""

import hmac
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.core.records.client import RequestedAccess
from scopewright.core.users import OPENID_SCOPES
from scopewright.issuer.observability.user_events import UserEvent
from scopewright.issuer.protocol.request import Form, parameter
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users import texts
from scopewright.issuer.users.application import UserLog
from scopewright.issuer.users.browser_request import own_form, sent_cookies
from scopewright.issuer.users.consent_view import apis_on_page
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.cookies import Cookies
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.issuer.users.own_forms import csrf_token, require_csrf_token
from scopewright.issuer.users.page_values import Application, ScopeOnPage
from scopewright.issuer.users.pages import AccountPage, ConsentOnPage, LoggedOutPage, LoginOnPage, NotLoggedInPage
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.responses import page_response, redirect
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Session
from scopewright.issuer.users.user_record import Consent

_FORM: Final = "account"
Done = Literal["ended", "withdrawn"]
_DONE: Final[tuple[Done, ...]] = ("ended", "withdrawn")


@dataclass(frozen=True, slots=True)
class Account:
    registry: Registry
    sessions: UserSessions
    consents: Consents
    log: UserLog

    def routes(self) -> list[Route]:
        return [
            Route("/account", self.show, methods=["GET"]),
            Route("/account", self.change, methods=["POST"]),
        ]

    async def show(self, http: Request) -> Response:
        cookie, session = await self._session(http)
        if session is None:
            return page_response(NotLoggedInPage())
        logins = await self.sessions.of_user(session.subject)
        page = AccountPage(
            action=self._path,
            csrf=csrf_token(cookie, _FORM),
            user=session.display_name,
            subject=session.subject,
            email=str(session.claims.get("email") or ""),
            groups=session.groups,
            logins=tuple(
                LoginOnPage(
                    login.sid,
                    login.auth_time,
                    login.seen_time,
                    current=login.sid in session.sids,
                    provider=self._provider_of(login),
                )
                for login in sorted(logins, key=lambda login: (login.sid != session.sid, -login.auth_time))
            ),
            consents=await self._consents(session.subject),
            done=_done(http.query_params.get("done", ""), cookie),
        )
        return page_response(page)

    async def change(self, http: Request) -> Response:
        """What the button says. Each is about the user of this session only."""
        form = await own_form(http)
        cookie, session = await self._session(http)
        if session is None:
            return page_response(NotLoggedInPage())
        require_csrf_token(parameter(form, "csrf"), cookie, _FORM)
        if "everywhere" in form:
            await self.sessions.end_user(session.subject)
            self._audit(http, "logout", "ended_everywhere", session)
            return self._logged_out()
        if sid := parameter(form, "end"):
            return await self._end(http, session, sid, cookie)
        return await self._withdraw(http, session, form, cookie)

    async def _end(self, http: Request, session: Session, sid: str, cookie: str) -> Response:
        """End one login of the user; of a `sid` that is another user's, or has ended, nothing."""
        logins = await self.sessions.of_user(session.subject)
        if any(login.sid == sid for login in logins):
            await self.sessions.end(sid, session.subject)
            self._audit(http, "logout", "ended", session, sid=sid)
        return self._logged_out() if sid == session.sid else self._back("ended", cookie)

    async def _withdraw(self, http: Request, session: Session, form: Form, cookie: str) -> Response:
        """End what a client may do, and what an earlier client of its name might. Nothing of a client that has nothing:
        each withdrawal takes room in the revocation record.
        """
        client_id = parameter(form, "withdraw")
        if not client_id:
            raise PageProblem("The form has no button.", reason="no_button")
        given = await self.consents.of_user(session.subject)
        hashes = {consent.client_uid_hash for consent in given if consent.client_id == client_id}
        client = self.registry.clients.get(client_id)
        if client is not None and client.uid_hash in await self.consents.refreshed_by(session.subject):
            hashes.add(client.uid_hash)
        for uid_hash in sorted(hashes):
            await self.consents.withdraw(session.subject, uid_hash)
        if hashes:
            self._audit(http, "consent", "withdrawn", session, client=client_id)
        return self._back("withdrawn", cookie)

    async def _consents(self, subject: str) -> tuple[ConsentOnPage, ...]:
        """By client, in the order of their ids. A client whose `consent` is Skip has refresh tokens only."""
        by_client = defaultdict[str, list[Consent]](list)
        hashes = set(await self.consents.refreshed_by(subject))
        for consent in await self.consents.of_user(subject):
            by_client[consent.client_id].append(consent)
            hashes.discard(consent.client_uid_hash)
        if hashes:
            by_client.update({c.client_id: [] for c in self.registry.clients if c.uid_hash in hashes})
        return tuple(self._of_client(client_id, given) for client_id, given in sorted(by_client.items()))

    def _of_client(self, client_id: str, given: list[Consent]) -> ConsentOnPage:
        allowed = {scope for consent in given if not consent.resource_server for scope in consent.scopes}
        openid = (ScopeOnPage(scope) for scope in OPENID_SCOPES if scope in allowed)
        access = (RequestedAccess(c.resource_server, c.scopes) for c in given if c.resource_server)
        return ConsentOnPage(Application(client_id), tuple(openid), apis_on_page(self.registry, access))

    def _provider_of(self, session: Session) -> str:
        """The display name; empty if the provider was deleted."""
        if session.provider == DEVELOPER:
            return texts.ACCOUNT_DEVELOPER
        provider = self.registry.providers.find(session.provider, session.provider_uid)
        return provider.record.display_name if provider else ""

    async def _session(self, http: Request) -> tuple[str, Session | None]:
        cookie = sent_cookies(http).get(self._cookies.session, "")
        return cookie, await self.sessions.of_cookie(cookie)

    def _back(self, done: Done, cookie: str) -> Response:
        return redirect(f"{self._path}?done={_proof_of(done, cookie)}")

    def _logged_out(self) -> Response:
        return page_response(LoggedOutPage(), set_cookies=[self._cookies.delete(self._cookies.session)])

    def _audit(self, http: Request, event: UserEvent, result: str, session: Session, **more: str) -> None:
        self.log(http, event, result, {"subject": session.subject, "sid": session.sid, **more})

    @property
    def _cookies(self) -> Cookies:
        return Cookies.of(self.registry.require_issuer().issuer)

    @property
    def _path(self) -> str:
        return f"{urlsplit(self.registry.require_issuer().issuer).path}/account"


def _proof_of(done: Done, cookie: str) -> str:
    """For the URL: a link of another site must not claim that something was done."""
    return csrf_token(cookie, f"{_FORM} {done}")


def _done(proof: str, cookie: str) -> Done | Literal[""]:
    return next((done for done in _DONE if hmac.compare_digest(proof.encode(), _proof_of(done, cookie).encode())), "")
