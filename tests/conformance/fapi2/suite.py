"""What the modules of the FAPI 2.0 plan have in common: two clients, a browser without JavaScript, a resource."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from scopewright.verifier import Verifier, protect
from tests.conformance.fapi2.client import ALGORITHMS, Client, refused
from tests.harness.browser import FormBrowser, walk_login
from tests.harness.html_page import Page
from tests.harness.login_issuer import NAMESPACE, PAYROLL, application
from tests.harness.relying_party import AuthorizationRequest, RelyingParty, TokenResponse

CLIENTS: Final = {
    "suite": "https://suite.hr.example/callback",
    "second": "https://suite.hr.example/callback?dummy1=lorem&dummy2=ipsum",
}
"""Redirect URIs by client."""
RESOURCE: Final = "https://payroll.hr.example"
SALARIES: Final = f"{RESOURCE}/salaries"
SCOPE: Final = "openid payroll.read"
USER: Final = "ada"


@dataclass
class Application:
    """One of the clients: what it asks and gets, and how it authenticates. `jkt_alone`: it binds the code by the
    parameter `dpop_jkt` and sends no proof with the pushed request.
    """

    party: RelyingParty
    client: Client
    jkt_alone: bool = False

    @property
    def client_id(self) -> str:
        return self.party.client_id

    def request(self, **changes: str | None) -> AuthorizationRequest:
        """An authorization request for `openid` and the resource, which is not pushed."""
        return self.party.request(**{"scope": SCOPE, **changes})

    def push(
        self,
        request: AuthorizationRequest,
        assertion: str | None = None,
        *,
        proof: dict[str, Any] | None = None,
        bound: bool = True,
        **form: str,
    ) -> httpx.Response:
        """Other values as those of `Client.post`; `form` are more parameters."""
        more = {"dpop_jkt": self.client.holder.thumbprint} if self.jkt_alone and bound else {}
        bound = bound and not self.jkt_alone
        return self.client.post("/par", request.parameters | more | form, assertion, proof=proof, bound=bound)

    def request_uri(self, request: AuthorizationRequest, **how: Any) -> str:
        """Push the request; the response is checked (RFC 9126 §2.2)."""
        response = self.push(request, **how)
        assert response.status_code == 201, response.text
        assert response.headers["Cache-Control"] == "no-store"
        body = response.json()
        assert set(body) == {"request_uri", "expires_in"}
        assert 5 <= body["expires_in"] < 600, "FAPI 2.0 §5.3.2.2"
        assert len(body["request_uri"].rpartition(":")[2]) >= 22, "128 bits have at least 22 characters"
        return str(body["request_uri"])

    def url(self, request_uri: str, **more: str) -> str:
        """Where the browser is sent: the client and the pushed request suffice."""
        return self.party.url_of({"client_id": self.client_id, "request_uri": request_uri, **more})

    def redeem(
        self, request: AuthorizationRequest, code: str, assertion: str | None = None, **how: Any
    ) -> httpx.Response:
        """`how` are `proof` and `bound` of `Client.post`, and parameters: None removes one."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.party.redirect_uri}
        return self._token(form | {"code_verifier": request.verifier}, assertion, how)

    def refresh(self, token: str, assertion: str | None = None, **how: Any) -> httpx.Response:
        return self._token({"grant_type": "refresh_token", "refresh_token": token}, assertion, how)

    def _token(self, form: Mapping[str, str | None], assertion: str | None, how: dict[str, Any]) -> httpx.Response:
        proof, bound = how.pop("proof", None), how.pop("bound", True)
        sent = {name: value for name, value in {**form, **how}.items() if value is not None}
        return self.client.post("/token", sent, assertion, proof=proof, bound=bound)


@dataclass
class Suite:
    """The configuration of the plan. A module starts without a session."""

    browser: FormBrowser
    first: Application
    second: Application
    service: Any

    @property
    def issuer(self) -> str:
        return self.first.party.issuer

    def metadata(self) -> dict[str, Any]:
        return self.first.party.metadata()

    # Steps of the flow

    def log_in(self, request: AuthorizationRequest, app: Application | None = None, **how: Any) -> str:
        """Push the request, walk through login and consent, and return the code."""
        app = app or self.first
        away = walk_login(self.browser, app.url(app.request_uri(request, **how)), USER)
        return app.party.code(request, away)

    def tokens(self, request: AuthorizationRequest, app: Application | None = None, **how: Any) -> TokenResponse:
        """The whole flow; the ID token is checked."""
        app = app or self.first
        return self.redeemed(request, self.log_in(request, app, **how), app)

    def redeemed(self, request: AuthorizationRequest, code: str, app: Application | None = None) -> TokenResponse:
        app = app or self.first
        tokens = app.party.checked(app.redeem(request, code), request.parameters.get("nonce"))
        assert tokens.header["alg"] in ALGORITHMS
        assert tokens.header["kid"]
        return tokens

    async def happy(self, app: Application | None = None, **changes: str | None) -> TokenResponse:
        """The whole flow of a request with these changes, which ends at the resource, as every successful module."""
        app = app or self.first
        tokens = self.tokens(app.request(**changes), app)
        await self.use(tokens, app)
        return tokens

    # The resource

    async def call(self, token: str, proof: str | None, scheme: str = "DPoP", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"{scheme} {token}", **headers} | ({"DPoP": proof} if proof else {})
        async with self._resource() as http:
            return await http.get("/salaries", headers=sent)

    async def ask(self, method: str = "GET", path: str = "/salaries", **sent: Any) -> httpx.Response:
        """Any request to the resource."""
        async with self._resource() as http:
            return await http.request(method, path, **sent)

    async def use(self, tokens: TokenResponse, app: Application | None = None, **proof: Any) -> None:
        """The access token and a proof, with these changes, are accepted."""
        token, client = tokens.access_token, (app or self.first).client
        answer = await self.call(token, client.proof("GET", SALARIES, token, **proof))
        assert answer.status_code == 200, answer.text

    def _resource(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.service), base_url=RESOURCE)

    # Refusals

    def error_page(self, url: str, *words: str) -> Page:
        """The issuer's own error page, which says what is wrong."""
        page = self.browser.open(url)
        assert isinstance(page, Page), f"the browser was redirected: {page}"
        assert page.status == 400
        assert page.texts["error-id"]
        for word in words:
            assert word in page.texts["error-description"], page.texts
        return page

    def push_refused(self, request: AuthorizationRequest, *errors: str, **how: Any) -> str:
        """The pushed request is refused; return the description."""
        response = self.first.push(request, **how)
        assert refused(response, *errors), response.text
        return str(response.json()["error_description"])


def resource(issuer: str) -> Any:
    """A service behind the verifier, which takes bound tokens for `payroll.read` alone."""
    verifier = Verifier(
        issuer,
        PAYROLL,
        scopes=["payroll.read"],
        dpop_required=True,
        algorithms=ALGORITHMS,
        dpop_algorithms=ALGORITHMS,
    )
    return protect(_salaries, verifier, base_url=RESOURCE)


async def _salaries(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps([]).encode()})


def confidential(name: str, redirect_uri: str, client_key: dict[str, str], **login: Any) -> dict[str, Any]:
    """The OAuthClient of an application with this public key."""
    authentication = {"method": "PrivateKeyJWT", "jwks": {"keys": [client_key]}}
    return application(name, [redirect_uri], authentication=authentication, **login)


def client_id(name: str) -> str:
    return f"{NAMESPACE}.{name}"
