"""The order of turns if one address has many steps."""

import asyncio
from itertools import pairwise

from scopewright.http.turns import AddressTurns


class Job:
    def __init__(self, name: str, done: list[str]) -> None:
        self._name = name
        self._done = done

    def turn(self) -> None:
        self._done.append(self._name)


async def test_one_job_runs_in_each_loop_iteration_and_addresses_take_turns() -> None:
    turns, done = AddressTurns(), list[str]()
    for n in range(4):
        turns.ask("a", Job(f"a{n}", done))
    turns.ask("b", Job("b0", done))
    assert done == ["a0"], "the first job does not wait"
    await asyncio.sleep(0)
    turns.ask("c", Job("c0", done))
    seen = []
    for _ in range(8):
        seen.append(len(done))
        await asyncio.sleep(0)
    assert all(later - earlier <= 1 for earlier, later in pairwise(seen))
    assert done == ["a0", "a1", "a2", "b0", "a3", "c0"]
    turns.ask("a", Job("again", done))
    assert done[-1] == "again", "no job waits, so this one does not"


async def test_new_address_is_at_most_second_in_the_queue() -> None:
    turns, done = AddressTurns(), list[str]()
    for address in map(str, range(9)):
        for _ in range(50):
            turns.ask(address, Job(address, done))
    for _ in range(40):
        await asyncio.sleep(0)
    before = len(done)
    turns.ask("caller", Job("caller", done))
    for _ in range(2):
        await asyncio.sleep(0)
    assert "caller" in done[before : before + 2]
    await asyncio.sleep(0.1)
    assert all(done.count(str(n)) == 50 for n in range(9))


async def test_new_addresses_get_every_second_turn() -> None:
    turns, done = AddressTurns(), list[str]()
    for _ in range(60):
        turns.ask("old", Job("old", done))
    for n in range(60):
        turns.ask(f"new {n}", Job("new", done))
        await asyncio.sleep(0)
    assert 25 <= done.count("old") <= 35


async def test_removed_job_gets_no_turn() -> None:
    turns, done = AddressTurns(), list[str]()
    jobs = [Job(str(n), done) for n in range(3)]
    for job in jobs:
        turns.ask("a", job)
    turns.leave("a", jobs[1])
    turns.leave("a", jobs[1])
    turns.leave("other", jobs[1])
    await asyncio.sleep(0.01)
    assert done == ["0", "2"]
    assert not turns._new
    assert not turns._old
