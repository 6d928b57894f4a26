"""Users log in to applications of other projects' libraries: discovery, login, ID token, userinfo, refresh, logout.

Each application has the same routes; `/` shows the claims of the ID token, which its library has checked, and userinfo.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def homes() -> dict[str, str]:
    return {library: f"http://127.0.0.1:{free_port()}" for library in LIBRARIES}


@pytest.fixture(scope="module")
def issuer(homes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginIssuer]:
    applications = [
        application(library, [f"{home}/callback"], postLogoutRedirectURIs=[home]) for library, home in homes.items()
    ]
    with LoginIssuer(tmp_path_factory.mktemp("issuer"), applications) as issuer:
        yield issuer


@pytest.fixture(params=LIBRARIES)
def app(
    request: pytest.FixtureRequest, homes: dict[str, str], issuer: LoginIssuer, tmp_path: Path
) -> Iterator[Application]:
    home = homes[request.param]
    started = command(request.param)
    if request.param == "authlib":
        started += ["--port", home.rpartition(":")[2]]
    environment = {"HOME_URL": home, "SCOPEWRIGHT_SECRET_DIR": str(issuer.secret_folder(NAMESPACE, request.param))}
    with running(started, home, environment, tmp_path / "log"):
        yield Application(home, issuer, tmp_path / "log")


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
