"""Pages while the session store is away: each says so with 503, and none answers as if nobody were logged in."""

from collections.abc import Callable
from typing import NoReturn

import httpx
import pytest

from scopewright.core.failures import Unavailable
from tests.harness.html_page import Page
from tests.harness.users import UsersHarness


async def away(*changes: object) -> NoReturn:
    raise Unavailable("the file /secret/place is locked", retry_after=4.2)


@pytest.fixture
def take_store_away(users: UsersHarness, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def take() -> None:
        monkeypatch.setattr(users.store, "get", away)
        monkeypatch.setattr(users.store, "write", away)

    return take


def require_unavailable(answer: httpx.Response) -> None:
    page = Page(answer)
    assert (page.status, answer.headers["retry-after"]) == (503, "5"), page
    assert "Try again shortly" in page.texts["error-description"]
    assert page.texts["error-id"]
    assert not {"location", "set-cookie"} & {*answer.headers}
    assert "secret" not in page.html


async def test_a_browser_with_a_login_waits(users: UsersHarness, take_store_away: Callable[[], None]) -> None:
    login = await users.follow(await users.authorize())
    consent = await users.submit(login, "login", "user-ada")
    logout, account = await users.browser.get("/logout"), await users.browser.get("/account")
    take_store_away()
    for answer in (
        await users.authorize(),
        await users.authorize(prompt="none"),
        await users.submit(login, "login", "user-ada"),
        await users.browser.get(str(consent.url)),
        await users.submit(consent, "consent", "allow"),
        await users.submit(consent, "consent", "deny"),
        await users.browser.get("/logout"),
        await users.submit(logout, "logout", "log-out"),
        await users.browser.get("/account"),
        await users.submit(account, "account", "log-out-everywhere"),
    ):
        require_unavailable(answer)


async def test_a_browser_without_a_login_waits_when_it_logs_in(
    users: UsersHarness, take_store_away: Callable[[], None]
) -> None:
    take_store_away()
    login = await users.follow(await users.authorize())
    require_unavailable(await users.submit(login, "login", "user-ada"))


async def test_the_attempt_goes_on_when_the_store_is_back(users: UsersHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    consent = await users.submit(await users.follow(await users.authorize()), "login", "user-ada")
    with monkeypatch.context() as patched:
        patched.setattr(users.store, "get", away)
        require_unavailable(await users.submit(consent, "consent", "allow"))
    assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))
