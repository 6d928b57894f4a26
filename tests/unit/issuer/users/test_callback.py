"""The answers of providers: whose browser, which attempt, which provider, and how often."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import pytest

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.login import LoginRefused, RefusedReason, UpstreamRequest
from scopewright.issuer.users import texts, upstream_visit
from scopewright.issuer.users.application import MAX_DETAIL
from scopewright.issuer.users.attempts import ATTEMPT_SECONDS, MAX_COOKIE_BYTES, PendingLogin, attempt_of_state
from scopewright.issuer.users.pool import (
    MAX_SLOW_REQUESTS,
    MAX_SLOW_REQUESTS_EACH,
    TIMEOUT_SECONDS,
    PoolExhausted,
    SharedPlaces,
)
from scopewright.upstream import UpstreamFailed
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.unit.issuer.users.provider_logins import COMPANY, PARTNER, ProviderLogins, running_providers, state_of

SESSION = "__Host-scopewright-session"
BOTH = {"identity_providers": ("company", "partner")}


@pytest.fixture
async def logins(tmp_path: Path) -> AsyncIterator[ProviderLogins]:
    """An issuer with the provider `company` only."""
    async with running_providers(tmp_path, COMPANY) as logins:
        yield logins


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[ProviderLogins]:
    """An issuer with `company` and `partner`, both for the client."""
    async with running_providers(tmp_path, COMPANY, PARTNER, **BOTH) as logins:
        yield logins


def refused(logins: ProviderLogins, answer: httpx.Response, reason: str, status: int = 400) -> Page:
    """The page of an answer that was not given to the provider's client, and logged nobody in."""
    page = logins.users.page_of(answer)
    assert (answer.status_code, logins.audited("user_error")["reason"]) == (status, reason)
    assert logins.upstreams.redeemed == []
    assert SESSION not in answer.headers.get("set-cookie", "")
    return page


# Whose answer it is


async def test_the_answer_of_another_browser_is_refused(logins: ProviderLogins) -> None:
    """Login CSRF: a link with the attacker's code and state would log the victim in as the attacker."""
    async with logins.users.open_browser() as attacker:
        away = await logins.begin(attacker)
        refused(logins, await logins.back(away), "no_attempt")
        assert "consent" in Page(await logins.back(away, browser=attacker)).forms


async def test_the_state_of_another_attempt_is_refused(logins: ProviderLogins) -> None:
    """Both are attempts of this browser, so both cookies are there."""
    first, second = state_of(await logins.begin()), state_of(await logins.begin())
    crossed = f"{attempt_of_state(second)}.{first.partition('.')[2]}"
    refused(logins, await logins.get(f"/callback/company?{urlencode({'code': 'c', 'state': crossed})}"), "state")


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "A", lambda s: s.partition(".")[0], str.swapcase])
async def test_a_state_that_was_changed_is_refused(logins: ProviderLogins, change: Any) -> None:
    away = await logins.begin()
    changed = change(state_of(away))
    answer = await logins.back(away, state=changed)
    same_attempt = attempt_of_state(changed) == attempt_of_state(state_of(away))
    refused(logins, answer, "state" if same_attempt else "no_attempt")


@pytest.mark.parametrize("state", [None, "", ".", "x", "é.é", "../../x", "a" * 3000, ";x=y"])
async def test_an_answer_without_an_attempt_is_a_page(logins: ProviderLogins, state: str | None) -> None:
    await logins.begin()
    query = urlencode({"code": "c"} | ({} if state is None else {"state": state}))
    refused(logins, await logins.get(f"/callback/company?{query}"), "no_attempt")


async def test_the_answer_of_one_provider_is_not_that_of_another(two: ProviderLogins) -> None:
    """Mix-up (RFC 9700 §4.4): the code of `company` must not be sent to `partner`."""
    path = (await two.begin()).url.path
    away = await two.get(f"{path}/company")
    refused(two, await two.back(away, "partner"), "state")
    assert "consent" in Page(await two.back(away, "company")).forms


async def test_the_secrets_of_a_visit_differ_by_provider_and_attempt(two: ProviderLogins) -> None:
    for _ in range(2):
        path = (await two.begin()).url.path
        for name in ("company", "partner"):
            await two.get(f"{path}/{name}")
    visits = two.upstreams.visits
    secrets = {secret for v in visits for secret in (v.state.partition(".")[2], v.nonce, v.code_verifier)}
    assert len(secrets) == 12
    assert len({attempt_of_state(v.state) for v in visits}) == 2
    assert all(v.nonce not in repr(PendingLogin("id", {}, 0, v.nonce)) for v in visits)
    assert all(secret not in repr(v) for v in visits for secret in (v.state, v.nonce, v.code_verifier))


