"""One seed: a month of days in which things happen, and at its end everything must be as if nothing had."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation import memos, patches
from tests.simulation.dues import BOUND, DUE, Dues, dues
from tests.simulation.ending import Ending, whole
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.people import People
from tests.simulation.server import CRDS, DECLARED
from tests.simulation.settings import HOUR, LONGEST_PAUSE, MONTH, RESYNC
from tests.simulation.simulation import HANDLER, Broken, Simulation


@dataclass
class Outcome:
    seed: int
    broken: Broken | None
    writes: int = 0
    tokens: int = 0
    checks: int = 0
    keys: int = 0
    credentials: int = 0


class Story:
    def __init__(self, seed: int, loop: VirtualLoop, tell: Callable[[str], None]) -> None:
        self.simulation = Simulation(seed, loop, tell)
        self.users, self.faults = People(self.simulation), Faults(self.simulation)
        self.chance, self.loop, self.tell = self.simulation.chance, loop, tell

    async def run(self) -> None:
        await self._begin()
        last_trouble = self.loop.now
        while self.loop.now < MONTH and not self.simulation.broken:
            await self._quietly(min(self.chance.expovariate(1 / (14 * HOUR)), 60 * HOUR))
            if self._in_step(max(last_trouble, self.users.crd_back)):
                self.simulation.allowed.settle()
                whole(self.simulation)
            await self.simulation.pods.ask()
            last_trouble = max(last_trouble, await self._incident())
        if not self.simulation.broken:
            await Ending(self.simulation, self.users, self.faults).rest()

    def _in_step(self, last_trouble: float) -> bool:
        """Whether everybody knows everything. Without a CRD nothing can be listed."""
        crds = len(self.simulation.server.all(CRDS)) == len(DECLARED)
        since = self.loop.now - last_trouble
        return crds and not self.faults.open and self.simulation.settled and since > RESYNC + LONGEST_PAUSE

    async def _begin(self) -> None:
        self.users.found()
        for process in (*self.simulation.operators, *self.simulation.issuers):
            process.start()
        await self.simulation.a_while(20.0)
        self.simulation.quiet.begin()

    async def _quietly(self, seconds: float) -> None:
        if not self.faults.open:
            await self.simulation.a_while(60.0)
        self.simulation.quiet.begin()
        end = self.loop.now + seconds
        while self.loop.now < end and not self.simulation.broken:
            await asyncio.sleep(min(self.chance.uniform(6 * HOUR, 24 * HOUR), end - self.loop.now))
            await self.simulation.pods.ask()

    async def _incident(self) -> float:
        """Users and faults, one upon another; when it was."""
        acts = [
            self.faults.happen if self.chance.random() < 0.4 else self.users.act
            for _ in range(self.chance.randint(1, 3))
        ]
        healing = bool(self.faults.open) and self.chance.random() < 0.7
        if not self.simulation.settled:
            self.simulation.quiet.end()
        if healing:
            self.tell("all faults end")
            await self.faults.heal()
            self._expect()
            acts = acts if self.chance.random() < 0.5 else []
        for act in acts:
            self.tell(f"*** {act()}")
            await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.2, 3.0)))
        await self.simulation.a_while(self.chance.uniform(0.0, 20.0))
        await self.simulation.pods.ask()
        return self.loop.now

    def _expect(self) -> None:
        """From now on nothing is in the way of what is due."""
        self.loop.call_later(BOUND, self._expected, dues(self.simulation.ledger), self.faults.count)

    def _expected(self, before: Dues, faults: int) -> None:
        if self.faults.open or self.faults.count != faults or not self.simulation.settled:
            return
        after = dues(self.simulation.ledger)
        for (plural, at), what in before.items():
            if after.get((plural, at)) == what:
                self.simulation.fail(DUE, f"{plural} {at}: {what} was due {BOUND:.0f} s ago, when all faults ended")


def tell(seed: int, say: Callable[[str], None] | None = None) -> Outcome:
    """Simulate one seed. `say` takes the story, line by line."""
    import logging

    loop = VirtualLoop()
    memos.forget()
    patches.running_loop(loop)
    logger = logging.getLogger("scopewright")
    if HANDLER not in logger.handlers:
        logger.addHandler(HANDLER)
    lines = say or (lambda line: None)
    story = Story(seed, loop, lambda line: lines(f"{loop.now / HOUR:10.4f} h  {line}"))
    task = loop.create_task(story.run())
    broken: Broken | None = None
    try:
        while not task.done() and not story.simulation.broken:
            loop.turn()
        broken = story.simulation.broken
        if task.done() and not broken:
            task.result()
        story.simulation.over = True
        loop.run_out(story.simulation.end())
    finally:
        patches.running_loop(None)
        HANDLER.simulation = None
    simulation = story.simulation
    return Outcome(
        seed,
        broken,
        simulation.writes,
        simulation.pods.issued,
        simulation.checks,
        simulation.keys_made,
        simulation.minted,
    )
