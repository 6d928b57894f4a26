"""`UsersHarness`: an issuer with the developer login, a client that logs users in, and a browser that a test steers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from scopewright.core.providers.password_hash import DEFAULT_PARAMETERS
from scopewright.core.providers.static_users import StaticUser, encode_static_users
from scopewright.core.providers.user_file import USERS_FILE
from scopewright.core.records.client import ClientRecord, Login, RequestedAccess
from scopewright.core.records.identity_provider import IdentityProviderRecord, UpstreamClient
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import KEY_ENTRY
from scopewright.core.records.resource_server import ResourceServerRecord, UserGrant
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.stores import Change
from tests.harness.clock import START
from tests.harness.html_page import Page
from tests.harness.issuer import IssuerHarness, Record, settle
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER, NAMESPACE, SECRET, client_record, server_record
from tests.harness.transport import IssuerTransport

REDIRECT_URI = "https://hr.example/callback"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""Of RFC 7636, Appendix B."""
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CLIENT_ID = "hr.hr-web"
USERS = """
users:
- {id: ada, name: Ada Lovelace, email: ada@hr.example, groups: [hr-staff]}
- {id: eve, name: Eve, email: eve@hr.example, groups: [guests]}
"""


def provider_of(name: str = "company", **changes: Any) -> Provider:
    """An OpenID provider. Fields of Provider and of its record may be among the changes.

    With oidc=None it is a static one, whose only user has a hash of no password.
    """
    of_provider = {field: changes.pop(field) for field in [*changes] if field in Provider.__dataclass_fields__}
    issuer_url = f"https://{name}.example"
    fields: dict[str, Any] = {
        "name": name,
        "uid": f"uid-of-{name}",
        "display_name": f"Login of {name}",
        "subject_domain": issuer_url,
        "oidc": UpstreamClient(issuer_url, "scopewright"),
    }
    record = IdentityProviderRecord(**fields | changes)
    if record.oidc is None:
        of_provider.setdefault("users", encode_static_users([static_user("ada")]))
    return Provider(record, **of_provider)


def static_user(user_id: str, **changes: Any) -> StaticUser:
    """A static user, with fields of the record as changes. By default no password is right."""
    unusable = DEFAULT_PARAMETERS.encoded(bytes(DEFAULT_PARAMETERS.salt), bytes(DEFAULT_PARAMETERS.hash))
    return StaticUser.model_validate({"id": user_id, "passwordHash": unusable, **changes})


