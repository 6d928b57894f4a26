"""Steps of users' requests run in turns, between which the event loop serves client tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from scopewright.core.failures import Unavailable
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.users.pool import UserPool
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.turns import SessionsInTurns, Turns
from tests.harness.clock import Clock
from tests.harness.failing_sessions import FailingSessions
from tests.harness.memory_sessions import MemorySessions


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
