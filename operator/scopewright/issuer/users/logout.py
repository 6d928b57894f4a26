"""The logout endpoint (OpenID Connect RP-Initiated Logout 1.0).

An ID token of a login in this very browser ends it at once. Everything else is a question to the user: a link or a form
of another site must not log anybody out. The browser leaves the issuer only to a registered URI of the client that the
ID token was issued to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scopewright.api import redirect_uris
from scopewright.issuer.protocol.request import Form, parameter, parse_form
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.id_token import IdTokenHint
from scopewright.issuer.users.application import UserLog
from scopewright.issuer.users.browser_request import form_body, own_form, sent_cookies
from scopewright.issuer.users.cookies import Cookies
from scopewright.issuer.users.own_forms import csrf_token, require_csrf_token
from scopewright.issuer.users.page_values import Application
from scopewright.issuer.users.pages import LoggedOutPage, LogoutPage
from scopewright.issuer.users.responses import page_response, redirect
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Session
from scopewright.rate_budget import Clock

_PARAMETERS: Final = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state")
"""The parameters that matter. `logout_hint`, `ui_locales` and unknown ones are ignored."""
_MAX_QUERY: Final = 7 * 1024
"""Characters of a query that the issuer accepts for certain."""
_FORM: Final = "logout"

ReadHint = Callable[[str, float], IdTokenHint | None]
"""Returns the content of an ID token of this issuer, expired or not, at a time; None if it is not one."""


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """`hint` and `client`, to which it was issued, are None unless the ID token is one of this issuer."""

    fields: dict[str, str]
    hint: IdTokenHint | None
    client: Client | None

    @property
    def application(self) -> Application | None:
        return Application.of(self.client) if self.client else None

    @property
    def post_logout_uri(self) -> str:
        """Where the browser may go after the logout; empty: nowhere."""
        wanted, client = self.fields.get("post_logout_redirect_uri", ""), self.client
        if not wanted or client is None or client.login is None or client.disabled:
            return ""
        registered = client.login.post_logout_redirect_uris
        return wanted if redirect_uris.is_registered(wanted, registered, public=client.public) else ""

    @property
    def target(self) -> str:
        """`post_logout_uri` with `state`, which is all that is added to it."""
        uri, state = self.post_logout_uri, self.fields.get("state", "")
        if not uri or not state:
            return uri
        separator = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
        return f"{uri}{separator}{urlencode({'state': state})}"


@dataclass(frozen=True, slots=True)
class Logout:
    registry: Registry
    sessions: UserSessions
    read_hint: ReadHint
    clock: Clock
    log: UserLog

    def routes(self) -> list[Route]:
        return [
            Route("/logout", self.show, methods=["GET"]),
            Route("/logout", self.receive, methods=["POST"]),
        ]

    async def show(self, http: Request) -> Response:
        """A client's request: end the login that its ID token names, or ask the user."""
        request = self._read(parse_form(http.scope["query_string"]))
        cookie = sent_cookies(http).get(self._cookies.session, "")
        session = await self.sessions.of_cookie(cookie, idle_too=True)
        if session is None:
            return self._logged_out(request, cookie)
        if request.hint is not None and request.hint.sid in session.sids:
            return await self._end(http, request, session, cookie)
        page = LogoutPage(
            action=self._path,
            csrf=csrf_token(cookie, _FORM),
            user=session.display_name,
            application=request.application,
            fields=request.fields if request.post_logout_uri else {},
        )
        return page_response(page, redirect_uri=request.post_logout_uri)

    async def receive(self, http: Request) -> Response:
        """The button of the page, or a client's request. No cookie comes with a form of another site, so the latter is
        repeated as GET.
        """
        form = parse_form(await form_body(http))
        if "csrf" not in form:
            return redirect(self._as_get(form))
        form = await own_form(http)
        cookie = sent_cookies(http).get(self._cookies.session, "")
        session = await self.sessions.of_cookie(cookie, idle_too=True)
        request = self._read(form)
        if session is None:
            return self._logged_out(request, cookie)
        require_csrf_token(parameter(form, "csrf"), cookie, _FORM)
        return await self._end(http, request, session, cookie)

    def _read(self, form: Form) -> LogoutRequest:
        """An ID token that was issued to another client than `client_id` says is ignored."""
        fields = {name: parameter(form, name) for name in _PARAMETERS if name in form}
        hint = self.read_hint(fields["id_token_hint"], self.clock()) if "id_token_hint" in fields else None
        if hint is not None and fields.get("client_id", hint.client_id) != hint.client_id:
            hint = None
        client = self.registry.clients.get(hint.client_id) if hint else None
        return LogoutRequest(fields, hint, client)

    def _as_get(self, form: Form) -> str:
        """Without what is too long for a URL: the user is asked, then."""
        fields = {name: parameter(form, name) for name in _PARAMETERS if name in form}
        query = urlencode(fields)
        return f"{self._path}?{query}" if query and len(query) <= _MAX_QUERY else self._path

    async def _end(self, http: Request, request: LogoutRequest, session: Session, cookie: str) -> Response:
        await self.sessions.end(session.sid, session.subject)
        client = {"client": request.client.client_id} if request.client else {}
        self.log(http, "logout", "ended", {"subject": session.subject, "sid": session.sid, **client})
        return self._logged_out(request, cookie)

    def _logged_out(self, request: LogoutRequest, cookie: str) -> Response:
        """The answer to a browser that has no login, or none any more. It deletes no cookie that was not sent: requests
        of other sites come without it.
        """
        ended = [self._cookies.delete(self._cookies.session)] if cookie else []
        if request.target:
            return redirect(request.target, ended)
        stays = "post_logout_redirect_uri" in request.fields
        return page_response(LoggedOutPage(stays=stays), set_cookies=ended)

    @property
    def _cookies(self) -> Cookies:
        return Cookies.of(self.registry.require_issuer().issuer)

    @property
    def _path(self) -> str:
        return f"{urlsplit(self.registry.require_issuer().issuer).path}/logout"
