"""Attacks on the way from the authorization request to the code: each fails by the defence that its test names."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scopewright.core.records.names import KEY_ENTRY, previous_key_entry
from scopewright.core.records.resource_server import UserGrant
from scopewright.issuer.protocol.request import MAX_BODY_BYTES
from scopewright.issuer.users.attempts import ATTEMPT_SECONDS, MAX_ATTEMPTS, MAX_COOKIE_BYTES, Attempts, PendingLogin
from scopewright.issuer.users.sessions import UserSessions
from scopewright.stores.sessions.sealed import SealedSessions
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.harness.samples import ISSUER
from tests.harness.users import REDIRECT_URI, UsersHarness, delegating_record, parameters

EVIL = "https://evil.example/"


@pytest.fixture
async def other(users: UsersHarness) -> AsyncIterator[httpx.AsyncClient]:
    """The browser of another person."""
    async with users.open_browser() as browser:
        yield browser


def session_cookie(browser: httpx.AsyncClient) -> str | None:
    return browser.cookies.get("__Host-scopewright-session")


def attempts_of(browser: httpx.AsyncClient) -> list[str]:
    return [name for name in browser.cookies if name.startswith("__Host-scopewright-attempt-")]


async def at_consent(users: UsersHarness, browser: httpx.AsyncClient | None = None, **changes: Any) -> httpx.Response:
    login = await users.follow(await users.authorize(browser, **changes), browser)
    return await users.submit(login, "login", "user-ada", browser)


# Open redirect


@pytest.mark.parametrize(
    "more",
    [
        {"redirect_uri": EVIL},
        {"redirect_uri": EVIL, "prompt": "none"},
        {"redirect_uri": EVIL, "response_type": "token"},
        {"redirect_uri": EVIL, "request_uri": "urn:x"},
        {"redirect_uri": REDIRECT_URI + "/../evil"},
        {"redirect_uri": f"{REDIRECT_URI}\r\nlocation: {EVIL}"},
        {"client_id": "hr.unknown", "redirect_uri": EVIL},
        {"client_id": EVIL},
    ],
)
async def test_an_unregistered_uri_is_shown_on_no_link_and_in_no_redirect(
    users: UsersHarness, more: dict[str, Any]
) -> None:
    for answer in (
        await users.authorize(**more),
        await users.browser.post("/authorize", data=parameters(**more)),
    ):
        assert answer.status_code == 400
        page = users.page_of(answer)
        assert page.texts["error-id"]
        assert "evil" not in answer.text + str(answer.headers)
    lines = [json.loads(line) for line in users.issuer.audit_lines]
    assert {line["error_id"] for line in lines} >= {page.texts["error-id"]}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    uri=st.text(max_size=60)
    | st.builds(lambda end: REDIRECT_URI + end, st.text(max_size=20))
    | st.builds(lambda a, b: f"https://{a}hr.example{b}/callback", st.text(max_size=8), st.text(max_size=8)),
    state=st.text(max_size=60),
    prompt=st.sampled_from(["", "none", "login", "x"]),
    method=st.sampled_from(["GET", "POST"]),
)
def test_no_input_redirects_anywhere_else(uri: str, state: str, prompt: str, method: str) -> None:
    async def answer() -> httpx.Response:
        with tempfile.TemporaryDirectory() as folder:
            async with UsersHarness(Path(folder)).running() as users:
                form = urlencode(parameters(redirect_uri=uri, state=state, prompt=prompt), errors="surrogatepass")
                if method == "GET":
                    return await users.browser.get(f"{ISSUER}/authorize?{form}")
                headers = {"content-type": "application/x-www-form-urlencoded"}
                return await users.browser.post("/authorize", content=form, headers=headers)

    sent = asyncio.run(answer())
    location = sent.headers.get("location", "")
    if uri == REDIRECT_URI and location.startswith(REDIRECT_URI):
        location = location.removeprefix(REDIRECT_URI)
    assert re.fullmatch(r"|/(login|consent)/[A-Za-z0-9_-]+|\?[A-Za-z0-9%&=._*+-]*", location), location
    assert sent.status_code in (303, 400)


# Mix-up, and PKCE downgrade


async def test_every_redirect_names_the_issuer(users: UsersHarness) -> None:
    answers = [
        await users.log_in("ada"),
        await users.authorize(),
        await users.authorize(response_type="token"),
        await users.log_in("ada", "deny", prompt="consent"),
    ]
    assert [users.parameters_of(answer)["iss"] for answer in answers] == [ISSUER] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
    ],
)
async def test_a_challenge_cannot_be_stripped_from_a_request(users: UsersHarness, changes: dict[str, Any]) -> None:
    await users.log_in("ada")
    assert users.error_of(await users.authorize(**changes)) == "invalid_request"


# CSRF


async def test_a_login_form_needs_the_token_of_its_page(users: UsersHarness, other: httpx.AsyncClient) -> None:
    login = await users.follow(await users.authorize())
    elsewhere = await users.follow(await users.authorize(other), other)
    foreign = dict(Page(elsewhere).forms["login"].fields)["csrf"]
    for token in ("", "x", foreign, "\N{GREEK SMALL LETTER OMEGA}"):
        answer = await users.submit(login, "login", "user-ada", csrf=token)
        assert answer.status_code == 403, token
        assert session_cookie(users.browser) is None
    assert (await users.submit(login, "login", "user-ada")).status_code == 200


@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_a_consent_form_needs_the_token_of_its_page(users: UsersHarness, decision: str) -> None:
    login = await users.follow(await users.authorize())
    of_login = dict(Page(login).forms["login"].fields)["csrf"]
    consent = await users.submit(login, "login", "user-ada")
    for token in ("", "x", of_login):
        answer = await users.submit(consent, "consent", decision, csrf=token)
        assert answer.status_code == 403, token
    assert users.error_of(await users.authorize(prompt="none")) == "consent_required"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin, cross-site"])
async def test_a_form_of_another_site_is_refused_even_with_the_token(users: UsersHarness, site: str) -> None:
    headers = {"sec-fetch-site": site}
    login = await users.follow(await users.authorize())
    assert (await users.submit(login, "login", "user-ada", headers=headers)).status_code == 403
    assert session_cookie(users.browser) is None
    consent = await users.submit(login, "login", "user-ada")
    assert (await users.submit(consent, "consent", "allow", headers=headers)).status_code == 403


async def test_the_page_of_another_browser_is_of_no_use(users: UsersHarness, other: httpx.AsyncClient) -> None:
    """Login CSRF: a victim's browser does not continue the attempt of an attacker."""
    consent = await at_consent(users, other)
    for answer in (
        await users.browser.get(str(consent.url)),
        await users.submit(consent, "consent", "allow"),
        await users.browser.get(str(consent.url).replace("consent", "login")),
    ):
        assert answer.status_code == 400
        assert "cookies" in Page(answer).texts["error-description"]
    assert session_cookie(users.browser) is None


