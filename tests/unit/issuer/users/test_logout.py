"""The logout endpoint: who ends which login, and where the browser may go then."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from scopewright.core.records.client import Login
from scopewright.issuer.users import texts
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.unit.issuer.users.browsers import CROSS_SITE, FORGOTTEN, LoggedIn
from tests.unit.issuer.users.logins import CALLBACK, CLIENT_ID, Logins, other_client, running_logins, user, web_client

BYE = "https://hr.example/bye?from=scopewright"
LOGIN = Login((CALLBACK,), post_logout_redirect_uris=(BYE,))


@pytest.fixture
async def logins() -> AsyncIterator[Logins]:
    async with running_logins(web_client(login=LOGIN)) as logins:
        yield logins


def is_question(answer: httpx.Response) -> bool:
    """Whether it is the page with one button, which changes nothing."""
    return "location" not in answer.headers and "set-cookie" not in answer.headers and "logout" in Page(answer).forms


def is_done(answer: httpx.Response) -> bool:
    return "location" not in answer.headers and "logged-out" in Page(answer).texts


async def test_an_id_token_of_this_login_ends_it_at_once(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    tokens = await browser.tokens()
    answer = await browser.get("/logout", id_token_hint=tokens["id_token"])
    assert is_done(answer)
    assert answer.headers["set-cookie"] == FORGOTTEN
    assert await browser.has_ended()
    assert (await logins.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    line = json.loads(logins.harness.audit_lines[-2])
    assert (line["event"], line["result"], line["subject"]) == ("logout", "ended", browser.session.subject)
    assert (line["sid"], line["client"]) == (browser.session.sid, CLIENT_ID)
    assert tokens["id_token"] not in "".join(logins.harness.audit_lines)


async def test_an_expired_id_token_is_a_hint(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    logins.harness.clock.advance(minutes=30)
    assert is_done(await browser.get("/logout", id_token_hint=hint))
    assert await browser.has_ended()


async def test_an_id_token_of_a_withdrawn_key_is_a_question(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    logins.harness.publish(logins.harness.put_key().jwk)
    await settle()
    assert is_question(await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE))
    assert not await browser.has_ended()


async def test_an_idle_login_ends_too(logins: Logins) -> None:
    """The browser is not logged in any more, but refresh tokens are valid."""
    browser = await LoggedIn.of(logins)
    tokens = await browser.tokens()
    logins.harness.clock.advance(minutes=61)
    assert await logins.sessions.of_cookie(browser.cookie) is None
    assert is_done(await browser.get("/logout", id_token_hint=tokens["id_token"]))
    assert await browser.has_ended()


async def test_the_browser_goes_to_a_registered_page_with_the_state_and_nothing_else(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    answer = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE, state="a b&c=1#")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{BYE}&state=a+b%26c%3D1%23"
    assert answer.headers["set-cookie"] == FORGOTTEN
    again = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE, client_id=CLIENT_ID)
    assert again.headers["location"] == BYE


@pytest.mark.parametrize(
    "uri",
    [
        "https://hr.example/bye",
        "https://hr.example/bye?from=scopewright&x=1",
        "https://hr.example/bye?from=scopewright#",
        "https://HR.example/bye?from=scopewright",
        "https://hr.example@evil.example/bye?from=scopewright",
        "//evil.example",
        CALLBACK,
        "javascript:alert(1)",
        f"{BYE}\r\nset-cookie: a=b",
    ],
)
async def test_no_unregistered_page_is_the_target(logins: Logins, uri: str) -> None:
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    answer = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=uri, state="s")
    assert is_done(answer)
    assert texts.LOGGED_OUT_STAYS in answer.text
    assert "evil" not in answer.text
    assert answer.headers["set-cookie"] == FORGOTTEN


async def forged(logins: Logins, browser: LoggedIn, kind: str) -> str:
    tokens = await browser.tokens()
    header, payload, signature = tokens["id_token"].split(".")
    claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
    kid = jwt.get_unverified_header(tokens["id_token"])["kid"]
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": kid}).encode()).rstrip(b"=").decode()
    match kind:
        case "alg none":
            return f"{none}.{payload}."
        case "no signature":
            return f"{header}.{payload}."
        case "another key":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            return jwt.encode(claims, key, "RS256", {"kid": kid})
        case "HMAC with the public key":
            jwks = (await logins.harness.http.get("/jwks.json")).json()["keys"]
            public = next(jwk for jwk in jwks if jwk["kid"] == kid)
            return jwt.encode(claims, jwt.PyJWK(public).key.public_numbers().n.to_bytes(256), "HS256", {"kid": kid})
        case "other claims":
            changed = base64.urlsafe_b64encode(json.dumps(claims | {"x": 1}).encode()).rstrip(b"=").decode()
            return f"{header}.{changed}.{signature}"
        case "access token":
            return str(tokens["access_token"])
        case _:
            return kind


@pytest.mark.parametrize(
    "kind",
    [
        "alg none",
        "no signature",
        "another key",
        "HMAC with the public key",
        "other claims",
        "access token",
        "a.b.c",
        "x" * 5000,
    ],
)
async def test_a_forged_id_token_is_a_question_and_never_a_redirect(logins: Logins, kind: str) -> None:
    browser = await LoggedIn.of(logins)
    hint = await forged(logins, browser, kind)
    question = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE, state="s")
    assert is_question(question)
    assert not await browser.has_ended()
    assert is_done(await browser.press(question, "logout", "log-out"))
    assert await browser.has_ended()
    assert is_done(await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE))


async def test_an_id_token_of_another_login_is_a_question(logins: Logins) -> None:
    """Of another user, and of the same user in another browser."""
    for who in (user("eve"), user()):
        browser, other = await LoggedIn.of(logins), await LoggedIn.of(logins, who)
        hint = (await other.tokens())["id_token"]
        question = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE, state="s")
        assert is_question(question)
        assert "Ada" in question.text
        assert not await browser.has_ended()
        assert "form-action 'self' https://hr.example;" in question.headers["content-security-policy"]
        answer = await browser.press(question, "logout", "log-out")
        assert answer.headers["location"] == f"{BYE}&state=s"
        assert await browser.has_ended()
        assert not await other.has_ended()


async def test_an_id_token_of_another_client_than_client_id_is_ignored(logins: Logins) -> None:
    await logins.put(other_client(login=LOGIN))
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    parameters = {"id_token_hint": hint, "post_logout_redirect_uri": BYE}
    for client_id in ("leave.other", "leave.unknown"):
        assert is_question(await browser.get("/logout", client_id=client_id, **parameters))
    assert not await browser.has_ended()


async def test_a_page_that_only_another_client_registered_is_no_target(logins: Logins) -> None:
    page = "https://other.hr.example/bye"
    await logins.put(other_client(login=replace(LOGIN, post_logout_redirect_uris=(page,))))
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    assert is_done(await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=page))


async def test_a_disabled_client_has_no_target(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    await logins.put(web_client(login=LOGIN, disabled=True))
    assert is_done(await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE))
    assert await browser.has_ended()


async def test_without_an_id_token_the_user_is_asked_and_stays_here(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    for parameters in ({}, {"state": "s"}, {"client_id": CLIENT_ID, "post_logout_redirect_uri": BYE, "state": "s"}):
        question = await browser.get("/logout", **parameters)
        assert is_question(question)
        assert "hr.example" not in question.headers["content-security-policy"]
    answer = await browser.press(question, "logout", "log-out")
    assert is_done(answer)
    assert answer.headers["set-cookie"] == FORGOTTEN
    assert await browser.has_ended()


async def test_a_browser_without_a_login_gets_the_last_page_and_keeps_its_cookies(logins: Logins) -> None:
    """A request of another site's page has no cookie, and must not take it away."""
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    stranger = replace(browser, cookie="")
    for parameters in ({}, {"id_token_hint": hint}):
        answer = await stranger.get("/logout", **parameters)
        assert is_done(answer)
        assert "set-cookie" not in answer.headers
    away = await stranger.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE)
    assert away.headers["location"] == BYE
    assert not await browser.has_ended(), "an ID token alone is no proof that its user asks"