@pytest.mark.parametrize("change", ["deleted", "recreated", "moved", "another client", "not offered"])
async def test_a_provider_that_changed_in_between_logs_nobody_in(two: ProviderLogins, change: str) -> None:
    away = await two.get(f"{(await two.begin()).url.path}/company")
    if change == "deleted":
        two.users.issuer.delete_object("Secret", "identityprovider.company")
        await two.put(**BOTH)
    elif change == "recreated":
        await two.put(replace(COMPANY, record=replace(COMPANY.record, uid="uid-of-a-later-company")), **BOTH)
    elif change in ("moved", "another client"):
        oidc = COMPANY.record.oidc
        assert oidc is not None
        moved = change == "moved"
        oidc = replace(oidc, issuer_url="https://new.example") if moved else replace(oidc, client_id="other")
        await two.put(replace(COMPANY, record=replace(COMPANY.record, oidc=oidc)), **BOTH)
    else:
        await two.put(identity_providers=("partner",))
    expected = ("state", 400) if change in ("recreated", "moved", "another client") else ("provider_not_offered", 404)
    refused(two, await two.back(away), *expected)


async def test_a_provider_that_is_deleted_while_it_answers_logs_nobody_in(
    two: ProviderLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = await two.get(f"{(await two.begin()).url.path}/company")
    redeem = two.upstreams.redeem

    async def slow(provider: Provider, request: UpstreamRequest, parameters: Any) -> Any:
        two.users.issuer.delete_object("Secret", "identityprovider.company")
        await two.put(**BOTH)
        return await redeem(provider, request, parameters)

    monkeypatch.setattr(two.upstreams, "redeem", slow)
    answer = await two.back(away)
    assert answer.status_code == 403
    assert two.audited("login")["result"] == "access_denied"
    assert SESSION not in two.browser.cookies


async def test_a_client_that_is_deleted_in_between_gets_no_answer(logins: ProviderLogins) -> None:
    away = await logins.begin()
    logins.users.issuer.delete_object("Secret", "client.hr.hr-web")
    await settle()
    refused(logins, await logins.back(away), "unknown_client")


# How often


async def test_an_answer_is_of_use_once(logins: ProviderLogins) -> None:
    """While the attempt waits for the consent, and after it."""
    away = await logins.begin()
    consent = await logins.back(away)
    session = logins.browser.cookies[SESSION]
    again = await logins.back(away)
    assert logins.audited("user_error")["reason"] == "state"
    assert again.status_code == 400
    assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))
    over = logins.users.page_of(await logins.back(away))
    assert "This login is finished" in over.texts["error-description"]
    assert (len(logins.upstreams.redeemed), logins.browser.cookies[SESSION]) == (1, session)


async def test_an_answer_after_ten_minutes_is_too_late(logins: ProviderLogins) -> None:
    away = await logins.begin()
    logins.users.issuer.clock.advance(seconds=ATTEMPT_SECONDS)
    assert "10 minutes" in refused(logins, await logins.back(away), "no_attempt").texts["error-description"]


async def test_a_login_makes_a_new_cookie_whatever_the_browser_had(logins: ProviderLogins) -> None:
    """Session fixation."""
    logins.browser.cookies.set(SESSION, "planted", domain="issuer.example.org", path="/")
    await logins.users.submit(await logins.log_in(), "consent", "allow")
    first = logins.browser.cookies[SESSION]
    await logins.log_in(prompt="login")
    assert len({"planted", first, logins.browser.cookies[SESSION]}) == 3


async def test_the_login_of_another_user_ends_the_session_before(logins: ProviderLogins) -> None:
    await logins.users.submit(await logins.log_in(), "consent", "allow")
    ada = logins.browser.cookies[SESSION]
    logins.upstreams.user = "grace"
    await logins.log_in(prompt="login")
    async with logins.users.open_browser() as other:
        other.cookies.set(SESSION, ada, domain="issuer.example.org", path="/")
        assert logins.users.error_of(await logins.begin(other, prompt="none")) == "login_required"


async def test_the_cookie_does_not_grow_with_visits(two: ProviderLogins) -> None:
    """The largest request that begins also ends, by any provider."""
    begun = None
    for size in range(2200, 2300):
        answer = await two.begin(nonce="n" * size)
        if two.users.is_away(answer):
            break
        begun = answer
    assert begun is not None
    for name in ("partner", "company"):
        consent = await two.back(await two.get(f"{begun.url.path}/{name}"), name)
    attempts = [value for name, value in two.browser.cookies.items() if "attempt" in name]
    assert max(map(len, attempts)) <= MAX_COOKIE_BYTES
    assert "code" in two.users.parameters_of(await two.users.submit(consent, "consent", "allow"))


