"""oauth2-proxy before a page that knows nothing of OAuth: login, groups, refresh and logout, by its flags only."""

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import quote

import pytest

from tests.harness.browser import Away, FormBrowser, walk_login
from tests.harness.html_page import Page
from tests.harness.login_issuer import NAMESPACE, LoginIssuer, application
from tests.interop.users.programs import oauth2_proxy, running
from tests.ports import free_port

_HEADERS: Final = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username")


class Web(BaseHTTPRequestHandler):
    """A page that shows who its reader is, by the headers of the proxy."""

    def do_GET(self) -> None:
        rows = (f'<p id="{name}">{self.headers.get(name, "")}</p>' for name in _HEADERS)
        content = f"<h1 id=heading>Salaries</h1>{''.join(rows)}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Proxied:
    home: str
    issuer: LoginIssuer
    log: Path

    def log_in(self, browser: FormBrowser, user: str) -> Page | Away:
        away = walk_login(browser, f"{self.home}/oauth2/start?rd=%2F", user)
        assert away.target == f"{self.home}/oauth2/callback"
        return browser.open(away.url)

    def page(self, browser: FormBrowser) -> Page:
        page = browser.open(f"{self.home}/")
        assert isinstance(page, Page), page
        return page


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder, home = tmp_path_factory.mktemp("proxy"), f"http://127.0.0.1:{free_port()}"
    client = application("oauth2-proxy", [f"{home}/oauth2/callback"], access=[], postLogoutRedirectURIs=[f"{home}/"])
    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    serving = Thread(target=web.serve_forever)
    serving.start()
    try:
        with LoginIssuer(folder, [client]) as issuer:
            secret = issuer.secret_folder(NAMESPACE, "oauth2-proxy")
            command = [
                str(oauth2_proxy()),
                "--provider=oidc",
                f"--oidc-issuer-url={issuer.url}",
                f"--client-id={(secret / 'client_id').read_text()}",
                f"--client-secret-file={secret / 'client_secret'}",
                "--scope=openid profile email groups",
                "--code-challenge-method=S256",
                f"--redirect-url={home}/oauth2/callback",
                f"--http-address={home.removeprefix('http://')}",
                f"--upstream=http://127.0.0.1:{web.server_port}/",
                f"--cookie-secret={urlsafe_b64encode(secrets.token_bytes(32)).decode()}",
                "--cookie-secure=false",
                "--cookie-refresh=1s",
                "--email-domain=*",
                "--allowed-group=hr-staff",
                "--skip-provider-button",
                f"--whitelist-domain={issuer.url.removeprefix('http://')}",
            ]
            with running(command, f"{home}/ping", {}, folder / "proxy.log"):
                yield Proxied(home, issuer, folder / "proxy.log")
    finally:
        web.shutdown()
        web.server_close()
        serving.join()


@pytest.fixture
def browser(proxied: Proxied) -> Iterator[FormBrowser]:
    with FormBrowser(proxied.issuer.url) as browser:
        yield browser


def test_user_of_the_group_sees_the_page(proxied: Proxied, browser: FormBrowser) -> None:
    assert proxied.log_in(browser, "ada") == Away(f"{proxied.home}/")
    page = proxied.page(browser)
    assert page.texts["heading"] == "Salaries"
    assert page.texts["X-Forwarded-User"].startswith("u-")
    assert page.texts["X-Forwarded-Email"] == "ada@hr.example"
    assert set(page.texts["X-Forwarded-Groups"].split(",")) == {"hr-staff", "hr-managers"}


def test_page_leads_to_the_login(proxied: Proxied, browser: FormBrowser) -> None:
    page = proxied.page(browser)
    assert "login" in page.forms


def test_user_of_another_group_is_refused(proxied: Proxied, browser: FormBrowser) -> None:
    answer = proxied.log_in(browser, "eve")
    assert isinstance(answer, Page), answer
    assert answer.status == 403


def test_session_is_refreshed(proxied: Proxied, browser: FormBrowser) -> None:
    proxied.log_in(browser, "ada")
    time.sleep(2.5)  # the age is counted in whole seconds
    assert proxied.page(browser).texts["heading"] == "Salaries"
    assert "Refreshing session" in proxied.log.read_text()
    assert "Unable to refresh session" not in proxied.log.read_text()
    assert "Session not refreshed" not in proxied.log.read_text()


def test_logout(proxied: Proxied, browser: FormBrowser) -> None:
    """`rd` carries no ID token, so the issuer asks before it ends the session."""
    proxied.log_in(browser, "ada")
    page = browser.open(f"{proxied.home}/oauth2/sign_out?rd={quote(f'{proxied.issuer.url}/logout', safe='')}")
    assert isinstance(page, Page), page
    done = browser.submit(page, "logout", "log-out")
    assert isinstance(done, Page), done
    assert "logged-out" in done.texts
    assert "login" in proxied.page(browser).forms
