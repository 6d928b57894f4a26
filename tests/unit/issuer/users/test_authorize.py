"""From the authorization request through login and consent to the code, or to an error."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.issuer.users import texts
from tests.harness.html_page import Page
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, SECRET, server_record
from tests.harness.users import CLIENT_ID, REDIRECT_URI, VERIFIER, UsersHarness, delegating_record, parameters


def events(users: UsersHarness) -> list[tuple[str, str]]:
    lines = (json.loads(line) for line in users.issuer.audit_lines)
    return [(line["event"], line["result"]) for line in lines]


async def test_a_user_logs_in_consents_and_returns_with_a_code(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    assert login.url.path.startswith("/login/")
    assert [*Page(login).forms["login"].buttons] == ["user-ada", "user-eve"]
    consent = await users.submit(login, "login", "user-ada")
    assert "See salaries" in consent.text
    assert "payroll.write" not in consent.text
    answer = await users.submit(consent, "consent", "allow")
    assert answer.headers["location"].startswith(REDIRECT_URI + "?")
    found = users.parameters_of(answer)
    assert (found["state"], found["iss"]) == ("the-state", ISSUER)
    assert len(found["code"]) >= 43
    assert found.keys() == {"code", "state", "iss"}
    assert events(users) == [("login", "accepted"), ("consent", "allowed"), ("authorize", "issued")]


async def test_a_second_request_needs_neither_login_nor_consent(users: UsersHarness) -> None:
    await users.log_in("ada")
    assert "code" in users.parameters_of(await users.authorize())
    assert "code" in users.parameters_of(await users.authorize(prompt="none"))
    await users.put_web(redirect_uris=(REDIRECT_URI, "https://other.example/callback"))
    assert users.error_of(await users.authorize(prompt="none")) == "consent_required"


async def test_a_user_who_refuses_returns_with_access_denied(users: UsersHarness) -> None:
    assert users.error_of(await users.log_in("ada", "deny")) == "access_denied"
    assert events(users)[-2:] == [("consent", "denied"), ("authorize", "access_denied")]
    assert users.error_of(await users.authorize(prompt="none")) == "consent_required"


async def test_the_redirect_uri_keeps_its_own_query(users: UsersHarness) -> None:
    uri = "https://hr.example/callback?tenant=a%2Fb&x=1"
    await users.put_web(redirect_uris=(uri,))
    answer = await users.log_in("ada", redirect_uri=uri)
    assert answer.headers["location"].startswith(uri + "&code=")
    denied = await users.authorize(redirect_uri=uri, response_type="token")
    assert denied.headers["location"].startswith(uri + "&error=unsupported_response_type&")


async def test_state_returns_unharmed_and_only_if_it_was_sent(users: UsersHarness) -> None:
    state = "a+b c&d=e%20f#\N{GREEK SMALL LETTER OMEGA}'\"<>" + "s" * 384
    assert users.parameters_of(await users.log_in("ada", state=state))["state"] == state
    assert users.parameters_of(await users.authorize(state=None)).keys() == {"code", "iss"}
    assert users.parameters_of(await users.authorize(state=None, prompt="create")).keys() == {
        "error",
        "error_description",
        "iss",
    }


async def test_the_authorization_endpoint_takes_a_form(users: UsersHarness) -> None:
    """A form of another site carries no cookie, so the session decides only after a redirect."""
    await users.log_in("ada")
    elsewhere = {"sec-fetch-site": "cross-site", "cookie": ""}
    begun = await users.browser.post("/authorize", data=parameters(prompt="none"), headers=elsewhere)
    assert begun.status_code == 303
    assert begun.headers["location"].startswith("/consent/")
    assert "code" in users.parameters_of(await users.follow(begun))


async def test_a_fresh_login_is_asked_for_once(users: UsersHarness) -> None:
    await users.log_in("ada")
    users.issuer.clock.advance(seconds=2)
    every: tuple[dict[str, Any], ...] = ({"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "1"})
    for asked in every:
        login = await users.follow(await users.authorize(**asked))
        assert "login" in Page(login).forms, asked
        assert "code" in users.parameters_of(await users.submit(login, "login", "user-ada")), asked
        users.issuer.clock.advance(seconds=2)
    assert "code" in users.parameters_of(await users.authorize(max_age="10"))


async def test_the_login_of_another_request_is_not_fresh(users: UsersHarness) -> None:
    """In the same second: the time of the login alone would not tell."""
    first = await users.follow(await users.authorize(prompt="login"))
    second = await users.follow(await users.authorize(prompt="login"))
    await users.submit(first, "login", "user-ada")
    again = await users.follow(await users.browser.get(str(second.url).replace("/login/", "/consent/")))
    assert "login" in Page(again).forms


async def redeemed(users: UsersHarness, answer: httpx.Response) -> dict[str, Any]:
    """The tokens for the code of a redirect."""
    key = users.issuer.put_key("RS256", 1, signing_key="id-tokens")
    users.issuer.publish(users.issuer.put_key().jwk, key.jwk)
    await settle()
    code = users.parameters_of(answer)["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
    response = await users.issuer.http.post("/token", data=form, auth=(CLIENT_ID, SECRET))
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


async def refreshed(users: UsersHarness, token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return await users.issuer.http.post("/token", data=form, auth=(CLIENT_ID, SECRET))


async def test_a_login_as_another_user_than_hinted_returns_with_login_required(users: UsersHarness) -> None:
    hint = (await redeemed(users, await users.log_in("ada")))["id_token"]
    assert "code" in users.parameters_of(await users.authorize(id_token_hint=hint))
    assert users.error_of(await users.log_in("eve", prompt="login", id_token_hint=hint)) == "login_required"
    assert users.error_of(await users.authorize(id_token_hint=hint)) == "login_required"


@pytest.mark.parametrize("way", ["logout", "account", "hint"])
async def test_a_logout_ends_what_was_issued_before_the_last_login_of_the_browser(
    users: UsersHarness, way: str
) -> None:
    """An application had `prompt=login`: the one before keeps its refresh token, until the user logs out."""
    tokens = await redeemed(users, await users.log_in("ada"))
    token = tokens["refresh_token"]
    for _ in range(2):
        assert "code" in users.parameters_of(await users.log_in("ada", prompt="login"))
    assert (await refreshed(users, token)).status_code == 200
    if way == "hint":
        page = await users.browser.get("/logout", params={"id_token_hint": tokens["id_token"]})
    elif way == "logout":
        page = await users.submit(await users.browser.get("/logout"), "logout", "log-out")
    else:
        sid = users.browser.cookies["__Host-scopewright-session"].partition(".")[0]
        account = await users.browser.get("/account")
        assert texts.ACCOUNT_OTHER_BROWSER not in account.text
        page = await users.submit(account, "account", f"end-{sid}")
    assert "logged-out" in Page(page).texts
    assert (await refreshed(users, token)).status_code == 400


async def test_a_hint_that_is_no_id_token_of_the_issuer_is_refused(users: UsersHarness) -> None:
    await users.log_in("ada")
    assert users.error_of(await users.authorize(id_token_hint="not-a-token")) == "invalid_request"


async def as_another_user(users: UsersHarness, page: httpx.Response) -> httpx.Response:
    """Follow the link of the page, and log in as Ada."""
    [path] = re.findall('<a id="another-user"[^>]* href="([^"]+)"', page.text)
    return await users.submit(await users.browser.get(path), "login", "user-ada")


@pytest.mark.parametrize("prompt", [None, "login"])
async def test_a_user_without_access_may_log_in_as_another_one(users: UsersHarness, prompt: str | None) -> None:
    await users.log_in("eve", scope="openid")
    before = users.browser.cookies["__Host-scopewright-session"]
    page = await users.log_in("eve", prompt=prompt)
    assert page.status_code == 403
    answer = await users.submit(await as_another_user(users, page), "consent", "allow")
    assert "code" in users.parameters_of(answer)
    async with users.open_browser() as browser:
        browser.cookies.set("__Host-scopewright-session", before, domain="issuer.example.org", path="/")
        assert users.error_of(await users.authorize(browser, prompt="none")) == "login_required"


async def test_a_user_whom_the_client_does_not_admit_may_log_in_as_another_one(users: UsersHarness) -> None:
    await users.log_in("eve", scope="openid")
    await users.put_web(allowed_groups=("hr-staff",))
    page = await users.follow(await users.authorize())
    assert page.status_code == 403
    again = await users.log_in("eve", prompt="login")
    for refused in (page, again):
        assert "consent" in Page(await as_another_user(users, refused)).forms


async def test_a_user_who_is_asked_for_consent_may_log_in_as_another_one(users: UsersHarness) -> None:
    await users.log_in("eve", scope="openid")
    page = await users.follow(await users.authorize(scope="openid", prompt="consent"))
    assert "Ada" in Page(await as_another_user(users, page)).texts["main"]


async def test_a_user_without_access_gets_a_page_and_may_go_back(users: UsersHarness) -> None:
    page = await users.log_in("eve")
    assert page.status_code == 403
    assert {"payroll-api", "payroll.read", "payroll"} <= set(Page(page).texts["no-access"].replace(",", " ").split())
    assert users.error_of(await users.submit(page, "back-form", "back")) == "access_denied"
    assert users.error_of(await users.authorize(prompt="none")) == "access_denied"


async def test_a_grant_that_comes_later_counts_at_once(users: UsersHarness) -> None:
    page = await users.log_in("eve")
    grant = delegating_record().user_grants[0]
    users.issuer.put(delegating_record(user_grants=(replace(grant, groups=("guests",)),)))
    await settle()
    assert "consent" in Page(await users.browser.get(str(page.url))).forms


async def test_a_user_whom_the_client_does_not_admit_gets_a_page_and_no_session(users: UsersHarness) -> None:
    await users.put_web(allowed_groups=("hr-staff",))
    page = await users.log_in("eve")
    assert page.status_code == 403
    assert "hr-staff" in Page(page).texts["no-access"]
    assert "scopewright-session" not in str(users.browser.cookies)
    assert ("login", "access_denied") in events(users)
    assert users.error_of(await users.submit(page, "back-form", "back")) == "access_denied"


async def test_access_that_is_withdrawn_while_the_page_is_open_is_not_consented(users: UsersHarness) -> None:
    consent = await users.submit(await users.follow(await users.authorize()), "login", "user-ada")
    users.issuer.put(server_record())
    await settle()
    found = Page(consent).forms["consent"]
    data = dict(found.fields) | {"decision": "allow"}
    answer = await users.follow(await users.browser.post(found.action, data=data))
    assert "no-access" in Page(answer).texts


async def test_a_client_that_is_deleted_while_the_page_is_open_gets_no_answer(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    await users.put_web(redirect_uris=("https://other.example/callback",))
    answer = await users.submit(login, "login", "user-ada")
    assert answer.status_code == 400
    assert "redirect_uri" in Page(answer).texts["error-description"]


async def test_a_native_application_is_confirmed_at_each_request(users: UsersHarness) -> None:
    uri = "http://127.0.0.1:9123/callback"
    await users.put_web(public=True, credentials=(), redirect_uris=("http://127.0.0.1/callback",))
    for _ in range(2):
        answer = await users.log_in("ada", redirect_uri=uri)
        assert answer.headers["location"].startswith(uri + "?code=")
    assert users.error_of(await users.authorize(redirect_uri=uri, prompt="none")) == "interaction_required"
    assert "consent" in Page(await users.follow(await users.authorize(redirect_uri=uri))).forms


async def test_the_hinted_user_is_first_on_the_page(users: UsersHarness) -> None:
    for hint in ("eve", "eve@hr.example"):
        page = Page(await users.follow(await users.authorize(login_hint=hint)))
        assert [*page.forms["login"].buttons] == ["user-eve", "user-ada"]


@pytest.mark.parametrize("path", ["/issuer", "/a%20b"])
async def test_an_issuer_with_a_path_keeps_pages_and_cookies_below_it(tmp_path: Path, path: str) -> None:
    harness = UsersHarness(tmp_path, issuer_url=f"https://issuer.example.org{path}")
    async with harness.running() as users:
        begun = await users.authorize()
        assert begun.headers["location"].startswith(f"{path}/login/")
        assert f"Path={path}/" in begun.headers["set-cookie"]
        assert begun.headers["set-cookie"].startswith("__Secure-scopewright-attempt-")
        answer = await users.log_in("ada")
        assert users.parameters_of(answer)["iss"] == harness.issuer_url
        assert (await users.browser.get(f"https://issuer.example.org{path}x/authorize")).status_code == 404


async def test_without_users_there_are_no_pages(harness: IssuerHarness) -> None:
    for path in ("/authorize", "/login/x", "/consent/x", "/logout", "/account"):
        assert (await harness.http.get(path)).status_code == 404


async def test_audit_lines_name_client_and_user_and_no_secret(users: UsersHarness) -> None:
    code = users.parameters_of(await users.log_in("ada"))["code"]
    text = "\n".join(users.issuer.audit_lines)
    issued = json.loads(users.issuer.audit_lines[-1])
    assert (issued["client"], issued["scopes"]) == (CLIENT_ID, ["openid", "payroll.read"])
    assert issued["subject"].startswith("u-")
    secrets = [code, "the-state", "the-nonce", "Lovelace", *users.browser.cookies.values()]
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("consent", ["Required", "Skip"])
async def test_a_refresh_token_is_not_for_a_successor_of_the_api(users: UsersHarness, consent: str) -> None:
    """An API of the same name is another one, to which the user has not consented. Without consents there is none to
    outlive the API.
    """
    await users.put_web(consent=consent)
    tokens = await redeemed(users, await users.log_in("ada", scope="openid payroll.read"))
    assert (await refreshed(users, tokens["refresh_token"])).status_code == 200
    users.issuer.put(delegating_record(uid="uid-of-a-successor"))
    await settle()
    answer = await refreshed(users, tokens["refresh_token"])
    assert answer.status_code == (400 if consent == "Required" else 200), answer.text
    if consent == "Required":
        assert answer.json()["error"] == "invalid_target"
        tokens = await redeemed(users, await users.log_in("ada", scope="openid payroll.read"))
        assert (await refreshed(users, tokens["refresh_token"])).status_code == 200