# What it may contain


@pytest.mark.parametrize("name", ["state", "code", "iss", "error", "session_state", "resource"])
async def test_a_repeated_parameter_is_refused(logins: ProviderLogins, name: str) -> None:
    state = state_of(await logins.begin())
    query = urlencode([("code", "c"), ("state", state), (name, "1"), (name, "2")])
    refused(logins, await logins.get(f"/callback/company?{query}"), "repeated_parameter")


@pytest.mark.parametrize("query", ["state=%ff", "%ff=1", "&&=&=x"])
async def test_a_malformed_query_is_a_page(logins: ProviderLogins, query: str) -> None:
    assert logins.users.page_of(await logins.get(f"/callback/company?{query}")).status == 400


async def test_an_answer_as_a_form_is_refused_with_what_to_do(logins: ProviderLogins) -> None:
    state = state_of(await logins.begin())
    answer = await logins.browser.post("/callback/company", data={"code": "c", "state": state})
    assert "response_mode=query" in refused(logins, answer, "form_post").texts["error-description"]


@pytest.mark.parametrize(
    "text", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "\r\nLocation: https://evil.example"]
)
async def test_nothing_in_an_answer_chooses_where_the_browser_goes(logins: ProviderLogins, text: str) -> None:
    """Open redirect: the target is in the sealed cookie."""
    away = await logins.begin()
    extra: dict[str, Any] = dict.fromkeys(("redirect_uri", "next", "target_link_uri", "iss", "return_to", "url"), text)
    answer = await logins.back(away, **extra)
    assert answer.url.host == "issuer.example.org"
    assert "evil" not in answer.text


