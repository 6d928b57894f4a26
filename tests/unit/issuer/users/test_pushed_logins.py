"""Logins with a pushed request (RFC 9126 §4): which browser may bring it, how long, and how often."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.users import push_bounds
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.push_bounds import BroughtBounds
from scopewright.issuer.users.pushed import KEPT_SECONDS, PUSHED_SECONDS, URN, PushedRequests, new_handle
from scopewright.issuer.users.stored import Code
from scopewright.stores.sessions.sealed import SealedSessions
from scopewright.stores.sessions.sqlite import SqliteSessions
from tests.harness.html_page import Page
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, SECRET
from tests.harness.users import CHALLENGE, CLIENT_ID, REDIRECT_URI, UsersHarness, parameters, web_record
from tests.unit.issuer.users.provider_logins import COMPANY, STAFF, running_providers


def problem_of(answer: httpx.Response) -> str:
    """The text of an error page, which redirects nowhere."""
    assert "location" not in answer.headers
    page = Page(answer)
    assert page.status == 400, page
    return page.texts["error-description"]


def reason_of(users: UsersHarness) -> str:
    line = users.issuer.audit_lines[-1]
    return line.partition('"reason":"')[2].partition('"')[0]


def at_consent(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and "consent" in Page(answer).forms


async def consenting(users: UsersHarness, request_uri: str, browser: httpx.AsyncClient | None = None) -> httpx.Response:
    """The consent page, after a login if it needs one."""
    answer = await users.follow(await users.bring(request_uri, browser), browser)
    if "login" in Page(answer).forms:
        answer = await users.submit(answer, "login", "user-ada", browser)
    assert at_consent(answer)
    return answer


async def test_a_user_logs_in_with_a_pushed_request(users: UsersHarness) -> None:
    answer = await users.decide(await users.bring(await users.request_uri()))
    found = users.parameters_of(answer)
    assert (found["state"], answer.headers["location"].partition("?")[0]) == ("the-state", REDIRECT_URI)
    code = await issued(users, found["code"])
    assert (code.redirect_uri, code.code_challenge, code.nonce) == (REDIRECT_URI, CHALLENGE, "the-nonce")


async def test_a_form_of_another_site_brings_one_too(users: UsersHarness) -> None:
    form = {"client_id": CLIENT_ID, "request_uri": await users.request_uri()}
    begun = await users.browser.post("/authorize", data=form, headers={"sec-fetch-site": "cross-site"})
    assert users.parameters_of(await users.decide(begun))["code"]


async def test_parameters_of_the_url_are_ignored(users: UsersHarness) -> None:
    """Also those that would be refused: they may be the browser's or an attacker's."""
    answer = await users.bring(
        await users.request_uri(state=None, nonce=None),
        state="other",
        nonce="other",
        redirect_uri="https://evil.example",
        scope="openid payroll.write",
        response_type="token",
        prompt="none",
        request="ey",
    )
    found = users.parameters_of(await users.decide(answer))
    assert "state" not in found
    code = await issued(users, found["code"])
    assert code.nonce == ""
    assert [entry.scopes for entry in code.delegated.access] == [("payroll.read",)]


async def issued(users: UsersHarness, code: str) -> Code:
    registry = users.issuer.issuer.registry
    found = await Codes(SealedSessions(users.store, lambda: ISSUER, lambda: registry.session_keys)).find(code)
    assert found is not None
    return found.code


# Whose it is


async def test_another_client_cannot_use_it(users: UsersHarness) -> None:
    users.issuer.put(web_record(name="other", uid="uid-other"))
    await settle()
    answer = await users.bring(await users.request_uri(), client_id="hr.other")
    assert "another application" in problem_of(answer)
    assert reason_of(users) == "request_uri_of_another_client"


@pytest.mark.parametrize("client_id", [None, "hr.unknown", "x"])
async def test_a_browser_names_the_client(users: UsersHarness, client_id: str | None) -> None:
    """Before anything is read: a caller without a client costs the store nothing."""
    uri, reads = await users.request_uri(), 0
    get = users.store.get

    async def counted(*keys: bytes) -> Any:
        nonlocal reads
        reads += 1
        return await get(*keys)

    users.store.get = counted  # type: ignore[method-assign]
    assert problem_of(await users.bring(uri, client_id=client_id))
    assert reads == 0


async def test_a_new_client_of_the_same_name_does_not_inherit_it(users: UsersHarness) -> None:
    uri = await users.request_uri()
    await users.put_web(uid="uid-new")
    assert "registered anew" in problem_of(await users.bring(uri))


@pytest.mark.parametrize(
    "uri", [URN, URN + "x", URN + "x" * 44, URN + "../" + "x" * 40, URN + "x" * 43 + "%00", f"{URN}{'é' * 43}"]
)
async def test_a_malformed_request_uri_gets_a_page(users: UsersHarness, uri: str) -> None:
    assert "request_uri" in problem_of(await users.bring(uri))


async def test_two_request_uris_get_a_page(users: UsersHarness) -> None:
    first, second = await users.request_uri(), await users.request_uri()
    answer = await users.browser.get("/authorize", params={"client_id": CLIENT_ID, "request_uri": [first, second]})
    assert "repeated" in problem_of(answer)


async def test_an_unknown_one_gets_a_page(users: UsersHarness) -> None:
    assert "expired" in problem_of(await users.bring(URN + "x" * 43))


async def test_other_request_uris_are_not_supported(users: UsersHarness) -> None:
    """As for all that is not pushed here: nothing is fetched."""
    answer = await users.authorize(request_uri="https://evil.example/request.jwt")
    assert users.error_of(answer) == "request_uri_not_supported"


# How long


async def test_it_may_be_brought_for_as_long_as_it_said(users: UsersHarness) -> None:
    first, second = await users.request_uri(), await users.request_uri()
    users.issuer.clock.advance(seconds=PUSHED_SECONDS - 1)
    assert users.parameters_of(await users.decide(await users.bring(first)))["code"]
    users.issuer.clock.advance(seconds=1)
    assert "valid for 90 seconds" in problem_of(await users.bring(second))


async def test_one_that_was_brought_cannot_be_brought_for_longer(users: UsersHarness) -> None:
    uri = await users.request_uri()
    await users.bring(uri)
    users.issuer.clock.advance(seconds=PUSHED_SECONDS)
    assert "valid for 90 seconds" in problem_of(await users.bring(uri))


async def test_the_login_goes_on_when_the_request_has_expired(users: UsersHarness) -> None:
    uri = await users.request_uri()
    users.issuer.clock.advance(seconds=PUSHED_SECONDS - 1)
    await users.bring(uri)
    login = await users.follow(await users.bring(uri))
    users.issuer.clock.advance(seconds=599)
    assert users.parameters_of(await users.decide(login))["code"]


async def test_one_that_was_brought_ends(users: UsersHarness) -> None:
    await users.bring(await users.request_uri())
    assert stored(users) > 0
    users.issuer.clock.advance(seconds=KEPT_SECONDS)
    assert stored(users) == 0


def stored(users: UsersHarness) -> int:
    now = users.issuer.clock()
    return sum(now < end for _, end in users.store._entries.values())


async def test_the_cookie_has_only_the_reference(users: UsersHarness) -> None:
    """A request that is far too large for a cookie fits."""
    assert users.error_of(await users.authorize(nonce="n" * 5000)) == "invalid_request"
    answer = await users.bring(await users.request_uri(nonce="n" * 5000, state="the-state"))
    [cookie] = answer.headers.get_list("set-cookie")
    assert len(cookie) < 700
    found = users.parameters_of(await users.decide(answer))
    assert (await issued(users, found["code"])).nonce == "n" * 5000


@pytest.mark.parametrize("most", ["MAX_BROUGHT", "MAX_BROUGHT_OF_NAMESPACE"])
async def test_browsers_without_a_login_do_not_fill_the_store(
    users: UsersHarness, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    """A browser that brings a request keeps it for longer than it counts as pushed, and needs no login."""
    monkeypatch.setattr(push_bounds, most, 5)
    brought = [await users.bring(await users.request_uri()) for _ in range(20)]
    assert stored(users) == 5
    assert "already" not in problem_of(await users.follow(brought[0]))
    assert users.parameters_of(await users.decide(brought[-1]))["code"]


async def test_browsers_of_one_address_displace_their_own_requests(
    users: UsersHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = BroughtBounds(users.issuer.clock)
    monkeypatch.setattr(push_bounds, "MAX_BROUGHT", 5)
    client = users.issuer.issuer.registry.clients.get(CLIENT_ID)
    assert client is not None
    assert [bounds.add(client, peer, peer) for peer in ("192.0.2.1", "192.0.2.2")] == ["", ""]
    displaced = [bounds.add(client, "2001:db8::1", f"of-flood-{number}") for number in range(8)]
    assert displaced == ["", "", "", *(f"of-flood-{number}" for number in range(5))]
    bounds.remove(client, "192.0.2.1")
    assert bounds.add(client, "192.0.2.2", "another") == ""


async def test_logins_that_have_ended_leave_room(users: UsersHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_bounds, "MAX_BROUGHT", 1)
    waiting = await users.bring(await users.request_uri())
    assert users.parameters_of(await users.decide(waiting))["code"]
    first = await users.bring(await users.request_uri(prompt="consent"))
    for _ in range(3):
        assert users.parameters_of(await users.bring(await users.request_uri()))["code"]
    assert users.parameters_of(await users.decide(first))["code"]


# How often


async def test_it_may_be_brought_again_before_the_login_is_complete(users: UsersHarness) -> None:
    """A reload, or a program that looks at links before the user does."""
    uri = await users.request_uri()
    await users.follow(await users.bring(uri))
    assert users.parameters_of(await users.decide(await users.bring(uri)))["code"]


async def test_it_gives_one_code(users: UsersHarness) -> None:
    uri = await users.request_uri()
    assert users.parameters_of(await users.decide(await users.bring(uri)))["code"]
    assert "finished" in problem_of(await users.bring(uri))
    assert reason_of(users) == "request_uri_used"


async def test_the_second_tab_gets_a_page(users: UsersHarness) -> None:
    uri = await users.request_uri()
    first, second = await consenting(users, uri), await consenting(users, uri)
    assert users.parameters_of(await users.submit(first, "consent", "allow"))["code"]
    assert "another tab" in problem_of(await users.submit(second, "consent", "allow"))
    assert "another tab" in problem_of(await users.submit(second, "consent", "deny"))


async def test_a_refusal_uses_it_up_too(users: UsersHarness) -> None:
    uri = await users.request_uri()
    first, second = await consenting(users, uri), await consenting(users, uri)
    assert users.error_of(await users.submit(first, "consent", "deny")) == "access_denied"
    assert "finished" in problem_of(await users.submit(second, "consent", "allow"))
    assert "finished" in problem_of(await users.bring(uri))


async def test_prompt_none_answers_once(users: UsersHarness) -> None:
    uri = await users.request_uri(prompt="none")
    assert users.error_of(await users.bring(uri)) == "login_required"
    assert "finished" in problem_of(await users.bring(uri))
    await users.log_in()
    uri = await users.request_uri(prompt="none")
    assert users.parameters_of(await users.bring(uri))["code"]


async def test_of_fifty_requests_at_once_one_gets_the_code(users: UsersHarness) -> None:
    await users.log_in()
    uri = await users.request_uri()
    answers = await asyncio.gather(*(users.bring(uri) for _ in range(50)))
    codes = [answer for answer in answers if answer.status_code == 303]
    assert len(codes) == 1
    assert users.parameters_of(codes[0])["code"]
    assert {problem_of(answer) for answer in answers if answer not in codes} == {problem_of(await users.bring(uri))}


async def test_of_two_consents_at_once_one_gets_the_code(users: UsersHarness) -> None:
    """With fifty browsers of the user."""
    uri = await users.request_uri()
    pages = [await consenting(users, uri) for _ in range(2)]
    answers = await asyncio.gather(*(users.submit(page, "consent", "allow") for page in pages for _ in range(5)))
    assert [answer.status_code for answer in answers].count(303) == 1


async def test_a_code_and_a_refusal_at_once_give_one_answer(users: UsersHarness) -> None:
    uri = await users.request_uri()
    first, second = await consenting(users, uri), await consenting(users, uri)
    answers = await asyncio.gather(users.submit(first, "consent", "allow"), users.submit(second, "consent", "deny"))
    assert sorted(answer.status_code for answer in answers) == [303, 400]


# Against the records of then


async def test_it_is_validated_again(users: UsersHarness) -> None:
    """A redirect URI that was withdrawn in between gets nothing."""
    uri = await users.request_uri()
    page = await consenting(users, uri)
    await users.put_web(redirect_uris=("https://other.example/callback",))
    assert "not registered" in problem_of(await users.bring(uri))
    assert "not registered" in problem_of(await users.submit(page, "consent", "allow"))
    await users.put_web(disabled=True)
    assert "disabled" in problem_of(await users.bring(uri))


async def test_a_client_that_must_push_logs_users_in(users: UsersHarness) -> None:
    await users.put_web(pushed_requests_required=True)
    assert users.error_of(await users.authorize()) == "invalid_request"
    assert users.parameters_of(await users.decide(await users.bring(await users.request_uri())))["code"]


async def test_with_the_profile_fapi2_every_client_must_push(users: UsersHarness) -> None:
    users.issuer.put(IssuerRecord(ISSUER, profile="FAPI2"))
    await users.put_web(method="PrivateKeyJWT")
    assert "push+the+request" in (await users.authorize()).headers["location"]


async def test_a_login_that_began_without_a_push_ends_when_one_is_required(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    await users.put_web(pushed_requests_required=True)
    assert users.error_of(await users.submit(login, "login", "user-ada")) == "invalid_request"


# The store


async def away(*changes: object) -> Any:
    raise Unavailable("away", retry_after=5.0)


@pytest.mark.parametrize("method", ["get", "write"])
async def test_each_step_waits_for_the_store(users: UsersHarness, method: str) -> None:
    """And goes on when it is back: nothing is used up by a step that failed."""
    uri = await users.request_uri()
    working = getattr(users.store, method)

    async def without_store(send: Any) -> None:
        setattr(users.store, method, away)
        answer = await send()
        setattr(users.store, method, working)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text

    await without_store(lambda: users.bring(uri))
    login = await users.follow(await users.bring(uri))
    await without_store(lambda: users.submit(login, "login", "user-ada"))
    consent = await users.submit(login, "login", "user-ada")
    for button in ("allow", "deny"):
        await without_store(lambda button=button: users.submit(consent, "consent", button))
    assert users.parameters_of(await users.submit(consent, "consent", "allow"))["code"]


async def test_pushed_at_one_issuer_and_brought_to_another(users: UsersHarness) -> None:
    """Two replicas share store and records."""
    second = IssuerHarness(store=users.issuer.store, clock=users.issuer.clock)
    second.users = users.issuer.users
    async with second.running():
        answer = await second.http.post("/par", data=parameters(), auth=(CLIENT_ID, SECRET))
        uri = answer.json()["request_uri"]
        assert users.parameters_of(await users.decide(await users.bring(uri)))["code"]
        answer = await second.http.get("/authorize", params={"client_id": CLIENT_ID, "request_uri": uri})
        assert "finished" in problem_of(answer)


async def test_two_issuers_with_one_file_give_one_code(tmp_path: Path) -> None:
    """As two workers of a Pod."""
    harness = UsersHarness(tmp_path)
    assert harness.issuer.users is not None
    stores = [SqliteSessions(tmp_path / "sessions.db", harness.issuer.clock) for _ in range(2)]
    harness.issuer.users = replace(harness.issuer.users, store=stores[0])
    async with harness.running() as users:
        second = IssuerHarness(store=users.issuer.store, clock=users.issuer.clock)
        second.users = replace(harness.issuer.users, store=stores[1])
        async with second.running():
            await users.log_in()
            uri = await users.request_uri()
            cookies = "; ".join(f"{name}={value}" for name, value in users.browser.cookies.items())
            at_second: dict[str, Any] = {
                "params": {"client_id": CLIENT_ID, "request_uri": uri},
                "headers": {"cookie": cookies},
            }
            answers = await asyncio.gather(
                *(users.bring(uri) for _ in range(10)),
                *(second.http.get("/authorize", **at_second) for _ in range(10)),
            )
    assert [answer.status_code for answer in answers].count(303) == 1
    for store in stores:
        await store.close()


# Each way to log in


async def test_at_a_provider(tmp_path: Path) -> None:
    """The provider's answer finds the request by the attempt, after its 90 seconds too."""
    async with running_providers(tmp_path, COMPANY) as logins:
        users = logins.users
        uri = await users.request_uri(prompt="login", login_hint="ada")
        away = await users.follow(await users.bring(uri))
        assert logins.upstreams.visits[-1].login_hint == "ada"
        users.issuer.clock.advance(seconds=PUSHED_SECONDS)
        assert users.parameters_of(await users.decide(await logins.back(away)))["code"]
        assert "finished" in problem_of(await logins.back(away))


