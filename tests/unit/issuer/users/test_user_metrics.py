"""What is counted of pages, logins, codes, refresh tokens, checks and the session store. Clients pay nothing for it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability.metrics import IssuerMetrics, shared_counters
from scopewright.issuer.observability.session_store import PROBE_SECONDS, MeasuredSessions
from scopewright.issuer.observability.tracing import no_spans
from scopewright.issuer.observability.user_metrics import UserLoad
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.login import LoginRefused, PasswordsBusy, TooManyAttempts, WrongPassword
from scopewright.issuer.users.pool import PoolExhausted, UserPool
from scopewright.stores.sessions import Delete, Put
from scopewright.upstream import UpstreamFailed
from tests.harness.failing_sessions import FailingSessions
from tests.harness.html_page import Page
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import NAMESPACE
from tests.harness.users import UsersHarness
from tests.unit.issuer.users.checked_sessions import CheckedSessions
from tests.unit.issuer.users.logins import public_client, running_logins
from tests.unit.issuer.users.provider_logins import COMPANY, STAFF, ProviderLogins, running_providers

PREFIX = "scopewright_issuer_"


def counted(metrics: IssuerMetrics, name: str) -> dict[str, float]:
    """The samples of a counter or gauge that are not 0, by the values of their labels."""
    return {
        " ".join(sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name in (PREFIX + name, f"{PREFIX}{name}_total") and sample.value
    }


def of(harness: IssuerHarness, name: str) -> dict[str, float]:
    return counted(harness.issuer.metrics, name)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[ProviderLogins]:
    async with running_providers(tmp_path, COMPANY, STAFF, identity_providers=("company", "staff")) as logins:
        yield logins


# Pages


async def test_pages_are_counted_by_handler_and_result(users: UsersHarness) -> None:
    await users.log_in("ada")
    await users.authorize(scope="unknown")
    await users.browser.get("/consent/unknown")
    requests = of(users.issuer, "user_requests")
    assert requests == {
        "authorize redirect": 2,
        "login page": 1,
        "login redirect": 1,
        "consent page": 1,
        "consent redirect": 1,
        "consent refused": 1,
    }
    assert of(users.issuer, "user_decisions") == {
        "consent allowed": 1,
        "authorize issued": 1,
        "authorize invalid_scope": 1,
    }
    assert of(users.issuer, "user_error_pages") == {"no_attempt": 1}
    assert of(users.issuer, "logins") == {"developer accepted": 1}
    assert of(users.issuer, "user_request_seconds_count") == {"authorize": 2, "login": 2, "consent": 3}


async def test_an_exhausted_pool_a_timeout_and_a_failure_have_results(
    users: UsersHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    application: Any = users.issuer.issuer.users
    pool = application._pool
    monkeypatch.setattr(application, "_pool", UserPool(requests=0))
    await users.authorize()
    monkeypatch.setattr(application, "_pool", UserPool(timeout=0.001))

    async def hang(*arguments: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(application, "_router", hang)
    await users.authorize()
    monkeypatch.setattr(application, "_pool", pool)

    async def fail(*arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(application, "_router", fail)
    await users.authorize()
    assert of(users.issuer, "user_requests") == {"authorize busy": 1, "authorize timeout": 1, "authorize failed": 1}
    assert of(users.issuer, "user_error_pages") == {"busy": 1, "timeout": 1, "exception": 1}


async def test_requests_in_progress_are_those_of_the_pool(users: UsersHarness) -> None:
    application: Any = users.issuer.issuer.users
    release = asyncio.Event()

    async def wait(*arguments: object) -> None:
        await release.wait()

    application._router = wait
    waiting = [asyncio.create_task(users.authorize()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert of(users.issuer, "user_requests_in_progress") == {"": 3}
    assert of(users.issuer, "user_requests_limit") == {"": 64}
    release.set()
    await asyncio.gather(*waiting)
    assert of(users.issuer, "user_requests_in_progress") == {}


# Logins


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (WrongPassword(), "password_wrong"),
        (TooManyAttempts(5), "password_too_many"),
        (PasswordsBusy(), "password_busy"),
    ],
)
async def test_refused_passwords_are_counted_by_reason(two: ProviderLogins, failure: Exception, expected: str) -> None:
    two.passwords.failure = failure
    choice = await two.begin()
    form = await two.get(Page(choice).links["provider-staff"])
    await two.users.submit(form, "password-form", "log-in", username="ada", password="x")
    assert of(two.users.issuer, "logins") == {f"static {expected}": 1}


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (None, "accepted"),
        (LoginRefused("too_many_groups", "300 groups"), "too_many_groups"),
        (UpstreamFailed("CertificateInvalid", "expired"), "CertificateInvalid"),
        (PoolExhausted("busy"), "busy"),
    ],
)
async def test_logins_at_providers_are_counted_by_reason(
    tmp_path: Path, failure: Exception | None, expected: str
) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        away = await logins.begin()
        logins.upstreams.failure = failure
        await logins.back(away)
        assert of(logins.users.issuer, "logins") == {f"openid {expected}": 1}


async def test_a_login_that_the_client_does_not_admit_is_counted_and_its_reason_is_a_word(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, allowed_groups=("managers",)) as logins:
        await logins.log_in()
        assert of(logins.users.issuer, "logins") == {"openid policy": 1}
        line = logins.audited("login")
        assert (line["result"], line["reason"], line["way"]) == ("access_denied", "policy", "openid")
        assert "managers" in line["detail"]


# Codes and refresh tokens


async def test_codes_and_refresh_tokens_are_counted_by_result() -> None:
    async with running_logins(public_client()) as logins:
        code = await logins.code(await logins.session())
        tokens = (await logins.redeem(code, secret=None)).json()
        await logins.redeem(code, secret=None)
        await logins.redeem("unknown", secret=None)
        await logins.redeem(await logins.code(await logins.session()), secret=None, resource="https://unknown")
        other = (await logins.tokens())["refresh_token"]
        await logins.refresh(other, secret=None)
        logins.harness.clock.advance(seconds=31)
        await logins.refresh(other, secret=None)
        await logins.refresh(tokens["refresh_token"], secret=None)
        assert of(logins.harness, "user_grants") == {
            "authorization_code issued": 2,
            "authorization_code code_replayed": 1,
            "authorization_code unknown_code": 1,
            "authorization_code other": 1,
            "refresh_token issued": 1,
            "refresh_token refresh_token_replayed": 1,
            "refresh_token unknown_refresh_token": 1,
        }


async def test_a_store_that_is_away_is_counted_for_its_grant(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.store.is_away = True
    assert (await at.refresh(token)).status_code == 503
    assert of(at.logins.harness, "user_grants")["refresh_token store_unavailable"] == 1
    assert of(at.logins.harness, "session_store_up") == {}
    at.store.is_away = False
    await at.refresh(token)
    assert of(at.logins.harness, "session_store_up") == {"": 1}


async def test_tokens_of_clients_for_themselves_count_nothing_of_users(users: UsersHarness) -> None:
    """Neither a counter nor a request to the store: they cost what they did before there were users."""
    metrics: Any = users.issuer.issuer.metrics.users
    before = bytes(metrics._cells.cast("B"))
    assert (await users.issuer.token()).status_code == 200
    assert (await users.issuer.token("leave.leave-worker", "wrong")).status_code == 401
    assert bytes(metrics._cells.cast("B")) == before


async def test_without_users_there_are_no_metrics_of_users(harness: IssuerHarness) -> None:
    names = {family.name for family in harness.issuer.metrics.collect()}
    assert "scopewright_issuer_requests" in names
    assert not {name for name in names if "user" in name or "login" in name or "session" in name}


# Checks


async def test_questions_to_providers_are_counted_by_result(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.becomes_due()
    await at.refresh(token)
    assert of(at.logins.harness, "user_checks") == {"confirmed": 1}
    at.upstream.failure = UpstreamFailed("Unreachable", "down")
    at.becomes_due()
    await at.refresh(token)
    at.upstream.failure = LoginRefused("too_many_groups", "300 groups")
    at.becomes_due()
    await at.refresh(token)
    at.upstream.failure = None
    at.deletes_ada()
    at.becomes_due()
    await at.refresh(token)
    assert of(at.logins.harness, "user_checks") == {"confirmed": 1, "no_answer": 1, "refused": 1, "ended": 1}
    assert of(at.logins.harness, "user_decisions")["session ended"] == 1


# The session store


def measured(harness: IssuerHarness, store: FailingSessions) -> tuple[MeasuredSessions, IssuerMetrics]:
    metrics = IssuerMetrics(Registry(NAMESPACE), harness.clock)
    metrics.users.load = UserLoad
    return MeasuredSessions(store, metrics.users, harness.clock, no_spans), metrics


async def test_a_measured_store_answers_as_the_store_and_counts_each_operation() -> None:
    harness = IssuerHarness()
    store = FailingSessions(harness.clock)
    sessions, metrics = measured(harness, store)
    key = b"k" * 32
    assert await sessions.write(Put(key, b"v", 60, 0))
    assert not await sessions.write(Put(key, b"w", 60, 0))
    found = await sessions.get(key)
    assert [stored.value for stored in found.values if stored] == [b"v"]
    assert (await sessions.scan()).values == (await store.scan()).values
    assert await sessions.store_id() == await store.store_id()
    assert await sessions.write(Delete(key))
    store.is_away = True
    with pytest.raises(Unavailable):
        await sessions.get(key)
    assert counted(metrics, "session_store_requests") == {
        "write ok": 2,
        "write conflict": 1,
        "get ok": 1,
        "scan ok": 1,
        "store_id ok": 1,
        "get unavailable": 1,
    }
    assert counted(metrics, "session_store_up") == {}


async def test_a_store_that_nobody_uses_is_asked_and_one_in_use_is_not() -> None:
    """Otherwise an alert would depend on logins, and would not end before the next one."""
    harness = IssuerHarness()
    sessions, metrics = measured(harness, FailingSessions(harness.clock))
    await sessions.get(b"k" * 32)
    await sessions.probe()
    assert counted(metrics, "session_store_requests") == {"get ok": 1}
    harness.clock.advance(seconds=PROBE_SECONDS)
    await sessions.probe()
    assert counted(metrics, "session_store_requests") == {"get ok": 1, "store_id ok": 1}


# Several processes


def test_counts_and_levels_of_all_workers_are_summed_and_one_without_store_is_enough() -> None:
    registry, shared = Registry(NAMESPACE), shared_counters(2)
    one, two = (IssuerMetrics(registry, lambda: 1.0, shared.row(row)) for row in (0, 1))
    for metrics in (one, two):
        metrics.users.load = lambda: UserLoad(3, 64, 2, 5)
        metrics.users.request("login", "page", 0.01)
        metrics._update()
    assert counted(one, "user_requests") == counted(two, "user_requests") == {"login page": 2}
    assert counted(one, "user_requests_in_progress") == {"": 6}
    assert counted(one, "user_requests_limit") == {"": 128}
    assert counted(one, "password_computations") == {"running": 4, "waiting": 10}
    assert counted(one, "session_store_up") == {"": 1}
    two.users.store("get", "unavailable", 0.1)
    assert counted(one, "session_store_up") == {}
    again = IssuerMetrics(registry, lambda: 1.0, shared.row(1))
    assert counted(again, "user_requests") == {}, "not a process with users"
    assert counted(one, "user_requests") == {"login page": 2}, "the row goes on"
    assert counted(one, "session_store_up") == {"": 1}


def test_what_no_list_has_is_counted_as_other() -> None:
    """A caller, a provider or a change of the code must not make a label."""
    metrics = IssuerMetrics(Registry(NAMESPACE), lambda: 1.0)
    metrics.users.load = UserLoad
    metrics.users.decided("user_error", "invalid_request", {"reason": "of a caller"})
    metrics.users.decided("login", "access_denied", {"way": "openid", "reason": "of a provider"})
    assert counted(metrics, "user_error_pages") == {"other": 1}
    assert counted(metrics, "logins") == {"openid other": 1}