async def test_all_answers_have_the_headers_that_protect_them(logins: ProviderLogins) -> None:
    away = await logins.begin()
    logins.upstreams.failure = LoginRefused("code", "used")
    failed = await logins.back(away)
    logins.upstreams.failure = None
    forged = await logins.back(away, state="x")
    for answer in (away, failed, forged, await logins.back(away), await logins.browser.post("/callback/company")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "company.example" not in answer.headers["content-security-policy"]


# Refused logins


@pytest.mark.parametrize("reason", get_args(RefusedReason))
async def test_a_refused_login_is_explained_and_leaves_ways_on(logins: ProviderLogins, reason: RefusedReason) -> None:
    away = await logins.begin()
    logins.upstreams.failure = LoginRefused(reason, "the detail")
    answer = await logins.back(away)
    page = logins.users.page_of(answer)
    assert answer.status_code == 403
    plain = re.sub("<.*?>", " ", texts.LOGIN_PROBLEMS[reason]).format(provider="Login of company")
    assert page.texts["login-problem"].split() == plain.split()
    assert "the detail" not in answer.text
    line = logins.audited("login")
    assert (line["result"], line["reason"], line["detail"]) == ("access_denied", reason, "the detail")
    assert (line["error_id"], line["provider"], line["client"]) == (page.texts["error-id"], "company", "hr.hr-web")
    assert SESSION not in logins.browser.cookies
    logins.upstreams.failure = None
    attempt = attempt_of_state(state_of(away))
    assert f'href="/login/{attempt}/company"' in answer.text
    again = await logins.get(f"/login/{attempt}/company")
    assert "consent" in Page(await logins.back(again)).forms
    assert logins.users.error_of(await logins.users.submit(answer, "back-form", "back")) == "access_denied"


async def test_a_provider_that_does_not_answer_is_no_error_of_the_issuer(two: ProviderLogins) -> None:
    path = (await two.begin()).url.path
    away = await two.get(f"{path}/company")
    two.upstreams.failure = UpstreamFailed("AnswerTooLarge", "more than 1 MiB")
    answer = await two.back(away)
    assert answer.status_code == 503
    assert "Login of company does not answer" in Page(answer).texts["login-problem"]
    assert f'href="{path}/partner"' in answer.text
    assert two.audited("login")["reason"] == "AnswerTooLarge"
    assert two.users.error_of(await two.users.submit(answer, "back-form", "back")) == "access_denied"


async def test_text_of_a_provider_adds_no_audit_line_and_is_on_no_page(logins: ProviderLogins) -> None:
    away = await logins.begin()
    text = 'x","result":"accepted"}\n{"event":"login"\r\n\x1b[2J\u2028\u202e<b>' + "x" * 100_000
    logins.upstreams.failure = LoginRefused("provider_error", text)
    answer = await logins.back(away, error="access_denied", error_description=text[:500])
    assert "accepted" not in answer.text
    raw = logins.users.issuer.audit_lines[-1]
    assert len(raw) < 2 * MAX_DETAIL
    assert raw.isprintable()
    line = json.loads(raw)
    assert (line["event"], line["result"]) == ("login", "access_denied")
    assert line["detail"].startswith('x","result":"accepted"}?{')


async def test_a_code_and_a_state_are_in_no_audit_line(logins: ProviderLogins) -> None:
    away = await logins.begin()
    code = "the-secret-code"
    await logins.back(away, code=code)
    await logins.back(away, code=code)
    [visit] = logins.upstreams.visits
    lines = "".join(logins.users.issuer.audit_lines)
    for secret in (code, visit.state, visit.nonce, visit.code_verifier, quote(visit.state)):
        assert secret not in lines


# Flooding


async def test_a_provider_that_is_slow_in_all_its_answers_is_named(
    two: ProviderLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(provider: Provider, request: UpstreamRequest, parameters: Any) -> Any:
        await asyncio.Event().wait()

    away = await two.get(f"{(await two.begin()).url.path}/company")
    monkeypatch.setattr(two.upstreams, "redeem", hang)
    monkeypatch.setattr(upstream_visit, "VISIT_SECONDS", 0.01)
    answer = await two.back(away)
    assert (answer.status_code, two.audited("login")["reason"]) == (503, "Unreachable")
    assert "Login of company does not answer" in Page(answer).texts["login-problem"]


def test_a_visit_ends_before_its_request_does() -> None:
    assert upstream_visit.VISIT_SECONDS < TIMEOUT_SECONDS


async def test_slow_providers_do_not_take_all_room_for_logins(
    two: ProviderLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, full, waiting = asyncio.Event(), asyncio.Event(), list[UpstreamRequest]()

    async def hang(provider: Provider, request: UpstreamRequest, parameters: Any) -> Any:
        waiting.append(request)
        if len(waiting) == MAX_SLOW_REQUESTS:
            full.set()
        await release.wait()
        raise LoginRefused("code", "late")

    path = (await two.begin()).url.path
    away, partner = await two.get(f"{path}/company"), await two.get(f"{path}/partner")
    monkeypatch.setattr(two.upstreams, "redeem", hang)
    running = [asyncio.create_task(two.back(away)) for _ in range(MAX_SLOW_REQUESTS_EACH)]
    running += [asyncio.create_task(two.back(partner, "partner")) for _ in range(MAX_SLOW_REQUESTS_EACH)]
    async with asyncio.timeout(5):
        await full.wait()
    answer = await two.back(away)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert two.audited("login")["reason"] == "busy"
    assert len(waiting) == MAX_SLOW_REQUESTS
    assert "providers" in Page(await two.begin()).texts
    release.set()
    assert {answer.status_code for answer in await asyncio.gather(*running)} == {403}
    assert (await two.back(away)).status_code == 403


def test_many_slow_providers_share_the_room_of_all() -> None:
    places = SharedPlaces(count=3, each=2)
    with places.one("one"), places.one("two"):
        with places.one("three"), pytest.raises(PoolExhausted), places.one("four"):
            pass
        with places.one("four"):
            pass


async def test_a_slow_provider_does_not_take_the_room_of_another(
    two: ProviderLogins, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, full, waiting, redeem = asyncio.Event(), asyncio.Event(), list[UpstreamRequest](), two.upstreams.redeem

    async def hang(provider: Provider, request: UpstreamRequest, parameters: Any) -> Any:
        if provider.name == "company":
            waiting.append(request)
            if len(waiting) == MAX_SLOW_REQUESTS_EACH:
                full.set()
            await release.wait()
        return await redeem(provider, request, parameters)

    path = (await two.begin()).url.path
    company, partner = await two.get(f"{path}/company"), await two.get(f"{path}/partner")
    monkeypatch.setattr(two.upstreams, "redeem", hang)
    running = [asyncio.create_task(two.back(company)) for _ in range(MAX_SLOW_REQUESTS)]
    async with asyncio.timeout(5):
        await full.wait()
    assert "consent" in Page(await two.back(partner, "partner")).forms
    release.set()
    statuses = [answer.status_code for answer in await asyncio.gather(*running)]
    assert statuses.count(503) == MAX_SLOW_REQUESTS - MAX_SLOW_REQUESTS_EACH


async def test_a_visit_that_fails_frees_its_room(two: ProviderLogins) -> None:
    path = (await two.begin()).url.path
    two.upstreams.failure = UpstreamFailed("Unreachable", "no")
    for _ in range(MAX_SLOW_REQUESTS + 1):
        await two.get(f"{path}/company")
        assert two.audited("login")["reason"] == "Unreachable"