async def test_at_a_provider_while_the_store_is_away(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        users = logins.users
        back = await users.follow(await users.bring(await users.request_uri()))
        get, users.store.get = users.store.get, away  # type: ignore[method-assign]
        assert (await logins.back(back)).status_code == 503
        users.store.get = get  # type: ignore[method-assign]
        assert users.parameters_of(await users.decide(await logins.back(back)))["code"]


async def test_with_a_password(tmp_path: Path) -> None:
    async with running_providers(tmp_path, STAFF) as logins:
        users = logins.users
        page = await users.follow(await users.bring(await users.request_uri()))
        answer = await users.submit(page, "password-form", "log-in", username="ada", password="correct horse")
        assert users.parameters_of(await users.decide(answer))["code"]


async def test_back_to_a_native_application(users: UsersHarness) -> None:
    """It is confirmed each time, as without a push: anybody can push in the name of a public client."""
    await users.put_web(public=True, credentials=(), redirect_uris=("http://127.0.0.1/callback",))
    for prompt, status in ((None, 200), (None, 200), ("none", 303)):
        form = parameters(redirect_uri="http://127.0.0.1:9123/callback", prompt=prompt)
        uri = (await users.issuer.http.post("/par", data=form)).json()["request_uri"]
        answer = await users.follow(await users.bring(uri))
        if "login" in Page(answer).forms:
            answer = await users.submit(answer, "login", "user-ada")
        assert answer.status_code == status
        if status == 200:
            answer = await users.submit(answer, "consent", "allow")
            assert answer.headers["location"].startswith("http://127.0.0.1:9123/callback?code=")
        else:
            assert users.error_of(answer) == "interaction_required"


async def test_with_a_hint_of_another_user(users: UsersHarness) -> None:
    """The stored subject counts, although the browser brings no ID token."""
    await users.log_in("ada")
    sealed = SealedSessions(users.store, lambda: ISSUER, lambda: users.issuer.issuer.registry.session_keys)
    pushes, client = PushedRequests(sealed, users.issuer.clock), users.issuer.issuer.registry.clients.get(CLIENT_ID)
    assert client is not None
    stored_parameters = {name: (value,) for name, value in parameters().items()} | {"id_token_hint": ("u-other",)}
    uri = await pushes.push(new_handle(), client, stored_parameters)
    assert users.error_of(await users.bring(uri)) == "login_required"


async def test_an_issuer_with_a_path(tmp_path: Path) -> None:
    harness = UsersHarness(tmp_path, issuer_url="https://issuer.example.org/a%20b")
    async with harness.running() as users:
        answer = await users.issuer.http.post("/a%20b/par", data=parameters(), auth=(CLIENT_ID, SECRET))
        answer = await users.bring(answer.json()["request_uri"])
        assert users.parameters_of(await users.decide(answer))["iss"] == harness.issuer_url