def web_record(**changes: Any) -> ClientRecord:
    """`hr/hr-web`, which logs users in and asks for `payroll.read`. Fields of Login may be among the changes."""
    of_login = {name: changes.pop(name) for name in [*changes] if name in Login.__dataclass_fields__}
    fields: dict[str, Any] = {
        "namespace": "hr",
        "name": "hr-web",
        "uid": "uid-web",
        "grant_types": ("authorization_code", "refresh_token"),
        "access": (RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write")),),
        "login": Login(**{"redirect_uris": (REDIRECT_URI,), **of_login}),
    }
    return client_record(**fields | changes)


def delegating_record(**changes: Any) -> ResourceServerRecord:
    """`payroll/payroll-api`, which lets members of `hr-staff` read through the clients of `hr`."""
    grant = UserGrant(("payroll.read",), groups=("hr-staff",), namespaces=("hr",))
    return server_record(**{"user_grants": (grant,), "descriptions": {"payroll.read": "See salaries"}} | changes)


def parameters(**changes: str | None) -> dict[str, str]:
    """Those of an authorization request for `openid` and `payroll.read`; None removes one."""
    request = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid payroll.read",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**request, **changes}.items() if value is not None}


def registry_of(*records: Record, issuer: str = ISSUER) -> Registry:
    """A registry that has followed the records, without an issuer that runs."""
    harness = IssuerHarness()
    harness.put(IssuerRecord(issuer))
    for record in records or (delegating_record(), web_record()):
        harness.put(record)
    registry = Registry(NAMESPACE, allow_http=True)
    for stored in harness.store.objects.values():
        registry.apply(Change(stored.existing, stored.entries), START.timestamp())
    return registry


@dataclass
class UsersHarness:
    """`browser` keeps cookies and follows no redirect; a second one is `open_browser()`.

    async with UsersHarness(folder).running() as users:
        answer = await users.log_in("ada")
        assert users.parameters_of(answer)["code"]
    """

    folder: Path
    issuer_url: str = ISSUER
    issuer: IssuerHarness = field(init=False)
    browser: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        file = self.folder / USERS_FILE
        file.write_text(USERS)
        self.issuer = IssuerHarness()
        self.store = MemorySessions(self.issuer.clock)
        self.issuer.users = UserEndpointSettings(self.store, DeveloperLogin(file))
        self.issuer.install_defaults(self.issuer_url)
        self.issuer.put_session_key({KEY_ENTRY: b"k" * 32})
        self.issuer.put(delegating_record())
        self.issuer.put(web_record())

    @asynccontextmanager
    async def running(self) -> AsyncIterator["UsersHarness"]:
        async with self.issuer.running(), self.open_browser() as self.browser:
            yield self

    def open_browser(self) -> httpx.AsyncClient:
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.issuer_url))
        return httpx.AsyncClient(transport=IssuerTransport(self.issuer.issuer), base_url=origin)

    async def put_web(self, **changes: Any) -> None:
        """Replace `hr-web`."""
        self.issuer.put(web_record(**changes))
        await settle()

    async def authorize(self, browser: httpx.AsyncClient | None = None, **changes: Any) -> httpx.Response:
        """An authorization request; its answer is not followed."""
        return await (browser or self.browser).get(f"{self.issuer_url}/authorize?{urlencode(parameters(**changes))}")

    async def begin_by_post(self, browser: httpx.AsyncClient, **changes: Any) -> httpx.Response:
        """An authorization request that the page of a client sends as a form."""
        return await browser.post(f"{self.issuer_url}/authorize", data=parameters(**changes))

    async def push(self, **changes: str | None) -> httpx.Response:
        """A pushed authorization request (RFC 9126) of `hr-web`, with its secret."""
        return await self.issuer.http.post("/par", data=parameters(**changes), auth=(CLIENT_ID, SECRET))

    async def request_uri(self, **changes: str | None) -> str:
        """That of a new pushed request."""
        answer = await self.push(**changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request_uri"])

    async def bring(
        self, request_uri: str, browser: httpx.AsyncClient | None = None, **changes: str | None
    ) -> httpx.Response:
        """A browser with a pushed request at `/authorize`; its answer is not followed."""
        query = {"client_id": CLIENT_ID, "request_uri": request_uri, **changes}
        query = {name: value for name, value in query.items() if value is not None}
        return await (browser or self.browser).get(f"{self.issuer_url}/authorize?{urlencode(query)}")

    async def follow(self, answer: httpx.Response, browser: httpx.AsyncClient | None = None) -> httpx.Response:
        """Follow redirects within the issuer."""
        while answer.has_redirect_location and not self.is_away(answer):
            answer = await (browser or self.browser).get(answer.headers["location"])
        return answer

    async def submit(
        self,
        answer: httpx.Response,
        form: str,
        button: str,
        browser: httpx.AsyncClient | None = None,
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        """Submit a form of a page, and follow redirects within the issuer."""
        found = Page(answer).forms[form]
        clicked = found.buttons[button]
        data = dict(found.fields) | {clicked.name: clicked.value} | fields
        sent = await (browser or self.browser).post(
            found.action, data=data, headers={"sec-fetch-site": "same-origin"} | (headers or {})
        )
        return await self.follow(sent, browser)

    async def log_in(
        self,
        user: str = "ada",
        decision: str = "allow",
        browser: httpx.AsyncClient | None = None,
        **changes: str | None,
    ) -> httpx.Response:
        """Walk from the authorization request to the end: pages that are not shown are skipped."""
        return await self.decide(await self.authorize(browser, **changes), user, decision, browser)

    async def decide(
        self,
        answer: httpx.Response,
        user: str = "ada",
        decision: str = "allow",
        browser: httpx.AsyncClient | None = None,
    ) -> httpx.Response:
        """As `log_in`, from the answer to an authorization request on."""
        answer = await self.follow(answer, browser)
        if answer.status_code == 200 and "login" in Page(answer).forms:
            answer = await self.submit(answer, "login", f"user-{user}", browser)
        if answer.status_code == 200 and "consent" in Page(answer).forms:
            answer = await self.submit(answer, "consent", decision, browser)
        return answer

    def is_away(self, answer: httpx.Response) -> bool:
        """Whether it redirects to a client."""
        location = answer.headers.get("location", "")
        return bool(location) and not location.startswith(("/", self.issuer_url + "/"))

    def parameters_of(self, answer: httpx.Response) -> dict[str, str]:
        """The parameters of a redirect to the client."""
        assert answer.status_code == 303, answer.text
        assert self.is_away(answer), answer.headers["location"]
        pairs = parse_qsl(urlsplit(answer.headers["location"]).query, strict_parsing=True)
        assert len(pairs) == len(dict(pairs)), pairs
        return dict(pairs)

    def error_of(self, answer: httpx.Response) -> str:
        """The error of a redirect to the client, whose `iss` and `state` must be right."""
        found = self.parameters_of(answer)
        assert (found["iss"], found.get("state")) == (self.issuer_url, "the-state")
        assert "code" not in found
        return found["error"]

    def page_of(self, answer: httpx.Response) -> Page:
        assert "location" not in answer.headers
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return Page(answer)
