"""The login of static users, from page to token: guessing, flooding, and what shows whether a user exists."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from scopewright.cli.users import hashed
from scopewright.core.providers.static_users import encode_static_users
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.core.users import subject_of
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.upstream.computations import Computations
from scopewright.issuer.upstream.password_budgets import PasswordBudgets
from scopewright.issuer.upstream.passwords import Passwords, is_password_of
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.harness.samples import SECRET
from tests.harness.users import CLIENT_ID, REDIRECT_URI, VERIFIER, UsersHarness, provider_of, static_user, web_record
from tests.harness.waiting import until

PASSWORD: Final = "correct horse"  # of a test
HASH: Final = hashed(PASSWORD)
STAFF: Final = provider_of(
    "staff", oidc=None, subject_domain="static:staff", claims=ClaimMappings(groups_allow=("hr-staff", "guests"))
)
WRONG: Final = "The user name or the password is wrong."


def staff(*users: Any) -> Any:
    return replace(STAFF, users=encode_static_users(users))


@dataclass
class StaticLogins:
    users: UsersHarness
    checked: list[str]
    """The hash of each computation."""
    go_on: threading.Event
    """Cleared: computations do not end."""

    async def form(self, browser: httpx.AsyncClient | None = None) -> httpx.Response:
        return await self.users.follow(await self.users.authorize(browser), browser)

    async def send(
        self,
        form: httpx.Response,
        username: str = "ada",
        password: str = PASSWORD,
        *,
        browser: httpx.AsyncClient | None = None,
        address: str = "192.0.2.1",
    ) -> httpx.Response:
        forwarded = {"x-forwarded-for": address}
        fields = {"username": username, "password": password}
        return await self.users.submit(form, "password-form", "log-in", browser, forwarded, **fields)

    async def log_in(
        self, username: str = "ada", password: str = PASSWORD, address: str = "192.0.2.1"
    ) -> httpx.Response:
        """In a new browser: nothing that a guesser could throw away counts the guesses."""
        async with self.users.open_browser() as browser:
            return await self.send(await self.form(browser), username, password, browser=browser, address=address)

    async def until_checked(self, count: int) -> None:
        await until(lambda: len(self.checked) >= count)


@asynccontextmanager
async def running_static(
    folder: Path, check: Callable[[str, bytes], bool] | None = None
) -> AsyncIterator[UsersHarness]:
    """An issuer behind a proxy, with the user `ada`. Without `check` its passwords are checked as in production."""
    harness = UsersHarness(folder)
    issuer = harness.issuer
    if check is not None:
        computations = Computations(turn_seconds=60)  # not the 3 s of production, which a busy machine needs
        checked = Passwords(issuer.clock, PasswordBudgets(issuer.clock), check=check, computations=computations)
        assert issuer.users is not None
        issuer.users = replace(issuer.users, passwords=checked)
    issuer.proxies = TrustedProxies(["127.0.0.1/32"])
    id_token_key = issuer.put_key("RS256", 1, signing_key="id-tokens")
    issuer.publish(issuer.put_key().jwk, id_token_key.jwk)
    issuer.put_provider(staff(static_user("ada", passwordHash=HASH, groups=["hr-staff"])))
    issuer.put(web_record(identity_providers=("staff",)))
    async with harness.running() as users:
        yield users


@pytest.fixture
async def logins(tmp_path: Path) -> AsyncIterator[StaticLogins]:
    checked, go_on = list[str](), threading.Event()
    go_on.set()

    def counted(password_hash: str, password: bytes) -> bool:
        checked.append(password_hash)
        assert go_on.wait(5)
        return is_password_of(password_hash, password)

    async with running_static(tmp_path, counted) as users:
        yield StaticLogins(users, checked, go_on)
        go_on.set()


def same_for_all(answer: httpx.Response, username: str) -> tuple[Any, ...]:
    """Everything of the answer but its secrets and the name that was typed."""
    cookies = sorted(re.sub(r"=[^;]*", "=", header, count=1) for header in answer.headers.get_list("set-cookie"))
    headers = {name: value for name, value in answer.headers.items() if name not in ("set-cookie", "content-length")}
    body = re.sub(
        r'(name="csrf" value=|/consent/|/login/|nonce-)[\w."-]+', r"\1", answer.text.replace(username, "NAME")
    )
    return answer.status_code, re.sub(r"nonce-[\w=+/-]+", "", str(headers)), cookies, body


@pytest.fixture
async def users(tmp_path: Path) -> AsyncIterator[UsersHarness]:
    async with running_static(tmp_path) as users:
        yield users


async def test_a_static_user_logs_in_and_has_tokens(users: UsersHarness) -> None:
    logins = StaticLogins(users, [], threading.Event())
    consent = await logins.send(await logins.form(), "ADA")
    code = users.parameters_of(await users.submit(consent, "consent", "allow"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
    response = await users.issuer.http.post("/token", data=form, auth=(CLIENT_ID, SECRET))
    assert response.status_code == 200, response.text
    tokens = response.json()
    assert tokens["scope"] == "openid payroll.read"
    assert (await users.issuer.claims(response))["sub"] == subject_of("static:staff", "ada")

    async def refreshed() -> dict[str, Any]:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        answer = await users.issuer.http.post("/token", data=form, auth=(CLIENT_ID, SECRET))
        content: dict[str, Any] = answer.json()
        return content

    users.issuer.put_provider(staff(static_user("ada", passwordHash=HASH, groups=["guests"])))
    await settle()
    assert (await refreshed())["error"] == "invalid_target"  # no scope is left at the API
    users.issuer.put_provider(staff(static_user("grace", username="ada", passwordHash=HASH)))
    await settle()
    assert (await refreshed())["error"] == "invalid_grant"
    assert "password-form" in Page(await logins.form()).forms


async def test_nothing_shows_whether_a_user_exists(logins: StaticLogins) -> None:
    """Status, headers, cookies, text and work, also when the budget is used up."""
    for attempt in range(8):
        known = await logins.log_in("ada", "wrong", "192.0.2.1")
        unknown = await logins.log_in("eve", "wrong", "192.0.2.2")
        assert same_for_all(known, "ada") == same_for_all(unknown, "eve")
        assert known.status_code == (403 if attempt < 5 else 429)
        assert len(logins.checked) == 2 * min(attempt + 1, 5)
    assert len({checked.split("$")[3] for checked in logins.checked}) == 1


async def test_guesses_are_refused_whatever_browser_and_spelling_they_have(logins: StaticLogins) -> None:
    answers = [await logins.log_in(name, "wrong") for name in ("ada", "ADA", "Ada ", "\uff41da", " ada")]
    assert [(answer.status_code, Page(answer).texts["password-problem"]) for answer in answers] == [(403, WRONG)] * 5
    refused = await logins.log_in("ada")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "Too many wrong passwords" in Page(refused).texts["password-problem"]
    assert "consent" in Page(await logins.log_in("ada", address="192.0.2.2")).forms
    logins.users.issuer.clock.advance(seconds=1)
    assert "consent" in Page(await logins.log_in("ada")).forms


async def test_an_address_of_the_caller_cannot_be_invented(logins: StaticLogins) -> None:
    """Only what the trusted proxy appends counts."""
    for guess in range(6):
        answer = await logins.log_in("ada", "wrong", f"203.0.113.{guess}, 192.0.2.1")
    assert answer.status_code == 429


async def test_guesses_at_many_users_use_up_the_address(logins: StaticLogins) -> None:
    statuses = [(await logins.log_in(f"user-{number}", "wrong")).status_code for number in range(31)]
    assert statuses == [403] * 30 + [429]
    assert (await logins.log_in("ada")).status_code == 429
    assert "consent" in Page(await logins.log_in("ada", address="192.0.2.2")).forms


async def test_a_flood_waits_and_is_refused_while_clients_get_tokens(logins: StaticLogins) -> None:
    logins.go_on.clear()
    flood = [asyncio.create_task(logins.log_in(f"user-{number}", "x", f"10.0.0.{number}")) for number in range(40)]
    await logins.until_checked(2)
    await until(lambda: sum(task.done() for task in flood) >= 18)
    issuer = logins.users.issuer
    done = [task.result() for task in flood if task.done()]
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in done} == {(503, "2")}
    assert len(done) == 18
    assert (await issuer.http.get("/readyz")).status_code == 200
    assert (await issuer.token()).status_code == 200
    logins.go_on.set()
    statuses = [(await task).status_code for task in flood]
    assert (statuses.count(403), statuses.count(503)) == (22, 18)


async def test_a_wrong_password_changes_no_cookie(logins: StaticLogins) -> None:
    form = await logins.form()
    before = dict(logins.users.browser.cookies)
    for password in ("wrong", "", "x" * 1024):
        answer = await logins.send(form, "ada", password)
        assert answer.headers.get_list("set-cookie") == []
    assert dict(logins.users.browser.cookies) == before


async def test_no_part_of_a_login_is_logged(logins: StaticLogins, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    await logins.log_in("typed-as-name", "wrong-password")
    await logins.log_in("ada", PASSWORD)
    logged = caplog.text + "".join(map(str, logins.users.issuer.audit_lines))
    assert not re.search(f"typed-as-name|wrong-password|{PASSWORD}|argon2", logged)
