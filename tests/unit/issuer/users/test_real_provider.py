"""The pages with the real client, against a provider on loopback that misbehaves: what reaches users and the log."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from scopewright.core.records.identity_provider import ClaimMappings, UpstreamClient
from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.harness.openid_provider import OpenIDProvider
from tests.harness.openid_replies import Reply, reply_json, replying
from tests.harness.users import UsersHarness, provider_of, web_record

SESSION: Final = "__Host-scopewright-session"


@dataclass
class RealLogins:
    users: UsersHarness
    openid: OpenIDProvider

    async def log_in(self, **changes: Any) -> httpx.Response:
        """Until the page or the redirect after the callback."""
        away = await self.users.follow(await self.users.authorize(**changes))
        return await self.back(self.openid.visit(away.headers["location"]))

    async def back(self, url: str, browser: httpx.AsyncClient | None = None) -> httpx.Response:
        return await self.users.follow(await (browser or self.users.browser).get(url), browser)

    async def visit(self, browser: httpx.AsyncClient | None = None, **changes: Any) -> str:
        """Where the provider sends the browser after a login."""
        away = await self.users.follow(await self.users.authorize(browser, **changes), browser)
        return self.openid.visit(away.headers["location"])

    def audited(self) -> dict[str, Any]:
        """The last line about a login."""
        return next(
            line for line in map(json.loads, reversed(self.users.issuer.audit_lines)) if line["event"] == "login"
        )


def company(openid: OpenIDProvider, **changes: Any) -> Provider:
    fields: dict[str, Any] = {
        "oidc": UpstreamClient(openid.issuer, openid.client_id),
        "subject_domain": openid.issuer,
        "claims": ClaimMappings(groups=("groups",), groups_allow=("hr-*",)),
        "client_secret": openid.client_secret,
    }
    return provider_of(**fields | changes)


@pytest.fixture
async def logins(tmp_path: Path) -> AsyncIterator[RealLogins]:
    harness = UsersHarness(tmp_path)
    assert harness.issuer.users is not None
    harness.issuer.users = replace(harness.issuer.users, allow_loopback=True)
    with OpenIDProvider(clock=harness.issuer.clock) as openid:
        openid.users["ada"]["groups"] = ["hr-staff", "finance"]
        harness.issuer.put_provider(company(openid))
        async with harness.running() as users:
            yield RealLogins(users, openid)


async def test_a_user_logs_in_and_has_the_groups_that_the_provider_may_say(logins: RealLogins) -> None:
    consent = await logins.log_in()
    assert "Ada Lovelace" in Page(consent).texts["main"]
    assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))
    account = Page(await logins.users.browser.get("/account")).texts["account-page"]
    assert subject_of(logins.openid.issuer, "ada") in account
    assert "hr-staff" in account
    assert "finance" not in account
    assert (logins.openid.count("authorize"), logins.openid.count("token")) == (1, 1)


async def test_a_user_who_refuses_there_can_return_to_the_application(logins: RealLogins) -> None:
    logins.openid.user = None
    page = await logins.log_in()
    assert (page.status_code, logins.audited()["reason"]) == (403, "provider_denied")
    assert logins.users.error_of(await logins.users.submit(page, "back-form", "back")) == "access_denied"


async def test_the_answer_of_another_attempt_logs_nobody_in(logins: RealLogins) -> None:
    """Login CSRF, with a code that the provider has really issued to an attacker."""
    async with logins.users.open_browser() as attacker:
        url = await logins.visit(attacker)
        await logins.visit()
        assert (await logins.back(url)).status_code == 400
        assert SESSION not in logins.users.browser.cookies
        assert logins.openid.count("token") == 0


async def test_the_code_of_an_attacker_in_an_own_answer_is_refused(logins: RealLogins) -> None:
    """Code injection: the verifier of PKCE and the nonce are those of the victim's attempt."""
    async with logins.users.open_browser() as attacker:
        stolen = httpx.URL(await logins.visit(attacker)).params["code"]
        url = httpx.URL(await logins.visit())
        answer = await logins.back(str(url.copy_set_param("code", stolen)))
        assert (answer.status_code, logins.audited()["reason"]) == (403, "code")
        assert SESSION not in logins.users.browser.cookies


async def test_an_answer_of_another_issuer_is_refused(logins: RealLogins) -> None:
    """Mix-up (RFC 9207 §2.4)."""
    logins.openid.response = {"iss": "https://evil.example"}
    answer = await logins.log_in()
    assert (answer.status_code, logins.audited()["reason"]) == (403, "response_iss")
    assert logins.openid.count("token") == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nonce": "that of another visit"}, "id_token"),
        ({"aud": "another-client"}, "id_token"),
        ({"iss": "https://evil.example"}, "id_token"),
        ({"exp": 1}, "id_token"),
        ({"groups": [f"hr-{n}" for n in range(201)]}, "too_many_groups"),
    ],
)
async def test_an_id_token_that_is_not_acceptable_is_a_page(
    logins: RealLogins, change: dict[str, Any], reason: str
) -> None:
    logins.openid.id_token = change
    answer = await logins.log_in()
    line = logins.audited()
    assert (answer.status_code, line["result"], line["reason"]) == (403, "access_denied", reason)
    assert Page(answer).texts["error-id"] == line["error_id"]
    assert SESSION not in logins.users.browser.cookies
    logins.openid.id_token = {}
    assert "consent" in Page(await logins.log_in()).forms