async def test_a_consent_is_by_the_user_who_saw_the_page(users: UsersHarness) -> None:
    """Two tabs: in the second one, another user logs in while the first shows the consent."""
    consent = await at_consent(users, scope="openid")
    second = await users.follow(await users.authorize(scope="openid", prompt="login"))
    await users.submit(second, "login", "user-eve")
    assert (await users.submit(consent, "consent", "allow")).status_code == 403
    assert users.error_of(await users.authorize(scope="openid", prompt="none")) == "consent_required"


async def test_a_consent_is_to_what_the_page_showed(users: UsersHarness) -> None:
    """The cookie of one attempt does not fit the form of another one that asks for less."""
    small = await at_consent(users, scope="openid")
    large = await users.follow(await users.authorize(scope="openid email payroll.read"))
    token = dict(Page(small).forms["consent"].fields)["csrf"]
    assert (await users.submit(large, "consent", "allow", csrf=token)).status_code == 403


async def test_a_consent_is_not_to_what_was_granted_after_the_page(users: UsersHarness) -> None:
    page = await at_consent(users, scope="openid payroll.read payroll.write")
    grant = UserGrant(("payroll.read", "payroll.write"), groups=("hr-staff",), namespaces=("hr",))
    users.issuer.put(delegating_record(user_grants=(grant,)))
    await settle()
    assert (await users.submit(page, "consent", "allow")).status_code == 403


# Session fixation


async def test_a_login_makes_a_new_cookie_whatever_the_browser_had(
    users: UsersHarness, other: httpx.AsyncClient
) -> None:
    await users.log_in("eve", browser=other)
    planted = session_cookie(other) or ""
    users.browser.cookies.set("__Host-scopewright-session", planted, domain="issuer.example.org", path="/")
    await users.log_in("ada", prompt="login")
    values = [cookie.value for cookie in users.browser.cookies.jar if cookie.name == "__Host-scopewright-session"]
    assert planted not in values[-1:]
    assert users.error_of(await users.authorize(other, prompt="none")) == "login_required"


