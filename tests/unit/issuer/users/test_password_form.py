"""The password form of a static provider."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.cli.users import hashed
from scopewright.core.providers.password_hash import MAX_PASSWORD
from scopewright.issuer.protocol.request import MAX_BODY_BYTES
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.login import PasswordsBusy, TooManyAttempts, WrongPassword
from scopewright.issuer.upstream.password_budgets import FREE_ATTEMPTS
from scopewright.issuer.upstream.passwords import MAX_USERNAME
from scopewright.issuer.users.pool import MAX_SLOW_REQUESTS
from tests.harness.html_page import Page
from tests.harness.users import UsersHarness, provider_of, static_user
from tests.unit.issuer.upstream.static_logins import static_provider
from tests.unit.issuer.users.provider_logins import COMPANY, STAFF, ProviderLogins, running_providers

SESSION = "__Host-scopewright-session"


@pytest.fixture
async def logins(tmp_path: Path) -> AsyncIterator[ProviderLogins]:
    async with running_providers(tmp_path, STAFF) as logins:
        yield logins


async def sent(
    logins: ProviderLogins,
    form: httpx.Response,
    username: str = "ada",
    password: str = "correct horse",
    **more: Any,
) -> httpx.Response:
    return await logins.users.submit(form, "password-form", "log-in", username=username, password=password, **more)


async def test_a_user_with_the_right_password_logs_in(logins: ProviderLogins) -> None:
    form = await logins.begin()
    assert "form-action 'self' https://hr.example;" in form.headers["content-security-policy"]
    consent = await sent(logins, form)
    assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))
    line = logins.audited("login")
    assert (line["result"], line["provider"]) == ("accepted", "staff")
    [(username, password, address)] = logins.passwords.tried
    assert (username, password, bool(address)) == ("ada", "correct horse", True)
    assert "code" in logins.users.parameters_of(await logins.begin(prompt="none"))


async def test_an_unknown_user_and_a_wrong_password_are_one_page(logins: ProviderLogins) -> None:
    pages = []
    for username in ("ada", "eve"):
        answer = await sent(logins, await logins.begin(), username, "wrong")
        page = Page(answer)
        assert answer.status_code == 403
        fields = dict(page.forms["password-form"].fields)
        assert (fields["username"], fields["password"]) == (username, "")
        pages.append(page.texts["main"])
        assert SESSION not in logins.browser.cookies
    assert pages[0] == pages[1]
    assert "is wrong" in pages[0]


async def test_after_a_wrong_password_the_form_takes_the_right_one(logins: ProviderLogins) -> None:
    again = await sent(logins, await logins.begin(), password="wrong")
    assert "consent" in Page(await sent(logins, again)).forms


async def test_password_and_user_name_are_in_no_audit_line_and_no_page(logins: ProviderLogins) -> None:
    """Some users type the password into the field of the user name."""
    answer = await sent(logins, await logins.begin(), "my-password", "other-password")
    line = logins.audited("login")
    assert (line["result"], line["reason"], line["provider"]) == ("access_denied", "password_wrong", "staff")
    assert "-password" not in json.dumps(line)
    assert "other-password" not in answer.text


@pytest.mark.parametrize(
    ("failure", "status", "retry", "reason"),
    [
        (TooManyAttempts(30.2), 429, "31", "password_too_many"),
        (PasswordsBusy(), 503, "2", "password_busy"),
        (WrongPassword(), 403, None, "password_wrong"),
    ],
)
async def test_a_limit_says_when_to_try_again(
    logins: ProviderLogins, failure: Exception, status: int, retry: str | None, reason: str
) -> None:
    logins.passwords.failure = failure
    answer = await sent(logins, await logins.begin())
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry)
    assert Page(answer).texts["password-problem"]
    assert logins.audited("login")["reason"] == reason
    assert SESSION not in logins.browser.cookies


@pytest.mark.parametrize(
    ("username", "password"),
    [("", "x"), ("ada", ""), ("a" * (MAX_USERNAME + 1), "x"), ("ada", "x" * (MAX_PASSWORD + 1))],
)
async def test_fields_have_bounds(logins: ProviderLogins, username: str, password: str) -> None:
    """The computation of a hash is not for megabytes."""
    answer = await sent(logins, await logins.begin(), username, password)
    assert answer.status_code == 403
    assert len(dict(Page(answer).forms["password-form"].fields)["username"]) <= MAX_USERNAME
    assert logins.passwords.tried == []


async def test_the_largest_fields_fit(logins: ProviderLogins) -> None:
    await sent(logins, await logins.begin(), "é" * MAX_USERNAME, "é" * MAX_PASSWORD)
    assert len(logins.passwords.tried) == 1
    large = await sent(logins, await logins.begin(), extra="x" * MAX_BODY_BYTES)
    assert large.status_code == 413


async def test_a_password_needs_the_token_of_its_page(logins: ProviderLogins) -> None:
    """Login CSRF: another site could log the victim in as the attacker."""
    form = await logins.begin()
    back = dict(Page(form).forms["back-form"].fields)["csrf"]
    for csrf in ("", "x", back):
        assert (await sent(logins, form, csrf=csrf)).status_code == 403
    async with logins.users.open_browser() as other:
        other_form = await logins.begin(other)
        csrf = dict(Page(other_form).forms["password-form"].fields)["csrf"]
        assert (await sent(logins, form, csrf=csrf)).status_code == 403
    assert logins.passwords.tried == []
    cross_site = await sent(logins, form, headers={"sec-fetch-site": "cross-site"})
    assert (cross_site.status_code, logins.audited("user_error")["reason"]) == (403, "cross_site")
    assert logins.passwords.tried == []


async def test_the_form_of_one_provider_is_not_that_of_another(tmp_path: Path) -> None:
    other = provider_of("other", oidc=None)
    async with running_providers(
        tmp_path, STAFF, other, COMPANY, identity_providers=("staff", "other", "company")
    ) as logins:
        path = (await logins.begin()).url.path
        csrf = dict(Page(await logins.get(f"{path}/staff")).forms["password-form"].fields)["csrf"]
        fields = {"csrf": csrf, "username": "ada", "password": "correct horse"}
        answer = await logins.browser.post(f"{path}/other", data=fields)
        assert (answer.status_code, logins.passwords.tried) == (403, [])


async def test_a_user_who_does_not_log_in_goes_back(logins: ProviderLogins) -> None:
    answer = await logins.users.submit(await logins.begin(), "back-form", "back")
    assert logins.users.error_of(answer) == "access_denied"


async def test_a_fresh_login_is_a_password(logins: ProviderLogins) -> None:
    await logins.users.submit(await sent(logins, await logins.begin()), "consent", "allow")
    form = await logins.begin(prompt="login")
    assert "password-form" in Page(form).forms
    assert "code" in logins.users.parameters_of(await sent(logins, form))


async def test_a_session_of_another_password_login_is_replaced(logins: ProviderLogins) -> None:
    """Session fixation."""
    logins.browser.cookies.set(SESSION, "planted", domain="issuer.example.org", path="/")
    await sent(logins, await logins.begin())
    assert logins.browser.cookies[SESSION] != "planted"


async def test_waiting_passwords_do_not_take_all_room_for_logins(
    logins: ProviderLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, full, waiting = asyncio.Event(), asyncio.Event(), list[str]()

    async def hang(provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        waiting.append(username)
        if len(waiting) == MAX_SLOW_REQUESTS:
            full.set()
        await release.wait()
        raise WrongPassword

    form = await logins.begin()
    monkeypatch.setattr(logins.passwords, "verify", hang)
    running = [asyncio.create_task(sent(logins, form)) for _ in range(MAX_SLOW_REQUESTS)]
    async with asyncio.timeout(5):
        await full.wait()
    assert ((await sent(logins, form)).status_code, len(waiting)) == (503, MAX_SLOW_REQUESTS)
    assert (await logins.begin()).status_code == 200
    release.set()
    assert {answer.status_code for answer in await asyncio.gather(*running)} == {403}
    assert (await sent(logins, form)).status_code == 403


async def test_a_real_password_logs_in_until_the_budget_is_used_up(tmp_path: Path) -> None:
    harness = UsersHarness(tmp_path)
    harness.issuer.put_provider(static_provider(static_user("ada", passwordHash=hashed("correct horse"))))
    async with harness.running() as users:

        async def send(password: str) -> httpx.Response:
            form = await users.follow(await users.authorize(prompt="login", scope="openid"))
            return await users.submit(form, "password-form", "log-in", username="Ada", password=password)

        consent = await send("correct horse")
        assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))
        statuses = [(await send("wrong")).status_code for _ in range(FREE_ATTEMPTS + 1)]
        assert statuses == [403] * FREE_ATTEMPTS + [429]
        limited = await send("correct horse")
        assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
