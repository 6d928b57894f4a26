"""While another replica has another session store, users are refused everywhere, and clients notice nothing."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import ENTRY, USAGE_NAME
from scopewright.core.records.written_by_issuers import UsageRecord
from scopewright.core.session_stores import SILENT_ROUNDS, store_key
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.stores import Change
from tests.harness.clock import START
from tests.harness.html_page import Page
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import BANK, NAMESPACE, PAYROLL, PAYROLL_SERVICE, SECRET
from tests.unit.issuer.users.logins import CALLBACK, CLIENT_ID, VERIFIER, Logins, running_logins, s256, web_client
from tests.unit.issuer.users.test_user_exchange import MANAGER, install

BOTH = ("client_credentials", "authorization_code", "refresh_token")
PUSHED = {
    "response_type": "code",
    "client_id": CLIENT_ID,
    "redirect_uri": CALLBACK,
    "scope": "openid",
    "code_challenge": s256(VERIFIER),
    "code_challenge_method": "S256",
}
ADVICE = "set users.sessions.valkey, or run one replica of the issuer"


class Replica:
    """Another issuer of the installation, by its guard alone."""

    def __init__(self, harness: IssuerHarness, sessions: MemorySessions | None = None) -> None:
        self.harness = harness
        self.sessions = sessions or MemorySessions(harness.clock)
        self.guard = SessionStoreGuard(harness.store, NAMESPACE, self.sessions, harness.clock)

    async def look(self, *, is_round: bool = False) -> None:
        stored = self.harness.stored("ConfigMap", USAGE_NAME)
        self.guard.apply(Change(stored.existing, stored.entries))
        await self.guard.check(is_round=is_round)
        await settle()


def guard_of(harness: IssuerHarness) -> SessionStoreGuard:
    guard = harness.issuer.background.session_stores
    assert guard is not None
    return guard


def put_usage(harness: IssuerHarness) -> None:
    harness.put_object("ConfigMap", USAGE_NAME, {ENTRY: encode(UsageRecord(START))}, label="usage")


def reports(harness: IssuerHarness) -> UsageRecord:
    return decode(UsageRecord, harness.stored("ConfigMap", USAGE_NAME).entries[ENTRY])


async def part(logins: Logins) -> Replica:
    """Start another replica with a store of its own; both have noticed."""
    other = Replica(logins.harness)
    await other.look()
    await guard_of(logins.harness).check()
    await other.look()
    return other


@pytest.fixture
async def logins() -> AsyncIterator[Logins]:
    async with running_logins(web_client(grant_types=BOTH)) as logins:
        put_usage(logins.harness)
        await settle()
        await guard_of(logins.harness).check()
        yield logins


async def user_requests(logins: Logins, tokens: dict[str, Any], code: str) -> dict[str, Any]:
    """The answers of all that concerns users, by what was asked for."""
    http, token = logins.harness.http, str(tokens["access_token"])
    authorize = f"/authorize?response_type=code&client_id={CLIENT_ID}&redirect_uri={CALLBACK}&scope=openid"
    return {
        "authorize": await http.get(authorize),
        "authorize POST": await http.post("/authorize", data={"client_id": CLIENT_ID}),
        "login": await http.get("/login"),
        "callback": await http.get("/callback/company?code=a&state=b"),
        "consent": await http.post("/consent"),
        "logout": await http.get("/logout"),
        "account": await http.get("/account"),
        "par": await logins.post(PUSHED, SECRET, path="/par"),
        "userinfo": await http.get("/userinfo", headers={"authorization": f"Bearer {tokens['userinfo']}"}),
        "code": await logins.redeem(code),
        "refresh": await logins.refresh(tokens["refresh_token"]),
        "exchange": await logins.harness.exchange(token, PAYROLL_SERVICE, BANK),
        "revoke": await logins.post({"token": tokens["refresh_token"]}, SECRET, path="/revoke"),
    }


async def test_users_are_refused_with_what_to_do_and_go_on_afterwards(logins: Logins) -> None:
    tokens = await logins.tokens(MANAGER)
    await install(logins)
    tokens["userinfo"] = (await logins.tokens(access=()))["access_token"]
    code = await logins.code(await logins.session())
    other = await part(logins)
    answers = await user_requests(logins, tokens, code)
    for name, answer in answers.items():
        assert answer.status_code == 503, (name, answer.text)
        assert answer.headers["retry-after"] == "30", name
        assert "location" not in answer.headers
        if answer.headers["content-type"] == "application/json":
            assert answer.json()["error"] == "temporarily_unavailable", name
            assert ADVICE in answer.json()["error_description"], name
        else:
            assert ADVICE in Page(answer).texts["error-description"], name
    for line in map(json.loads, logins.harness.audit_lines[-len(answers) :]):
        assert line["reason"] == "session_store_not_shared", line

    await other.guard.finish()
    await settle()
    await guard_of(logins.harness).check()
    answers = await user_requests(logins, tokens, code)
    assert [name for name, answer in answers.items() if answer.status_code == 503] == []
    assert answers["par"].status_code == 201
    assert {answers[name].status_code for name in ("userinfo", "code", "refresh", "exchange", "revoke")} == {200}, (
        "nothing was used up"
    )


async def test_an_issuer_that_stops_in_order_removes_its_report() -> None:
    async with running_logins() as logins:
        put_usage(logins.harness)
        await settle()
        await guard_of(logins.harness).check()
        other = await part(logins)
        assert len(reports(logins.harness).session_stores) == 2
    assert list(reports(logins.harness).session_stores) == [store_key(await other.sessions.store_id())]
    await other.look()
    assert other.guard.is_shared


async def test_clients_documents_and_readiness_do_not_depend_on_it(logins: Logins) -> None:
    harness, tokens = logins.harness, await logins.tokens()
    before = (await harness.http.get("/.well-known/openid-configuration")).content
    assert gauge(harness) == 1.0
    await part(logins)
    assert gauge(harness) == 0.0
    own = await harness.token(resource=PAYROLL)
    assert own.status_code == 200, own.text
    assert (await harness.introspect(tokens["access_token"]))["active"] is True
    await harness.revoke(own.json()["access_token"])
    assert (await harness.http.get("/.well-known/openid-configuration")).content == before
    ready = await harness.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    [failing] = ready.json()["failing"]
    assert failing.startswith("session store: ")
    assert ADVICE in failing


def gauge(harness: IssuerHarness) -> float:
    [value] = [
        sample.value
        for metric in harness.issuer.metrics.collect()
        for sample in metric.samples
        if sample.name == "scopewright_issuer_session_store_shared"
    ]
    return value


async def test_it_is_logged_once_when_it_begins_and_when_it_ends(
    logins: Logins, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scopewright.issuer.session_stores")
    other = await part(logins)
    for _ in range(5):
        await other.look(is_round=True)
        await guard_of(logins.harness).check(is_round=True)
    await other.guard.finish()
    await settle()
    await guard_of(logins.harness).check()
    texts = [r.getMessage() for r in caplog.records]
    assert len([text for text in texts if ADVICE in text]) == 2, "one of each issuer"
    assert len([text for text in texts if "can log in again" in text]) == 1


async def test_replicas_with_one_store_report_it_once(logins: Logins) -> None:
    [stored] = reports(logins.harness).session_stores
    sessions = logins.harness.users.store if logins.harness.users else None
    assert isinstance(sessions, MemorySessions)
    assert stored == store_key(await sessions.store_id())
    other = Replica(logins.harness, sessions)
    version = logins.harness.stored("ConfigMap", USAGE_NAME).existing.resource_version
    for is_round in (False, True, True):
        await other.look(is_round=is_round)
    assert logins.harness.stored("ConfigMap", USAGE_NAME).existing.resource_version == version
    assert other.guard.is_shared


async def test_reports_of_usage_and_of_stores_do_not_overwrite_each_other(logins: Logins) -> None:
    harness = logins.harness
    other = await part(logins)
    assert (await harness.token(resource=PAYROLL)).status_code == 200
    usage = harness.issuer.background.usage
    assert usage is not None
    await usage.report()
    after = reports(harness)
    assert len(after.used) == 1
    assert len(after.session_stores) == 2
    await other.look(is_round=True)
    await other.look(is_round=True)
    assert reports(harness).used == after.used
    assert reports(harness).session_stores != after.session_stores


@pytest.mark.parametrize("parted", [True, False])
async def test_what_was_seen_last_counts_while_the_api_server_is_away(logins: Logins, *, parted: bool) -> None:
    """However many rounds pass: the other replica may still be there, or not."""
    harness, guard = logins.harness, guard_of(logins.harness)
    if parted:
        await part(logins)
    else:
        await Replica(harness).look()
    harness.store.unavailable = True
    for _ in range(3 * SILENT_ROUNDS):
        await guard.check(is_round=True)
        assert guard.is_shared is not parted
    harness.store.unavailable = False
    for _ in range(3 * SILENT_ROUNDS):
        await guard.check(is_round=True)
    assert guard.is_shared, "the other one is gone"


async def test_an_issuer_without_the_right_to_write_does_not_refuse(
    logins: Logins, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object) -> None:
        raise Rejected("Forbidden", "may not update ConfigMaps")

    replica = Replica(logins.harness)
    with monkeypatch.context() as patched:
        patched.setattr(logins.harness.store, "write", refuse)
        for _ in range(3):
            await replica.look(is_round=True)
    assert replica.guard.is_shared
    assert len([r for r in caplog.records if "may not update" in r.getMessage()]) == 1


async def test_a_store_that_is_away_is_not_another_store(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> str:
        raise Unavailable("away")

    other = Replica(logins.harness)
    await other.look()
    monkeypatch.setattr(other.sessions, "store_id", away)
    await guard_of(logins.harness).check()
    before = reports(logins.harness)
    for _ in range(3):
        await other.look(is_round=True)
    assert other.guard.is_shared
    assert reports(logins.harness) == before


async def test_a_report_of_a_store_that_was_emptied_meanwhile_refuses_nobody(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This issuer has asked for the id. Before it reports, the shared store is emptied, and the other one notices."""
    sessions = logins.harness.users.store if logins.harness.users else None
    assert isinstance(sessions, MemorySessions)
    other, asked = Replica(logins.harness, sessions), sessions.store_id

    async def late() -> str:
        former = await asked()
        monkeypatch.undo()
        sessions._id = "another id"
        await other.look()
        return former

    monkeypatch.setattr(sessions, "store_id", late)
    logins.harness.put_object("ConfigMap", USAGE_NAME, {ENTRY: encode(UsageRecord(START))}, label="usage")
    await settle()
    await guard_of(logins.harness).check()
    await other.look()
    assert other.guard.is_shared
    await guard_of(logins.harness).check()
    assert guard_of(logins.harness).is_shared
    assert list(reports(logins.harness).session_stores) == [store_key("another id")]