async def test_the_session_of_the_user_before_ends_with_the_login_of_another(users: UsersHarness) -> None:
    await users.log_in("ada")
    before = session_cookie(users.browser) or ""
    await users.log_in("eve", prompt="login", scope="openid")
    async with users.open_browser() as browser:
        browser.cookies.set("__Host-scopewright-session", before, domain="issuer.example.org", path="/")
        assert users.error_of(await users.authorize(browser, prompt="none")) == "login_required"


async def test_an_idle_session_of_the_user_before_ends_too(users: UsersHarness) -> None:
    """Its refresh tokens are valid still."""
    await users.log_in("ada")
    sid = (session_cookie(users.browser) or "").partition(".")[0]
    keys = users.issuer.issuer.registry.session_keys
    sessions = UserSessions(SealedSessions(users.store, lambda: ISSUER, lambda: keys))
    users.issuer.clock.advance(minutes=61)
    assert await sessions.of_sid(sid) is not None
    await users.log_in("eve", scope="openid")
    assert await sessions.of_sid(sid) is None


# Clickjacking, caches, referrers


async def test_every_answer_has_the_headers_that_protect_it(users: UsersHarness) -> None:
    begun = await users.authorize()
    login = await users.follow(begun)
    consent = await users.submit(login, "login", "user-ada")
    away = await users.submit(consent, "consent", "allow")
    error = await users.authorize(client_id=None)
    missing = await users.browser.get("/login/x/y/z")
    for answer in (begun, login, consent, away, error, missing):
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3
        assert "script-src" not in policy
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "<script" not in answer.text
    for page in (login, consent):
        assert "form-action 'self' https://hr.example;" in page.headers["content-security-policy"]
    assert "form-action 'self';" in error.headers["content-security-policy"]
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("http://127.0.0.1:9123/callback", "http://127.0.0.1:9123"),
        ("http://[::1]:9123/callback", "http:"),
        ("com.example.hr:/callback", "com.example.hr:"),
    ],
)
async def test_forms_may_lead_to_the_redirect_uri_of_this_request_only(
    users: UsersHarness, uri: str, source: str
) -> None:
    others = ("https://other.example/callback", "http://127.0.0.1/callback", "http://[::1]/callback")
    await users.put_web(public=True, credentials=(), redirect_uris=(*others, "com.example.hr:/callback"))
    login = await users.follow(await users.authorize(redirect_uri=uri))
    assert f"form-action 'self' {source};" in login.headers["content-security-policy"]


async def test_cookies_are_for_this_host_and_no_script(users: UsersHarness) -> None:
    begun = await users.authorize()
    sent = await users.browser.post(
        begun.headers["location"],
        data={"csrf": dict(Page(await users.follow(begun)).forms["login"].fields)["csrf"], "user": "ada"},
    )
    for cookie in (*begun.headers.get_list("set-cookie"), *sent.headers.get_list("set-cookie")):
        assert cookie.startswith("__Host-scopewright-")
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
        assert "Domain" not in cookie


async def test_an_issuer_on_loopback_sets_cookies_that_browsers_accept_without_tls(tmp_path: Path) -> None:
    harness = UsersHarness(tmp_path, issuer_url="http://127.0.0.1:8080")
    async with harness.running() as users:
        cookie = (await users.authorize()).headers["set-cookie"]
        assert cookie.startswith("scopewright-attempt-")
        assert "Secure" not in cookie


# Attempts


async def test_a_browser_has_five_attempts_and_the_oldest_goes(users: UsersHarness) -> None:
    pages = []
    for _ in range(MAX_ATTEMPTS + 2):
        pages.append(await users.follow(await users.authorize()))
        users.issuer.clock.advance(seconds=1)
    assert len(attempts_of(users.browser)) == MAX_ATTEMPTS
    answers = [await users.browser.get(str(page.url)) for page in pages]
    assert [answer.status_code for answer in answers] == [400, 400] + [200] * MAX_ATTEMPTS


