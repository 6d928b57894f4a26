"""Two issuers that run: one server for both is shared, also after it lost everything; a file or server each is not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import ENTRY, USAGE_NAME
from scopewright.core.records.written_by_issuers import UsageRecord
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.stores.sessions import SessionStore
from scopewright.stores.sessions.sqlite import SqliteSessions
from scopewright.stores.sessions.valkey import ValkeySessions
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness
from tests.harness.valkey_server import ValkeyServer
from tests.harness.waiting import until, until_answer
from tests.unit.issuer.users.logins import running_logins


class Pair:
    """Two running issuers with the records of one installation."""

    def __init__(self, first: IssuerHarness, second: IssuerHarness) -> None:
        self.issuers = [first, second]
        self._running = AsyncExitStack()

    async def start(self, number: int) -> None:
        await self._running.enter_async_context(self.issuers[number].running())

    async def stop_second(self) -> None:
        await self._running.aclose()

    def reports(self) -> int:
        stored = self.issuers[0].stored("ConfigMap", USAGE_NAME)
        return len(decode(UsageRecord, stored.entries[ENTRY]).session_stores)

    async def statuses(self) -> list[int]:
        """Of a page for users, at each issuer."""
        return [(await issuer.http.get("/account")).status_code for issuer in self.issuers]

    async def answer(self, *statuses: int) -> bool:
        return await self.statuses() == [*statuses]

    async def first_serves(self) -> bool:
        return (await self.issuers[0].http.get("/account")).status_code != 503


@pytest.fixture
async def pair(kind: str, server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr("scopewright.issuer.session_stores.ROUND_SECONDS", 0.1)
    monkeypatch.setattr("scopewright.issuer.session_stores._SPREAD_SECONDS", 0.01)
    namespace = f"test-{uuid4().hex}"
    stores: dict[str, Callable[[int], SessionStore]] = {
        "one server": lambda number: ValkeySessions(server.url, namespace),
        "one file": lambda number: SqliteSessions(tmp_path / "sessions.db"),
        "two servers": lambda number: ValkeySessions(server.url, f"{namespace}-{number}"),
        "two files": lambda number: SqliteSessions(tmp_path / f"sessions-{number}.db"),
    }
    first, second = (stores[kind](number) for number in range(2))
    async with running_logins(store=first) as logins:
        logins.harness.put_object("ConfigMap", USAGE_NAME, {ENTRY: encode(UsageRecord(START))}, label="usage")
        other = IssuerHarness(logins.harness.store, logins.harness.clock, can_write=True)
        assert logins.harness.users
        other.users = UserEndpointSettings(second, logins.harness.users.developer)
        made = Pair(logins.harness, other)
        await made.start(1)
        yield made
        await made.stop_second()
    for store in (first, second):
        await store.close()


@pytest.mark.parametrize("kind", ["two servers", "two files"])
async def test_issuers_with_a_store_each_refuse_users_until_one_of_them_stops(pair: Pair) -> None:
    await until_answer(lambda: pair.answer(503, 503))
    for _ in range(20):
        assert await pair.statuses() == [503, 503]
        await asyncio.sleep(0.05)
    await pair.stop_second()
    await until_answer(pair.first_serves)
    assert pair.reports() == 1


@pytest.mark.parametrize("kind", ["one server", "one file"])
async def test_issuers_with_one_store_never_refuse_users(pair: Pair) -> None:
    await until(pair.reports)
    for _ in range(20):
        assert 503 not in await pair.statuses()
        await asyncio.sleep(0.02)
    assert pair.reports() == 1


@pytest.mark.parametrize("kind", ["one server"])
async def test_a_server_that_lost_everything_is_still_shared(pair: Pair, server: ValkeyServer) -> None:
    await until(pair.reports)
    before = pair.issuers[0].stored("ConfigMap", USAGE_NAME).entries[ENTRY]
    for _ in range(3):
        with server.client() as admin:
            admin.flushall()
        while (after := pair.issuers[0].stored("ConfigMap", USAGE_NAME).entries[ENTRY]) == before:
            assert 503 not in await pair.statuses()
            await asyncio.sleep(0.01)
        before = after
    for _ in range(20):
        assert 503 not in await pair.statuses()
        await asyncio.sleep(0.02)
    assert pair.reports() == 1