async def test_text_of_the_provider_is_in_one_audit_line_and_on_no_page(logins: RealLogins) -> None:
    text = '"}\n{"event":"login","result":"accepted"\r\n\x1b[2J\u2028<b>' * 40
    logins.openid.response = {"error": text, "error_description": text, "code": None}
    answer = await logins.log_in()
    assert answer.status_code == 403
    assert "accepted" not in answer.text
    raw = logins.users.issuer.audit_lines[-1]
    assert raw.isprintable()
    assert len(raw) < 700
    assert json.loads(raw)["reason"] == "provider_error"


@pytest.mark.parametrize(
    ("endpoint", "reply"),
    [
        ("token", reply_json({"error": "temporarily_unavailable"}, 503)),
        ("jwks", Reply(500)),
        ("token", Reply(200, b"x" * (2 << 20))),
    ],
)
async def test_a_provider_that_fails_is_a_page_and_the_next_try_works(
    logins: RealLogins, endpoint: str, reply: Reply
) -> None:
    logins.openid.replies[endpoint] = replying(reply)
    answer = await logins.log_in()
    assert (answer.status_code, logins.audited()["result"]) == (503, "temporarily_unavailable")
    assert logins.openid.client_secret not in "".join(logins.users.issuer.audit_lines)
    del logins.openid.replies[endpoint]
    assert "consent" in Page(await logins.log_in()).forms


async def test_a_provider_without_metadata_is_a_page(logins: RealLogins) -> None:
    logins.openid.replies["metadata"] = replying(Reply(503))
    answer = await logins.users.follow(await logins.users.authorize())
    assert (answer.status_code, logins.audited()["result"]) == (503, "temporarily_unavailable")
    assert "does not answer" in Page(answer).texts["login-problem"]


# Fresh logins


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "60"}])
async def test_a_login_that_the_provider_remembers_is_not_fresh(logins: RealLogins, changes: dict[str, str]) -> None:
    logins.openid.auth_time = int(logins.users.issuer.clock()) - 3600
    answer = await logins.log_in(**changes)
    assert (answer.status_code, logins.audited()["reason"]) == (403, "login_too_old")
    asked = logins.openid.last("authorize").parameters
    assert asked.get("prompt") == (None if changes == {"max_age": "60"} else "login")
    logins.openid.auth_time = None
    again = await logins.users.browser.get(again_path(answer))
    consent = await logins.back(logins.openid.visit(again.headers["location"]))
    assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))


async def test_a_provider_that_does_not_say_when_cannot_prove_a_fresh_login(logins: RealLogins) -> None:
    logins.openid.id_token = {"auth_time": None}
    assert (await logins.log_in(prompt="login")).status_code == 403
    assert logins.audited()["reason"] in ("login_too_old", "id_token")


async def test_the_session_has_the_time_of_the_providers_login(logins: RealLogins) -> None:
    logins.openid.auth_time = int(logins.users.issuer.clock()) - 1000
    consent = await logins.log_in()
    assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))
    for max_age, known in (("1000", True), ("999", False)):
        answer = logins.users.parameters_of(await logins.users.authorize(prompt="none", max_age=max_age))
        assert ("code" in answer) is known


# A provider that was created again


async def test_a_provider_of_the_same_name_takes_over_nobody(logins: RealLogins) -> None:
    consent = await logins.log_in()
    await logins.users.submit(consent, "consent", "allow")
    url = await logins.visit(prompt="login")
    with OpenIDProvider(clock=logins.users.issuer.clock) as evil:
        logins.users.issuer.put_provider(company(evil, uid="uid-of-a-later-company"))
        await settle()
        assert (await logins.back(url)).status_code == 400
        assert logins.users.error_of(await logins.users.authorize(prompt="none")) == "login_required"
        assert evil.count("token") == 0


async def test_a_client_that_does_not_name_the_provider_has_no_way_to_it(logins: RealLogins) -> None:
    url = await logins.visit()
    logins.users.issuer.put(web_record(identity_providers=("another",)))
    await settle()
    assert (await logins.back(url)).status_code == 404
    assert logins.openid.count("token") == 0


def again_path(answer: httpx.Response) -> str:
    """The link `try-again`."""
    return answer.text.partition('id="try-again" href="')[2].partition('"')[0]
