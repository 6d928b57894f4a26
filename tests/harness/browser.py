"""A browser without JavaScript, which walks through the issuer's pages as the OpenID Foundation's suite does."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from tests.harness.html_page import Page

_MAX_REDIRECTS: Final = 10


@dataclass(frozen=True)
class Away:
    """A redirect to another origin than the issuer's, which was not followed."""

    url: str

    @property
    def target(self) -> str:
        """The URL without its query."""
        return self.url.partition("?")[0]

    @property
    def parameters(self) -> dict[str, str]:
        """The query. Each parameter must be there once."""
        pairs = parse_qsl(urlsplit(self.url).query, keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), f"a parameter is repeated in {self.url}"
        return dict(pairs)


class FormBrowser:
    """A context manager. It keeps cookies, follows redirects to the issuer only, and submits forms by the ids of form
    and button.

    As a browser does, it sends `Sec-Fetch-Site` and, with forms, `Origin`; it sends no Lax cookie with a form of
    another site; and it refuses a form, or the redirect after it, that the page's `form-action` does not allow.
    """

    def __init__(
        self,
        issuer: str,
        transport: httpx.BaseTransport | None = None,
        *,
        trust: ssl.SSLContext | bool = True,
        secure_on_loopback: bool = False,
    ) -> None:
        """`secure_on_loopback`: send Secure cookies to http on loopback, as Chromium and Firefox do, but not Safari."""
        self.issuer = issuer
        self._origin = origin_of(issuer)
        self._secure_on_loopback = secure_on_loopback
        self._http = httpx.Client(timeout=30, transport=transport, verify=trust)
        self.shown: list[Page] = []
        """Every page that was shown, in order."""

    @property
    def cookies(self) -> httpx.Cookies:
        return self._http.cookies

    def open(self, url: str) -> Page | Away:
        """Follow a link from another site, or type the URL."""
        return self._follow(self._http.build_request("GET", url, headers={"Sec-Fetch-Site": "cross-site"}))

    def page(self, url: str) -> Page:
        """Open a URL that must show a page."""
        page = self.open(url)
        assert isinstance(page, Page), f"the browser was redirected: {page}"
        return page

    def click(self, page: Page, link: str) -> Page | Away:
        """Follow a link of the page."""
        assert link in page.links, f"no link {link} among {list(page.links)} of {page!r}"
        return self._follow(
            self._http.build_request("GET", page.links[link], headers={"Sec-Fetch-Site": "same-origin"})
        )

    def post(self, url: str, fields: Mapping[str, str]) -> Page | Away:
        """Submit a form of another site: Lax cookies are not sent with it, but with a redirect that follows."""
        headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}
        request = self._http.build_request("POST", url, data=dict(fields), headers=headers)
        request.headers.pop("Cookie", None)
        return self._follow(request)

    def submit(self, page: Page, form: str, button: str = "", **fields: str) -> Page | Away:
        """Submit a form with its fields, those given here instead, and the button if one is clicked."""
        assert form in page.forms, f"no form {form} on {page!r}"
        found = page.forms[form]
        assert not button or button in found.buttons, f"no button {button} among {list(found.buttons)} of {page!r}"
        sent = [(name, value) for name, value in found.fields if name not in fields] + list(fields.items())
        if button and found.buttons[button].name:
            sent.append((found.buttons[button].name, found.buttons[button].value))
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": origin_of(page.url)}
        if found.method == "GET":
            request = self._http.build_request("GET", found.action, params=dict(sent), headers=headers)
        else:
            request = self._http.build_request("POST", found.action, data=dict(sent), headers=headers)
        return self._follow(request, page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _send(self, request: httpx.Request) -> httpx.Response:
        response = self._http.send(request)
        if self._secure_on_loopback:
            for cookie in self._http.cookies.jar:
                cookie.secure = False
        return response

    def _follow(self, request: httpx.Request, page: Page | None = None) -> Page | Away:
        for _ in range(_MAX_REDIRECTS):
            _check_form_action(page, str(request.url))
            response = self._send(request)
            if not response.has_redirect_location:
                self.shown.append(shown := Page(response))
                return shown
            target = urljoin(str(response.url), response.headers["Location"])
            if origin_of(target) != self._origin:
                _check_form_action(page, target)
                return Away(target)
            assert response.status_code in (302, 303) or request.method == "GET", response
            headers = {"Sec-Fetch-Site": request.headers["Sec-Fetch-Site"]}
            request = self._http.build_request("GET", target, headers=headers)
        raise AssertionError(f"more than {_MAX_REDIRECTS} redirects, the last to {request.url}")


def walk_login(browser: FormBrowser, url: str, user: str, decision: Literal["allow", "deny"] = "allow") -> Away:
    """Open the URL, log in as the user of `users.yaml` and decide, where asked, and return where that leads."""
    return finish_login(browser, browser.open(url), user, decision)


def finish_login(
    browser: FormBrowser, at: Page | Away, user: str, decision: Literal["allow", "deny"] = "allow"
) -> Away:
    """Continue from a page of the login."""
    if isinstance(at, Page) and "login" in at.forms:
        at = browser.submit(at, "login", f"user-{user}")
    asked = isinstance(at, Page) and "consent" in at.forms
    assert asked or decision == "allow", f"nothing could be denied: no page asked for consent before {at!r}"
    if isinstance(at, Page) and asked:
        at = browser.submit(at, "consent", decision)
    assert isinstance(at, Away), f"the login ended on {at!r}"
    return at


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_form_action(page: Page | None, url: str) -> None:
    """Browsers apply `form-action` to the action of a form and to every redirect that follows."""
    if page is None:
        return
    policies = [each.split() for each in page.headers.get("Content-Security-Policy", "").split(";")]
    sources = next((sources for name, *sources in filter(None, policies) if name == "form-action"), None)
    if sources is None:
        return
    allowed = [origin_of(page.url) if source == "'self'" else source for source in sources]
    scheme = f"{urlsplit(url).scheme}:"
    assert scheme in allowed or origin_of(url) in allowed, f"form-action {sources} of {page.url} forbids {url}"
