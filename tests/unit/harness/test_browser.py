"""The browser of the tests: forms by id, redirects, cookies, and what `form-action` allows."""

from urllib.parse import parse_qs

import httpx
import pytest

from tests.harness.browser import Away, FormBrowser, walk_login
from tests.harness.html_page import Page

ISSUER = "http://127.0.0.1:8080"
LOGIN = """<title>Log in</title><main id=login-page><p>Choose:<br><b>a user</b>
<form id="login" method="post" action="/login/1"><input type="hidden" name="csrf" value="&amp;c">
<input type=checkbox name=unchecked value=1><button id="user-ada" name="user" value="ada">Ada</button></form></main>"""
CONSENT = """<form id="consent" method="post" action="/consent/1"><input type="hidden" name="csrf" value="c">
<button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button></form>"""


class Server:
    """Pages of a login, and the requests that they received."""

    def __init__(self, form_action: str = "'self' https://hr.example") -> None:
        self.received: list[httpx.Request] = []
        self._policy = {"Content-Security-Policy": f"default-src 'none'; form-action {form_action}"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        match request.url.path, request.content:
            case "/authorize", _:
                cookie = {"Set-Cookie": "attempt=1; Path=/; HttpOnly; SameSite=Lax"}
                return httpx.Response(303, headers={"Location": "/login/1", **cookie})
            case "/login/1", b"":
                return httpx.Response(200, html=LOGIN, headers=self._policy)
            case "/login/1", _:
                return httpx.Response(303, headers={"Location": f"{ISSUER}/consent/1"})
            case "/consent/1", b"":
                return httpx.Response(200, html=CONSENT, headers=self._policy)
            case _:
                decision = parse_qs(request.content.decode())["decision"][0]
                return httpx.Response(303, headers={"Location": f"https://hr.example/cb?code={decision}&state="})


def browser(server: Server) -> FormBrowser:
    return FormBrowser(ISSUER, httpx.MockTransport(server))


def test_login_is_walked_to_the_redirect_that_leaves_the_issuer() -> None:
    server = Server()
    away = walk_login(browser(server), f"{ISSUER}/authorize", "ada")
    assert (away.target, away.parameters) == ("https://hr.example/cb", {"code": "allow", "state": ""})
    login = server.received[2]
    assert parse_qs(login.content.decode()) == {"csrf": ["&c"], "user": ["ada"]}
    assert (login.headers["Cookie"], login.headers["Sec-Fetch-Site"]) == ("attempt=1", "same-origin")
    assert login.headers["Origin"] == ISSUER


def test_consent_can_be_denied() -> None:
    away = walk_login(browser(Server()), f"{ISSUER}/authorize", "ada", "deny")
    assert away.parameters["code"] == "deny"


def test_texts_of_a_page_are_found_by_id() -> None:
    page = browser(Server()).open(f"{ISSUER}/authorize")
    assert isinstance(page, Page)
    assert (page.title, page.texts["login-page"]) == ("Log in", "Choose: a user Ada")


def test_form_of_another_site_carries_no_cookie() -> None:
    server = Server()
    visitor = browser(server)
    visitor.open(f"{ISSUER}/authorize")
    visitor.post(f"{ISSUER}/authorize", {"client_id": "hr"})
    posted, followed = server.received[-2:]
    assert "Cookie" not in posted.headers
    assert followed.headers["Cookie"] == "attempt=1"


def test_redirect_that_form_action_forbids_fails() -> None:
    with pytest.raises(AssertionError, match=r"form-action .* forbids https://hr.example"):
        walk_login(browser(Server(form_action="'self'")), f"{ISSUER}/authorize", "ada")


def test_unknown_button_fails_with_those_there_are() -> None:
    page = browser(Server()).open(f"{ISSUER}/authorize")
    assert isinstance(page, Page)
    with pytest.raises(AssertionError, match=r"no button user-eve among .*user-ada"):
        browser(Server()).submit(page, "login", "user-eve")


def test_parameter_twice_in_a_redirect_fails() -> None:
    with pytest.raises(AssertionError, match="repeated"):
        _ = Away("https://hr.example/cb?state=1&state=2").parameters


def test_link_is_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(200, html='<a id="next" href="/next?a=1&amp;b=2">Next</a>')

    received: list[httpx.Request] = []
    walking = FormBrowser(ISSUER, httpx.MockTransport(answer))
    walking.click(walking.page(f"{ISSUER}/first"), "next")
    assert str(received[1].url) == f"{ISSUER}/next?a=1&b=2"
    assert received[1].headers["Sec-Fetch-Site"] == "same-origin"


@pytest.mark.parametrize("secure_on_loopback", [False, True])
def test_secure_cookie_is_sent_over_http_on_loopback_if_wanted(secure_on_loopback: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        received.append(request.headers.get("Cookie", ""))
        return httpx.Response(200, html="", headers={"Set-Cookie": "session=1; Path=/; Secure"})

    received: list[str] = []
    walking = FormBrowser(ISSUER, httpx.MockTransport(answer), secure_on_loopback=secure_on_loopback)
    walking.page(ISSUER)
    walking.page(ISSUER)
    assert received == ["", "session=1" if secure_on_loopback else ""]
