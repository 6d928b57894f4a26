"""One seed: a month of days in which things happen, and at its end everything must be as if nothing had."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation import memos, patches
from tests.simulation.faults import Faults
from tests.simulation.ledger import digest_in, secret_name
from tests.simulation.loop import VirtualLoop
from tests.simulation.people import People
from tests.simulation.pods import Pod
from tests.simulation.server import USER, Where
from tests.simulation.settings import HOUR, MONTH, RESYNC
from tests.simulation.world import HANDLER, Broken, World


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
        self.world = World(seed, loop, tell)
        self.users, self.faults = People(self.world), Faults(self.world)
        self.chance, self.loop, self.tell = self.world.chance, loop, tell

    async def run(self) -> None:
        await self._begin()
        last_trouble = self.loop.now
        while self.loop.now < MONTH and not self.world.broken:
            await self._quietly(min(self.chance.expovariate(1 / (14 * HOUR)), 60 * HOUR))
            if not self.faults.open and self.loop.now - last_trouble > RESYNC + 600:
                self.world.allowed.settle()
            await self.world.pods.ask()
            last_trouble = max(last_trouble, await self._incident())
        if not self.world.broken:
            await self.rest()

    async def _begin(self) -> None:
        self.users.found()
        for process in (*self.world.operators, *self.world.issuers):
            process.start()
        await self._a_while(20.0)
        self.world.quiet.begin()

    async def _quietly(self, seconds: float) -> None:
        self.world.quiet.begin()
        end = self.loop.now + seconds
        while self.loop.now < end and not self.world.broken:
            await asyncio.sleep(min(self.chance.uniform(6 * HOUR, 24 * HOUR), end - self.loop.now))
            await self.world.pods.ask()

    async def _incident(self) -> float:
        """Users and faults, one upon another; when it was."""
        acts = [
            self.faults.happen if self.chance.random() < 0.4 else self.users.act
            for _ in range(self.chance.randint(1, 3))
        ]
        healing = bool(self.faults.open) and self.chance.random() < 0.7
        if not self.world.settled:
            self.world.quiet.end()
        if healing:
            self.tell("all faults end")
            await self.faults.heal()
        for act in acts:
            self.tell(f"*** {act()}")
            await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.2, 3.0)))
        await self._a_while(self.chance.uniform(0.0, 20.0))
        await self.world.pods.ask()
        return self.loop.now

    async def _a_while(self, seconds: float) -> None:
        """As long as something may change about who leads, each second counts."""
        end = self.loop.now + seconds
        while (left := end - self.loop.now) > 0:
            if self.world.settled:
                self.world.quiet.begin()
                await asyncio.sleep(left)
            else:
                await asyncio.sleep(min(2.0, left))

    # The end

    async def rest(self) -> None:
        """Everything heals, and two comparisons later nothing is written any more."""
        world = self.world
        self.tell("*** the end: everything heals")
        world.quiet.end()
        await self.faults.heal()
        await self._a_while(30.0)
        self._calm()
        await self._a_while(30.0)
        world.quiet.begin()
        for pause in (2 * HOUR, RESYNC, RESYNC):
            await asyncio.sleep(RESYNC)
            self._calm()
            await asyncio.sleep(pause)
        await asyncio.sleep(RESYNC)
        world.allowed.settle()
        await world.pods.ask()
        for _ in range(3):
            if await self._second_run() == 0:
                break
        else:
            world.fail(4, "a new operator writes where the old one was at rest")
        await self._all_is_well()

    def _calm(self) -> None:
        """Nobody rotates, disables or stands in the way any more; orphans may go."""
        server = self.world.server
        for at, raw in list(server.all("oauthclients").items()):
            spec = {**raw["spec"], "disabled": False, "rotation": {**raw["spec"].get("rotation", {}), "suspend": True}}
            told = [c["reason"] for c in raw.get("status", {}).get("conditions", ()) if c["type"] == "Ready"]
            if told == ["SecretConflict"] and server.get("secrets", at[0], secret_name(raw)):
                server.remove(USER, Where("secrets", at[0], secret_name(raw), ""))
            if spec.get("credentials", {}).get("secretName", "").endswith("foreign"):
                spec.pop("credentials")
            if spec != raw["spec"]:
                self.users.apply("oauthclients", at, spec)
        issuer = server.get("configmaps", "scopewright-system", "scopewright-issuer")
        leader = self.world.leader
        held = leader.operator._resync.orphans_held if leader and leader.operator else 0
        if issuer and held:
            annotations = {"scopewright.dev/allow-orphans": str(held)}
            meta = {**issuer["metadata"], "annotations": annotations}
            server.put("configmaps", "scopewright-system", "scopewright-issuer", {**issuer, "metadata": meta})

    async def _second_run(self) -> int:
        """A new process, which knows only what the store holds; how often it writes."""
        world = self.world
        world.quiet.end()
        for operator in world.operators:
            operator.die()
        await asyncio.sleep(15.0)
        before = world.writes
        world.operators[0].start()
        await asyncio.sleep(30.0)
        if world.leader is None or not world.leader.idle:
            world.fail(4, "nobody leads, or nobody rests, half a minute after a start")
        return world.writes - before

    async def _all_is_well(self) -> None:
        """Every client is Ready, its Secret accepted by every issuer; every record has its owner."""
        world, server = self.world, self.world.server
        for at, client in server.all("oauthclients").items():
            conditions = {c["type"]: c for c in client.get("status", {}).get("conditions", ())}
            ready = conditions.get("Ready", {})
            raw = server.get("secrets", at[0], secret_name(client))
            if ready.get("status") != "True":
                world.fail(
                    4, f"OAuthClient {at} is not Ready at the end: {ready.get('reason')}: {ready.get('message')}"
                )
            if raw is None or digest_in(raw) not in world.ledger.accepted(at):
                world.fail(1, f"the Secret of OAuthClient {at} is not accepted at the end")
                continue
            world.pods._mount((at[0], secret_name(client)))
            pod = world.pods.pods[at[0], secret_name(client)]
            await self._everywhere(pod)
        for plural, prefix in (("oauthclients", "client."), ("resourceservers", "resourceserver.")):
            for objects in ("secrets", "configmaps"):
                for namespace, name in server.all(objects):
                    if namespace == "scopewright-system" and name.startswith(prefix):
                        owner = tuple(name.split(".")[1:])
                        gone = server.get(plural, owner[0], owner[1]) is None
                        if gone and not world.ledger.unprovable(plural, (owner[0], owner[1])):
                            world.fail(4, f"{name} has no owner, and is still there at the end")

    async def _everywhere(self, pod: Pod) -> None:
        for issuer in self.world.issuers:
            status = await self.world.pods.request(pod, issuer)
            if status not in (200, 400):
                self.world.fail(8, f"{issuer.name} answers {status} to the Secret of {pod.client} at the end")


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
        while not task.done() and not story.world.broken:
            loop.turn()
        broken = story.world.broken
        if task.done() and not broken:
            task.result()
        story.world.over = True
        loop.run_out(story.world.end())
    finally:
        patches.running_loop(None)
        HANDLER.world = None
    world = story.world
    return Outcome(seed, broken, world.writes, world.pods.issued, world.checks, world.keys_made, world.minted)
