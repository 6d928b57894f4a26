"""Whose turn it is where one address has much to do."""

import asyncio
from itertools import pairwise

from scopewright.http.turns import Turns


class Job:
    def __init__(self, name: str, done: list[str]) -> None:
        self._name = name
        self._done = done

    def turn(self) -> None:
        self._done.append(self._name)


async def test_one_in_each_round_of_the_loop_and_addresses_take_turns() -> None:
    turns, done = Turns(), list[str]()
    for n in range(4):
        turns.ask("a", Job(f"a{n}", done))
    turns.ask("b", Job("b0", done))
    assert done == ["a0"], "the first does not wait"
    await asyncio.sleep(0)
    turns.ask("c", Job("c0", done))
    seen = []
    for _ in range(8):
        seen.append(len(done))
        await asyncio.sleep(0)
    assert all(later - earlier <= 1 for earlier, later in pairwise(seen))
    assert done == ["a0", "a1", "b0", "a2", "c0", "a3"]
    turns.ask("a", Job("again", done))
    assert done[-1] == "again", "nobody waits, so this does not either"


async def test_who_leaves_has_no_turn_and_is_forgotten() -> None:
    turns, done = Turns(), list[str]()
    jobs = [Job(str(n), done) for n in range(3)]
    for job in jobs:
        turns.ask("a", job)
    turns.leave("a", jobs[1])
    turns.leave("a", jobs[1])
    turns.leave("other", jobs[1])
    await asyncio.sleep(0.01)
    assert done == ["0", "2"]
    assert not turns._waiting