@pytest.mark.parametrize("user", [None, "ada", "eve"])
async def test_forms_of_another_site_do_not_fill_the_browser_with_attempts(
    users: UsersHarness, user: str | None
) -> None:
    """They come without cookies, so only the page that follows can make room. The server refuses too many headers."""
    if user:
        await users.log_in(user, scope="openid")
    for _ in range(MAX_ATTEMPTS + 3):
        async with users.open_browser() as without_cookies:
            begun = await users.begin_by_post(without_cookies, prompt="consent")
            users.browser.cookies.update(without_cookies.cookies)
        await users.follow(begun)
        users.issuer.clock.advance(seconds=1)
        assert len(attempts_of(users.browser)) <= MAX_ATTEMPTS


async def test_an_attempt_of_a_user_who_has_logged_out_needs_a_login(users: UsersHarness) -> None:
    consent = await at_consent(users, prompt="login")
    await users.submit(await users.browser.get("/logout"), "logout", "log-out")
    assert "login" in Page(await users.submit(consent, "consent", "allow")).forms
    assert "login" in Page(await users.follow(await users.browser.get(str(consent.url)))).forms


async def test_an_attempt_is_of_no_use_in_a_browser_without_its_session(
    users: UsersHarness, other: httpx.AsyncClient
) -> None:
    """A copy of its cookie, although a user has logged in by it."""
    consent = await at_consent(users)
    [name] = attempts_of(users.browser)
    other.cookies.set(name, users.browser.cookies[name], domain="issuer.example.org", path="/")
    assert "login" in Page(await users.submit(consent, "consent", "allow", other)).forms
    assert session_cookie(other) is None


async def test_an_attempt_that_is_sent_again_after_its_code_is_no_fresh_login_of_another_session(
    users: UsersHarness,
) -> None:
    consent = await at_consent(users, prompt="login")
    [name] = attempts_of(users.browser)
    kept = users.browser.cookies[name]
    assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))
    await users.submit(await users.browser.get("/logout"), "logout", "log-out")
    await users.log_in("ada")
    users.browser.cookies.set(name, kept, domain="issuer.example.org", path="/")
    assert "login" in Page(await users.follow(await users.browser.get(str(consent.url)))).forms


async def test_cookies_that_cannot_be_read_go_first(users: UsersHarness) -> None:
    page = await users.follow(await users.authorize())
    for number in range(20):
        name = f"__Host-scopewright-attempt-{number}"
        users.browser.cookies.set(name, "x" * number, domain="issuer.example.org", path="/")
    await users.authorize()
    assert len(attempts_of(users.browser)) == 2
    assert (await users.browser.get(str(page.url))).status_code == 200


