"""Steps of users' requests run in turns, between which the event loop serves client tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count

import pytest

from scopewright.core.failures import Unavailable
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.users.pool import UserPool
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.turns import Line, SessionsInTurns, Turns, in_line
from tests.harness.clock import Clock
from tests.harness.failing_sessions import FailingSessions
from tests.harness.memory_sessions import MemorySessions
from tests.unit.issuer.users.logins import running_logins

FLOOD = 1000
"""Steps that wait at any time."""


class Loop:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.turn = 0

    @contextlib.asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._count())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()

    async def _count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


async def test_the_first_step_does_not_wait() -> None:
    loop = Loop()
    async with loop.counting():
        before = loop.turn
        await Turns().one()
        assert loop.turn == before


async def test_steps_run_in_different_turns_of_the_loop_and_in_their_order() -> None:
    loop, turns, ran = Loop(), Turns(), dict[int, int]()

    async def step(number: int) -> None:
        await turns.one()
        ran[number] = loop.turn

    async with loop.counting():
        await asyncio.gather(*map(step, range(20)))
    assert [*ran] == [*range(20)]
    assert len(set(ran.values())) == 20


async def test_a_cancelled_step_gives_its_turn_to_the_next() -> None:
    turns = Turns()
    await turns.one()
    waiting = [asyncio.create_task(turns.one()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(5):
        await waiting[2]
        await turns.one()


async def test_answers_of_the_store_are_used_in_turns() -> None:
    loop, store = Loop(), SessionsInTurns(MemorySessions(Clock()), Turns())
    ran: list[int] = []

    async def read() -> None:
        await store.get(b"key")
        ran.append(loop.turn)

    async with loop.counting():
        await asyncio.gather(*(read() for _ in range(20)))
    assert len(set(ran)) == 20


def test_pages_and_the_store_share_their_turns() -> None:
    """The settings of a process have one."""
    settings = UserEndpointSettings(MemorySessions(Clock()))
    assert UserPool(turns=settings.turns)._turns is settings.turns


async def test_failures_of_the_store_are_used_in_turns() -> None:
    """Each becomes a page: those of all requests at once would take as long as their answers."""
    loop, failing = Loop(), FailingSessions(Clock())
    failing.is_away = True
    store, ran = SessionsInTurns(failing, Turns()), list[int]()

    async def read() -> None:
        with contextlib.suppress(Unavailable):
            await store.get(b"key")
        ran.append(loop.turn)

    async with loop.counting():
        await asyncio.gather(*(read() for _ in range(20)))
    assert len(set(ran)) == 20


async def test_pages_begin_in_turns() -> None:
    """A page needs no store; the first step of each would run as its request is read."""
    loop, pool, ran = Loop(), UserPool(), list[int]()

    async def page() -> Answer:
        ran.append(loop.turn)
        return Answer(200, (), b"")

    async with loop.counting():
        await asyncio.gather(*(pool.run(HttpRequest("GET", "/authorize"), page) for _ in range(20)))
    assert len(set(ran)) == 20


@contextlib.asynccontextmanager
async def flooded(turns: Turns, line: Line) -> AsyncIterator["count[int]"]:
    """Steps that wait in the line during the block, as many as FLOOD at any time. Counts those that have run."""
    ran = count()

    async def repeat() -> None:
        with in_line(line):
            while True:
                await turns.one()
                next(ran)

    flood = [asyncio.create_task(repeat()) for _ in range(FLOOD)]
    await asyncio.sleep(0)
    try:
        yield ran
    finally:
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


@pytest.mark.parametrize(("flooding", "other"), [("others", "pages"), ("pages", "codes"), ("codes", "others")])
async def test_a_flood_in_one_line_takes_one_turn_before_each_step_of_another(flooding: Line, other: Line) -> None:
    turns = Turns()
    async with flooded(turns, flooding) as ran:
        before = next(ran)
        with in_line(other):
            await turns.one()
        assert next(ran) - before <= 2


async def test_logins_go_on_while_refreshes_flood() -> None:
    """In one line, each of their steps would wait for FLOOD others."""
    async with running_logins() as logins:
        assert logins.harness.users is not None
        code = await logins.code(await logins.session())
        async with flooded(logins.harness.users.turns, "others") as ran:
            before = next(ran)
            page = await logins.harness.http.get("/authorize", params={"client_id": "unknown"})
            redeemed = await logins.redeem(code)
            assert next(ran) - before < FLOOD
        assert (page.status_code, redeemed.status_code) == (400, 200)


async def test_refreshes_wait_in_another_line_than_codes() -> None:
    async with running_logins() as logins:
        assert logins.harness.users is not None
        tokens = await logins.tokens()
        code = await logins.code(await logins.session())
        async with flooded(logins.harness.users.turns, "codes") as ran:
            before = next(ran)
            assert (await logins.refresh(tokens["refresh_token"])).status_code == 200
            assert next(ran) - before < FLOOD
            before = next(ran)
            assert (await logins.redeem(code)).status_code == 200
            assert next(ran) - before > FLOOD