async def test_a_client_may_use_post(logins: Logins) -> None:
    """The browser sends no Lax cookie with a form of another site, but with the redirect that follows."""
    browser = await LoggedIn.of(logins)
    hint = (await browser.tokens())["id_token"]
    fields = {"id_token_hint": hint, "post_logout_redirect_uri": BYE, "state": "s", "unknown": "x"}
    answer = await replace(browser, cookie="").post("/logout", CROSS_SITE, **fields)
    assert answer.status_code == 303
    followed = await browser.get(answer.headers["location"])
    assert followed.headers["location"] == f"{BYE}&state=s"
    assert "unknown" not in answer.headers["location"]
    assert await browser.has_ended()


async def test_a_post_that_is_too_long_for_a_url_is_a_question(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    answer = await browser.post("/logout", CROSS_SITE, id_token_hint="x" * 9000, post_logout_redirect_uri=BYE)
    assert answer.headers["location"] == "/logout"
    assert is_question(await browser.get(answer.headers["location"]))


async def test_a_forged_form_logs_nobody_out(logins: Logins) -> None:
    browser, other = await LoggedIn.of(logins), await LoggedIn.of(logins, user("eve"))
    question = await browser.get("/logout")
    token = dict(Page(question).forms["logout"].fields)["csrf"]
    of_another_page = dict(Page(await browser.get("/account")).forms["account"].fields)["csrf"]
    of_another_user = dict(Page(await other.get("/logout")).forms["logout"].fields)["csrf"]
    forms: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {"csrf": "x"}),
        ({}, {"csrf": of_another_page}),
        ({}, {"csrf": of_another_user}),
        (CROSS_SITE, {"csrf": token}),
        ({"Sec-Fetch-Site": "same-site"}, {"csrf": token}),
    ]
    for headers, fields in forms:
        answer = await browser.post("/logout", headers or None, **fields)
        assert answer.status_code == 403
        assert "error" in Page(answer).texts
    assert not await browser.has_ended()
    assert is_done(await browser.press(question, "logout", "log-out"))


@pytest.mark.parametrize(
    "query", ["state=1&state=2", "id_token_hint=%ff", "post_logout_redirect_uri=a&post_logout_redirect_uri=b"]
)
async def test_a_malformed_request_is_an_error(logins: Logins, query: str) -> None:
    browser = await LoggedIn.of(logins)
    answer = await browser.get(f"/logout?{query}")
    assert answer.status_code == 400
    assert "error" in Page(answer).texts
    assert not await browser.has_ended()


async def test_a_malformed_cookie_is_no_login(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    sid = browser.session.sid
    for cookie in (sid, f"{sid}.{'A' * 43}", "x" * 3000, f"{sid}.\u00e9"):
        answer = await replace(browser, cookie=cookie.encode("ascii", "replace").decode()).get("/logout")
        assert is_done(answer)
    assert not await browser.has_ended()


async def test_pages_are_not_stored_and_not_framed(logins: Logins) -> None:
    browser = await LoggedIn.of(logins)
    for answer in (await browser.get("/logout"), await replace(browser, cookie="").get("/logout")):
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