async def test_without_a_record_or_with_a_malformed_one_nothing_changes(logins: Logins) -> None:
    other = await part(logins)
    for entries in ({ENTRY: b"{"}, {}):
        logins.harness.put_object("ConfigMap", USAGE_NAME, entries, label="usage")
        await settle()
        await other.look(is_round=True)
        assert not other.guard.is_shared
    logins.harness.delete_object("ConfigMap", USAGE_NAME)
    await settle()
    await guard_of(logins.harness).check(is_round=True)
    assert not guard_of(logins.harness).is_shared
    put_usage(logins.harness)
    await settle()
    await guard_of(logins.harness).check()
    assert guard_of(logins.harness).is_shared


async def test_another_installation_is_no_replica(logins: Logins) -> None:
    """Its record is in another namespace."""
    harness = logins.harness
    guard = SessionStoreGuard(harness.store, "other-namespace", MemorySessions(), harness.clock)
    assert guard.ref != guard_of(harness).ref
    await guard.check(is_round=True)
    assert guard.is_shared
    assert len(reports(harness).session_stores) == 1


async def test_an_issuer_without_users_reports_nothing() -> None:
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    put_usage(harness)
    async with harness.running():
        assert harness.issuer.background.session_stores is None
        assert b"session_store_shared" not in harness.issuer.metrics.answer().body
        assert reports(harness).session_stores == {}


async def test_an_issuer_that_only_reads_its_store_reports_nothing() -> None:
    async with running_logins(reports=False) as logins:
        background = logins.harness.issuer.background
        assert (background.session_stores, background.usage) == (None, None)
        assert b"session_store_shared" not in logins.harness.issuer.metrics.answer().body


async def test_the_issuer_looks_when_the_record_changes_and_in_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it runs: nobody calls the guard."""
    monkeypatch.setattr("scopewright.issuer.session_stores.ROUND_SECONDS", 0.05)
    monkeypatch.setattr("scopewright.issuer.session_stores._SPREAD_SECONDS", 0.0)
    async with running_logins() as logins:
        put_usage(logins.harness)
        other = Replica(logins.harness)
        guard = guard_of(logins.harness)
        while guard.is_shared:
            await other.look()
        assert len(reports(logins.harness).session_stores) == 2
        while not guard.is_shared:  # the other one is silent from now on
            await settle()
    assert len(reports(logins.harness).session_stores) == 1
