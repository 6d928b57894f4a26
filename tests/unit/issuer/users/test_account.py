"""The account page: a user sees and ends their own logins and consents, and nobody else does."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from scopewright.core.records.client import Login
from scopewright.issuer.users import texts
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.stored import DelegatedAccess
from tests.harness.html_page import Page
from tests.harness.samples import SECRET
from tests.unit.issuer.users.browsers import CROSS_SITE, FORGOTTEN, LoggedIn
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    PAYROLL_ACCESS,
    Logins,
    granting_server,
    other_client,
    running_logins,
    user,
    web_client,
)


@pytest.fixture
async def logins() -> AsyncIterator[Logins]:
    async with running_logins() as logins:
        await logins.put(granting_server(descriptions={"payroll.read": "See <b>salaries</b>"}))
        yield logins


async def consent(browser: LoggedIn, client_id: str = CLIENT_ID) -> None:
    """The user of the browser allows the client to read and write, and to see the e-mail address."""
    registry, session = browser.logins.harness.issuer.registry, browser.session
    client = registry.clients.get(client_id)
    assert client is not None
    delegated = DelegatedAccess(
        client_id, client.uid_hash, session.sid, session.subject, ("email", "openid"), (PAYROLL_ACCESS,)
    )
    await Consents(browser.logins.sealed, registry.server_of).remember(client, delegated)


async def is_active(logins: Logins, token: str) -> bool:
    return bool((await logins.post({"token": token}, SECRET, "/introspect")).json()["active"])


def buttons(answer: httpx.Response) -> list[str]:
    return [*Page(answer).forms["account"].buttons]


async def test_it_shows_the_user_the_logins_and_what_applications_may_do(logins: Logins) -> None:
    browser, other, stranger = [await LoggedIn.of(logins, who) for who in (user(), user(), user("eve"))]
    await consent(browser)
    answer = await browser.get("/account")
    text = Page(answer).texts["account-page"]
    for shown in ("Ada", "ada@hr.example", "hr-staff", browser.session.subject, "leave-worker", "Developer login"):
        assert shown in text
    assert text.count("Logged in 22 November 2026") == 2
    for shown in ("See <b>salaries</b> (payroll-api)", "payroll.write (payroll-api)", "See your e-mail address"):
        assert shown in text
    assert "Eve" not in text
    assert buttons(answer) == [
        f"end-{browser.session.sid}",
        f"end-{other.session.sid}",
        "log-out-everywhere",
        f"withdraw-{CLIENT_ID}",
    ]
    assert stranger.session.sid not in answer.text
    assert browser.cookie not in answer.text
    assert browser.cookie.partition(".")[2] not in answer.text


async def test_a_login_of_unknown_time_shows_when_it_was_last_used(logins: Logins) -> None:
    """Of a provider that sends no `auth_time`."""
    browser = await LoggedIn.of(logins, replace(user(), auth_time=0))
    answer = await browser.get("/account")
    text = Page(answer).texts["account-page"]
    assert "Last used" in text
    assert "Logged in 1" not in text
    assert "1970" not in answer.text


async def test_a_browser_without_a_login_sees_nothing(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    stranger = replace(browser, cookie="")
    for answer in (await stranger.get("/account"), await stranger.post("/account", everywhere="yes", csrf="x")):
        assert "not-logged-in" in Page(answer).texts
        assert "Ada" not in answer.text
    assert not await browser.has_ended()


async def test_an_idle_login_sees_nothing(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    page = await browser.get("/account")
    logins.harness.clock.advance(minutes=61)
    assert "not-logged-in" in Page(await browser.get("/account")).texts
    assert "not-logged-in" in Page(await browser.press(page, "account", "log-out-everywhere")).texts
    assert not await browser.has_ended()


async def test_another_login_ends_by_its_button(logins: Logins) -> None:
    browser, other = await LoggedIn.of(logins), await LoggedIn.of(logins)
    refresh_token = (await other.tokens())["refresh_token"]
    answer = await browser.press(await browser.get("/account"), "account", f"end-{other.session.sid}")
    assert answer.headers["location"].startswith("/account?done=")
    after = await browser.get(answer.headers["location"])
    assert texts.ACCOUNT_DONE["ended"] in after.text
    assert f"end-{other.session.sid}" not in buttons(after)
    assert await other.has_ended()
    assert not await browser.has_ended()
    assert (await logins.refresh(refresh_token)).json()["error"] == "invalid_grant"
    lines = [json.loads(line) for line in logins.harness.audit_lines]
    assert [line["sid"] for line in lines if line["event"] == "logout"] == [other.session.sid]


async def test_the_login_of_this_browser_ends_by_its_button(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    answer = await browser.press(await browser.get("/account"), "account", f"end-{browser.session.sid}")
    assert "logged-out" in Page(answer).texts
    assert answer.headers["set-cookie"] == FORGOTTEN
    assert await browser.has_ended()


async def test_all_logins_of_the_user_end_by_one_button(logins: Logins) -> None:
    browser, other, stranger = [await LoggedIn.of(logins, who) for who in (user(), user(), user("eve"))]
    tokens = [(await login.tokens())["refresh_token"] for login in (browser, other, stranger)]
    answer = await browser.press(await browser.get("/account"), "account", "log-out-everywhere")
    assert "logged-out" in Page(answer).texts
    assert answer.headers["set-cookie"] == FORGOTTEN
    assert [await login.has_ended() for login in (browser, other, stranger)] == [True, True, False]
    assert [(await logins.refresh(token)).status_code for token in tokens] == [400, 400, 200]


async def test_a_consent_ends_by_its_button_with_the_refresh_tokens_of_that_client(logins: Logins) -> None:
    await logins.put(other_client())
    browser = await LoggedIn.of(logins)
    await consent(browser)
    await consent(browser, "leave.other")
    tokens, of_other_login = await browser.tokens(), await (await LoggedIn.of(logins, user("eve"))).tokens()
    refresh_token = tokens["refresh_token"]
    page = await browser.get("/account")
    assert buttons(page)[-2:] == [f"withdraw-{CLIENT_ID}", "withdraw-leave.other"]
    answer = await browser.press(page, "account", f"withdraw-{CLIENT_ID}")
    after = await browser.get(answer.headers["location"])
    assert texts.ACCOUNT_DONE["withdrawn"] in after.text
    assert buttons(after)[-1:] == ["withdraw-leave.other"]
    assert f"withdraw-{CLIENT_ID}" not in buttons(after)
    assert (await logins.refresh(refresh_token)).json()["error"] == "invalid_grant"
    assert not await is_active(logins, tokens["access_token"])
    assert await is_active(logins, of_other_login["access_token"])
    line = next(json.loads(line) for line in logins.harness.audit_lines if '"withdrawn"' in line)
    assert (line["event"], line["subject"], line["client"]) == ("consent", browser.session.subject, CLIENT_ID)


async def test_a_client_without_consent_is_listed_while_it_has_refresh_tokens(logins: Logins) -> None:
    await logins.put(web_client(login=Login((CALLBACK,), consent="Skip")))
    browser = await LoggedIn.of(logins)
    assert texts.ACCOUNT_NO_APPLICATIONS in (await browser.get("/account")).text
    refresh_token = (await browser.tokens())["refresh_token"]
    page = await browser.get("/account")
    assert texts.ACCOUNT_NOT_ASKED in page.text
    after = await browser.press(page, "account", f"withdraw-{CLIENT_ID}")
    assert texts.ACCOUNT_NO_APPLICATIONS in (await browser.get(after.headers["location"])).text
    assert (await logins.refresh(refresh_token)).json()["error"] == "invalid_grant"


async def test_nobody_ends_what_belongs_to_another_user(logins: Logins) -> None:
    browser, victim = await LoggedIn.of(logins), await LoggedIn.of(logins, user("eve"))
    await consent(victim)
    refresh_token = (await victim.tokens())["refresh_token"]
    page = await browser.get("/account")
    own = f"end-{browser.session.sid}"
    await browser.press(page, "account", own, end=victim.session.sid)
    assert not await victim.has_ended()
    token = dict(Page(page).forms["account"].fields)["csrf"]
    await browser.post("/account", csrf=token, withdraw=CLIENT_ID)
    assert f"withdraw-{CLIENT_ID}" in buttons(await victim.get("/account"))
    assert (await logins.refresh(refresh_token)).status_code == 200
    assert not [line for line in logins.harness.audit_lines if '"ended"' in line]


@pytest.mark.parametrize("field", ["end", "withdraw", "everywhere"])
async def test_a_forged_form_changes_nothing(logins: Logins, field: str) -> None:
    browser, attacker = await LoggedIn.of(logins), await LoggedIn.of(logins, user("eve"))
    await consent(browser)
    own = dict(Page(await browser.get("/account")).forms["account"].fields)["csrf"]
    foreign = dict(Page(await attacker.get("/account")).forms["account"].fields)["csrf"]
    of_logout = dict(Page(await browser.get("/logout")).forms["logout"].fields)["csrf"]
    values = {"end": browser.session.sid, "withdraw": CLIENT_ID, "everywhere": "yes"}
    for headers, token in ((None, ""), (None, "\u00e9"), (None, foreign), (None, of_logout), (CROSS_SITE, own)):
        answer = await browser.post("/account", headers, **{field: values[field]}, csrf=token)
        assert answer.status_code == 403
        assert "error" in Page(answer).texts
    assert (await browser.get("/account", **{field: values[field]}, csrf=own)).status_code == 200
    assert not await browser.has_ended()
    assert f"withdraw-{CLIENT_ID}" in buttons(await browser.get("/account"))


async def test_a_form_without_a_button_is_an_error(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    token = dict(Page(await browser.get("/account")).forms["account"].fields)["csrf"]
    answer = await browser.post("/account", csrf=token)
    assert answer.status_code == 400
    assert "error" in Page(answer).texts


async def test_a_withdrawal_from_a_client_that_has_nothing_revokes_nothing(logins: Logins) -> None:
    await logins.put(other_client())
    browser = await LoggedIn.of(logins)
    before = (await logins.harness.http.get("/revocations")).headers["etag"]
    token = dict(Page(await browser.get("/account")).forms["account"].fields)["csrf"]
    for client_id in (CLIENT_ID, "leave.other", "leave.unknown"):
        await browser.post("/account", csrf=token, withdraw=client_id)
    assert (await logins.harness.http.get("/revocations")).headers["etag"] == before
    await consent(browser)
    await browser.post("/account", csrf=token, withdraw=CLIENT_ID)
    assert (await logins.harness.http.get("/revocations")).headers["etag"] != before


async def test_an_unknown_client_reaches_no_log(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    token = dict(Page(await browser.get("/account")).forms["account"].fields)["csrf"]
    await browser.post("/account", csrf=token, withdraw="a-secret-in-the-wrong-field")
    assert "a-secret" not in "".join(logins.harness.audit_lines)


@pytest.mark.parametrize("done", ["withdrawn", "ended", "Your password has expired", "\N{GREEK SMALL LETTER OMEGA}"])
async def test_a_link_of_another_site_does_not_say_that_something_was_done(logins: Logins, done: str) -> None:
    browser = await LoggedIn.of(logins)
    answer = await browser.get("/account", done=done)
    assert answer.status_code == 200
    assert "password" not in answer.text
    assert 'role="status"' not in answer.text


async def test_it_is_not_there_while_the_store_is_away(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    logins.harness.issuer.registry.session_keys = None
    for path in ("/account", "/logout"):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "set-cookie" not in answer.headers
