"""Users log in to applications of other projects' libraries: discovery, login, ID token, userinfo, refresh, logout.

Each application has the same routes; `/` shows the claims of the ID token, which its library has checked, and userinfo.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness.browser import Away, FormBrowser, walk_login
from tests.harness.html_page import Page
from tests.harness.login_issuer import NAMESPACE, LoginIssuer, application
from tests.interop.users.programs import LIBRARIES, command, running
from tests.ports import free_port


@dataclass(frozen=True)
class Application:
    home: str
    issuer: LoginIssuer
    log: Path

    def open(self, browser: FormBrowser, path: str) -> Page | Away:
        return browser.open(f"{self.home}{path}")

    def profile(self, browser: FormBrowser) -> dict[str, Any]:
        page = self.open(browser, "/")
        assert isinstance(page, Page), page
        assert page.status == 200, f"{page!r}\n{self.log.read_text()}"
        return json.loads(page.html)  # type: ignore[no-any-return]

    def log_in(self, browser: FormBrowser, user: str) -> dict[str, Any]:
        away = walk_login(browser, f"{self.home}/login", user)
        assert away.target == f"{self.home}/callback"
        home = browser.open(away.url)
        assert isinstance(home, Away), f"{home!r}\n{self.log.read_text()}"
        assert home.url.rstrip("/") == self.home
        return self.profile(browser)


PUSHING: Final = {f"{library}-pushing": library for library in LIBRARIES}
"""Applications whose requests must be pushed (RFC 9126), and their libraries."""


@pytest.fixture(scope="module")
def homes() -> dict[str, str]:
    return {name: f"http://127.0.0.1:{free_port()}" for name in (*LIBRARIES, *PUSHING)}


@pytest.fixture(scope="module")
def issuer(homes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginIssuer]:
    applications = [
        application(
            name,
            [f"{home}/callback"],
            postLogoutRedirectURIs=[home],
            requirePushedAuthorizationRequests=name in PUSHING,
        )
        for name, home in homes.items()
    ]
    with LoginIssuer(tmp_path_factory.mktemp("issuer"), applications) as issuer:
        yield issuer


@pytest.fixture(params=LIBRARIES)
def app(
    request: pytest.FixtureRequest, homes: dict[str, str], issuer: LoginIssuer, tmp_path: Path
) -> Iterator[Application]:
    with started(request.param, homes, issuer, tmp_path / "log") as application:
        yield application


@pytest.fixture(params=PUSHING)
def pushing(
    request: pytest.FixtureRequest, homes: dict[str, str], issuer: LoginIssuer, tmp_path: Path
) -> Iterator[Application]:
    with started(request.param, homes, issuer, tmp_path / "log") as application:
        yield application


@contextmanager
def started(name: str, homes: dict[str, str], issuer: LoginIssuer, log: Path) -> Iterator[Application]:
    home, library = homes[name], PUSHING.get(name, name)
    program = command(library)
    if library == "authlib":
        program += ["--port", home.rpartition(":")[2]]
    folder = issuer.secret_folder(NAMESPACE, name)
    environment = {"HOME_URL": home, "SCOPEWRIGHT_SECRET_DIR": str(folder), "PUSH": str(name in PUSHING).lower()}
    with running(program, home, environment, log):
        yield Application(home, issuer, log)


@pytest.fixture
def browser(issuer: LoginIssuer) -> Iterator[FormBrowser]:
    with FormBrowser(issuer.url) as browser:
        yield browser


def test_user_logs_in(app: Application, browser: FormBrowser) -> None:
    profile = app.log_in(browser, "ada")
    assert profile["user"]["iss"] == app.issuer.url
    assert profile["user"]["sub"] == profile["userinfo"]["sub"]
    assert profile["userinfo"]["name"] == "Ada Lovelace"
    assert profile["userinfo"]["email"] == "ada@hr.example"
    assert set(profile["userinfo"]["groups"]) == {"hr-staff", "hr-managers"}


def test_user_logs_in_with_a_pushed_request(pushing: Application, browser: FormBrowser) -> None:
    with FormBrowser(pushing.home) as visitor:
        sent = pushing.open(visitor, "/login")
    assert isinstance(sent, Away), f"{sent!r}\n{pushing.log.read_text()}"
    assert sent.parameters.keys() == {"client_id", "request_uri"}
    profile = pushing.log_in(browser, "ada")
    assert profile["user"]["sub"] == profile["userinfo"]["sub"]


def test_user_who_refuses_a_pushed_request_comes_back_without_tokens(
    pushing: Application, browser: FormBrowser
) -> None:
    away = walk_login(browser, f"{pushing.home}/login", "grace", "deny")
    assert away.parameters["error"] == "access_denied"


def test_tokens_are_refreshed(app: Application, browser: FormBrowser) -> None:
    before = app.log_in(browser, "ada")
    refreshed = app.open(browser, "/refresh")
    assert isinstance(refreshed, Away), f"{refreshed!r}\n{app.log.read_text()}"
    after = app.profile(browser)
    assert after["user"]["sub"] == before["user"]["sub"]
    assert after["userinfo"] == before["userinfo"]


def test_second_login_shows_no_page(app: Application, browser: FormBrowser) -> None:
    first = app.log_in(browser, "ada")
    away = app.open(browser, "/login")
    assert isinstance(away, Away), away
    assert away.target == f"{app.home}/callback"
    browser.open(away.url)
    assert app.profile(browser)["user"]["auth_time"] == first["user"]["auth_time"]


def test_logout_ends_the_session_at_the_issuer(app: Application, browser: FormBrowser) -> None:
    app.log_in(browser, "ada")
    away = app.open(browser, "/logout")
    assert isinstance(away, Away), away
    assert away.target.rstrip("/") == app.home
    page = app.open(browser, "/login")
    assert isinstance(page, Page), f"the session has not ended: {page}"
    assert "login" in page.forms


def test_user_who_refuses_comes_back_without_tokens(app: Application, browser: FormBrowser) -> None:
    away = walk_login(browser, f"{app.home}/login", "grace", "deny")
    assert away.parameters["error"] == "access_denied"
    answer = browser.open(away.url)
    assert isinstance(answer, Page), answer
    assert answer.status == 502
    assert "access_denied" in app.log.read_text()


def test_code_of_another_browser_is_refused_by_the_application(
    app: Application, browser: FormBrowser, issuer: LoginIssuer
) -> None:
    """Login CSRF: the victim's browser has no login that the code belongs to."""
    with FormBrowser(issuer.url) as attacker:
        away = walk_login(attacker, f"{app.home}/login", "eve")
    answer = browser.open(away.url)
    assert isinstance(answer, Page), answer
    assert answer.status >= 400