async def test_few_cookies_of_a_request_are_opened(users: UsersHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening the 250 that fit in the headers would stop all other requests for 20 ms."""
    opened = []
    open_attempt = Attempts.open

    def counted(attempts: Attempts, attempt_id: str, value: str, now: float) -> PendingLogin | None:
        opened.append(attempt_id)
        return open_attempt(attempts, attempt_id, value, now)

    monkeypatch.setattr(Attempts, "open", counted)
    cookie = "; ".join(f"__Host-scopewright-attempt-{number}={'x' * 101}" for number in range(240))
    answer = await users.browser.get("/authorize", params=parameters(), headers={"cookie": cookie})
    assert 0 < len(opened) <= 3 * MAX_ATTEMPTS
    assert sum("Max-Age=0" in cookie for cookie in answer.headers.get_list("set-cookie")) == 240


async def test_a_request_that_fits_in_no_cookie_is_refused_with_the_limit(users: UsersHarness) -> None:
    answer = await users.authorize(state="the-state", nonce="n" * 3000)
    assert users.error_of(answer) == "invalid_request"
    assert "2,400 bytes" in users.parameters_of(answer)["error_description"]
    assert attempts_of(users.browser) == []
    assert "code" in users.parameters_of(await users.log_in("ada", nonce="n" * 1500))
    assert "code" in users.parameters_of(await users.authorize(nonce="n" * 3000))


async def test_the_largest_cookie_fits_in_a_browser(users: UsersHarness) -> None:
    """Name and value together, of at most 4,096 bytes."""
    sizes = []
    for size in range(1900, 2400, 20):
        cookies = (await users.authorize(nonce="n" * size)).headers.get_list("set-cookie")
        sizes.append(len(cookies[-1].partition(";")[0]) if cookies else 0)
    assert 3450 < max(sizes) < MAX_COOKIE_BYTES + 60
    assert min(sizes) == 0


async def test_a_request_that_begins_also_ends(users: UsersHarness) -> None:
    """The login adds to the cookie."""
    begun = []
    for size in range(2200, 2300):
        begun.append(await users.authorize(nonce="n" * size))
        if users.is_away(begun[-1]):
            break
    consent = await users.submit(await users.follow(begun[-2]), "login", "user-ada")
    assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))


async def test_a_cookie_with_a_strange_name_is_left_alone(users: UsersHarness) -> None:
    cookie = "; ".join(f"__Host-scopewright-attempt-{name}=x" for name in ("a b", "", "x" * 65, "a,b", "%0d%0a", "ok"))
    async with users.open_browser() as browser:
        answer = await browser.get("/authorize", params=parameters(), headers={"cookie": cookie})
    deleted = [c.partition("=")[0] for c in answer.headers.get_list("set-cookie") if "Max-Age=0" in c]
    assert deleted == ["__Host-scopewright-attempt-ok"]


@pytest.mark.parametrize(
    "path", ["/authorize?" + urlencode(parameters()), "/login/x", "/consent/x", "/account", "/logout"]
)
async def test_quotes_in_cookies_cost_no_time(users: UsersHarness, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """The standard library needs seconds to remove them from one header, in which nobody would get a token."""

    def slow(value: str) -> str:
        raise AssertionError

    monkeypatch.setattr("http.cookies._unquote", slow)
    cookie = '__Host-scopewright-session="' + '\\"' * 100 + '"'
    assert (await users.browser.get(ISSUER + path, headers={"cookie": cookie})).status_code < 500


async def test_a_cookie_that_another_host_set_for_all_paths_hides_none(tmp_path: Path) -> None:
    """`__Secure-`, which an issuer with a path needs, does not keep other hosts of the domain from setting cookies."""
    async with UsersHarness(tmp_path, issuer_url=f"{ISSUER}/company").running() as users:
        await users.log_in("ada")
        own = users.browser.cookies["__Secure-scopewright-session"]
        async with users.open_browser() as browser:
            cookie = "; ".join(f"__Secure-scopewright-session={value}" for value in (own, "planted"))
            headers = {"cookie": cookie}
            query = urlencode(parameters(prompt="none"))
            answer = await browser.get(f"{ISSUER}/company/authorize?{query}", headers=headers)
        assert "code" in users.parameters_of(answer)


async def test_an_attempt_ends_after_ten_minutes(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    users.issuer.clock.advance(seconds=ATTEMPT_SECONDS - 1)
    assert (await users.browser.get(str(login.url))).status_code == 200
    users.issuer.clock.advance(seconds=1)
    for answer in (await users.browser.get(str(login.url)), await users.submit(login, "login", "user-ada")):
        assert answer.status_code == 400
        assert "10 minutes" in Page(answer).texts["error-description"]


async def test_a_finished_attempt_is_over(users: UsersHarness) -> None:
    """The back button after the end, and a form that is sent twice."""
    consent = await at_consent(users)
    assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))
    assert attempts_of(users.browser) == []
    for answer in (await users.browser.get(str(consent.url)), await users.submit(consent, "consent", "allow")):
        assert answer.status_code == 400
        assert "is finished" in Page(answer).texts["error-description"]


async def test_the_back_button_before_the_end_shows_the_login_again(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    await users.submit(login, "login", "user-eve")
    again = await users.browser.get(str(login.url))
    consent = await users.submit(again, "login", "user-ada")
    assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))


async def test_two_tabs_do_not_disturb_each_other(users: UsersHarness) -> None:
    first = await users.follow(await users.authorize(state="first"))
    second = await users.follow(await users.authorize(state="second"))
    one = await users.submit(first, "login", "user-ada")
    two = await users.submit(second, "login", "user-ada")
    answers = [await users.submit(page, "consent", "allow") for page in (two, one)]
    assert [users.parameters_of(answer)["state"] for answer in answers] == ["second", "first"]


async def test_a_browser_without_cookies_gets_a_page_that_says_so(users: UsersHarness) -> None:
    begun = await users.authorize()
    users.browser.cookies.clear()
    page = users.page_of(await users.browser.get(begun.headers["location"]))
    assert "cookies" in page.texts["error-description"]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1],
        lambda value: value + "A",
        lambda value: ("B" if value.startswith("A") else "A") + value[1:],
        lambda value: "",
        lambda value: "!" * 40,
        lambda value: value * 3,
    ],
)
async def test_a_cookie_that_was_changed_is_ignored(users: UsersHarness, change: Callable[[str], str]) -> None:
    login = await users.follow(await users.authorize())
    [name] = attempts_of(users.browser)
    value = users.browser.cookies.get(name) or ""
    async with users.open_browser() as browser:
        answer = await browser.get(str(login.url), headers={"cookie": f"{name}={change(value)}"})
        assert answer.status_code == 400
        path = urlsplit(str(login.url)).path.rpartition("/")[0] + "/another"
        answer = await browser.get(path, headers={"cookie": f"__Host-scopewright-attempt-another={value}"})
        assert answer.status_code == 400


async def test_attempts_outlive_a_new_session_key_until_the_last_one_goes(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    users.issuer.put_session_key({KEY_ENTRY: b"n" * 32, previous_key_entry(1): b"k" * 32})
    await settle()
    assert (await users.browser.get(str(login.url))).status_code == 200
    users.issuer.put_session_key({KEY_ENTRY: b"n" * 32})
    await settle()
    assert (await users.browser.get(str(login.url))).status_code == 400


# Log injection, and errors


async def test_text_of_the_caller_adds_no_audit_line(users: UsersHarness) -> None:
    text = 'x","result":"accepted"}\n{"event":"login"\r\n\x1b[2J\u2028'
    await users.authorize(client_id=text)
    await users.authorize(state=text, scope=text, prompt=text, redirect_uri=text)
    await users.authorize(scope=text)
    login = await users.follow(await users.authorize(login_hint=text))
    await users.submit(login, "login", "user-ada", user=text)
    for line in users.issuer.audit_lines:
        assert "\n" not in line
        entry = json.loads(line)
        assert entry["event"] in ("authorize", "user_error")
        assert entry["result"] in ("invalid_request", "invalid_scope")


async def test_text_of_the_caller_is_escaped_on_every_page(users: UsersHarness) -> None:
    text = "<b onclick=x>\"'"
    for answer in (
        await users.follow(await users.authorize(state=text, nonce=text, login_hint=text)),
        await users.authorize(client_id=text),
        await users.browser.get("/login/%3Cb%20onclick=x%3E"),
    ):
        assert "<b onclick" not in answer.text


async def test_an_unexpected_error_is_a_page_with_an_id_that_the_log_has_too(
    users: UsersHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise RuntimeError("secret detail")

    await users.log_in("ada")
    monkeypatch.setattr(UserSessions, "of_cookie", broken)
    answer = await users.authorize()
    assert answer.status_code == 500
    error_id = users.page_of(answer).texts["error-id"]
    assert error_id in caplog.text
    assert json.loads(users.issuer.audit_lines[-1])["error_id"] == error_id
    assert "secret detail" not in answer.text


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(users: UsersHarness, method: str) -> None:
    await users.log_in("ada")
    answer = await users.browser.request(method, f"{ISSUER}/authorize?{urlencode(parameters())}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert "location" not in answer.headers


async def test_a_body_that_is_too_large_or_no_form_is_refused(users: UsersHarness) -> None:
    large = await users.browser.post("/authorize", data={**parameters(), "x": "x" * MAX_BODY_BYTES})
    assert large.status_code == 413
    assert (await users.browser.post("/authorize", json=parameters())).status_code == 415


@pytest.mark.parametrize("query", ["client_id=%ff", "%ff=1", "&&=&=x", "client_id"])
async def test_a_malformed_query_is_a_page(users: UsersHarness, query: str) -> None:
    assert users.page_of(await users.browser.get(f"/authorize?{query}")).status == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[", "", "localhost@x"]
)
async def test_the_developer_login_is_at_the_address_of_the_issuer_only(users: UsersHarness, host: str) -> None:
    """DNS rebinding: a site of another name that leads to this machine."""
    login = await users.follow(await users.authorize())
    assert (await users.browser.get(str(login.url), headers={"host": host})).status_code == 421
    assert (await users.submit(login, "login", "user-ada", headers={"host": host})).status_code == 421
    assert (await users.browser.get(str(login.url), headers={"host": "localhost:8080"})).status_code == 200


async def test_without_session_keys_users_wait_and_clients_do_not(tmp_path: Path) -> None:
    harness = UsersHarness(tmp_path)
    harness.issuer.delete_object("Secret", "scopewright-sessions")
    async with harness.running() as users:
        answer = await users.authorize()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await users.issuer.http.get("/jwks.json")).status_code == 200
