"""What goes wrong by itself: networks, processes, clocks. A fault says in words what it is; `heal` ends them all."""

from typing import Any

from tests.simulation.issuers import IssuerProcess
from tests.simulation.operators import OperatorProcess
from tests.simulation.process import Process
from tests.simulation.refusals import some_refusal
from tests.simulation.simulation import Simulation
from tests.simulation.users import SPACES


class Faults:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation, self.chance = simulation, simulation.chance
        self.open: set[str] = set()
        self.count = 0
        """How many there were, to tell whether there was another one."""

    def _one(self) -> OperatorProcess | IssuerProcess:
        processes: list[OperatorProcess | IssuerProcess] = [*self.simulation.operators, *self.simulation.issuers]
        return self.chance.choice(processes)

    def _harm(self, process: Process) -> Any:
        """Its link, which is about to change; that of an operator is what the Lease depends on."""
        if isinstance(process, OperatorProcess):
            self.simulation.quiet.end()
        return process.link

    def flaky(self) -> str:
        process = self._one()
        self._harm(process).flaky = self.chance.choice((0.1, 0.3, 0.7))
        return f"requests of {process.name} fail"

    def forbidden(self) -> str:
        process = self._one()
        self._harm(process).forbidden = True
        self._behind(process)
        return f"{process.name} has lost its rights"

    def slow(self) -> str:
        process = self._one()
        process.link.slow = self.chance.choice((2.0, 30.0, 300.0))
        self._behind(process)
        return f"events reach {process.name} late"

    def snatch(self) -> str:
        """Answers come after the news of what became of the object."""
        operator = self.simulation.leader or self.chance.choice(self.simulation.operators)
        operator.link.late = self.chance.choice((1.0, 10.0))
        self.simulation.snatching = True
        return f"answers reach {operator.name} late, and what is written next is deleted at once"

    def dropping(self) -> str:
        for operator in self.simulation.operators:
            if operator.feed:
                operator.feed.dropping = self.chance.choice((0.2, 0.9))
        return "kopf drops and repeats events"

    def refuse(self) -> str:
        """What operators write is refused, until all faults end."""
        refusal = some_refusal(self.chance, SPACES)
        self.simulation.server.refusals.append(refusal)
        return str(refusal)

    def disconnect(self) -> str:
        """Every watch breaks, and half of the times what it could go on from is gone."""
        if self.chance.random() < 0.5:
            self.simulation.server.compacted = self.simulation.server.version
        networks = [o.network for o in self.simulation.operators] + [i.network for i in self.simulation.issuers]
        for network in networks:
            if network:
                network.disconnect()
        return "all watches break"

    def crash(self) -> str:
        operator = self.simulation.leader or self.chance.choice(self.simulation.operators)
        self.simulation.quiet.end()
        operator.crash_in = self.chance.randrange(5)
        self.simulation.loop.call_later(self.chance.choice((3.0, 40.0)), self._crashed, operator)
        return f"{operator.name} dies after {operator.crash_in} writes"

    def _crashed(self, operator: OperatorProcess) -> None:
        operator.crash_in = None
        self.start(operator)

    def pause(self) -> str:
        operator = self.simulation.leader
        if operator is None:
            return "nobody leads"
        self.simulation.quiet.end()
        operator.paused = True
        return f"{operator.name} is paused"

    def outage(self) -> str:
        """No operator for hours or days."""
        self.simulation.quiet.end()
        for operator in self.simulation.operators:
            operator.die()
        return "every operator is down"

    def cut_operator(self) -> str:
        operator = self.chance.choice(self.simulation.operators)
        self._harm(operator).down = True
        if operator.network:
            operator.network.disconnect()
        return f"{operator.name} is cut off"

    def partition(self) -> str:
        issuer = self.chance.choice(self.simulation.issuers)
        issuer.cut_off()
        return f"{issuer.name} is cut off"

    def restart_issuer(self) -> str:
        issuer = self.chance.choice(self.simulation.issuers)
        issuer.die()
        lost = self.chance.random() < 0.5
        if lost:
            issuer.disk.content = None
        issuer.behind_since = issuer.behind_since if issuer.behind_since is not None else self.simulation.loop.now
        self.simulation.loop.call_later(self.chance.choice((0.5, 10.0)), self.start, issuer)
        return f"{issuer.name} is killed" + (" and has lost its snapshot" if lost else "")

    def _behind(self, process: Process) -> None:
        if isinstance(process, IssuerProcess) and process.behind_since is None:
            process.behind_since = self.simulation.loop.now

    def start(self, process: Any) -> None:
        if not process.alive:
            process.start()

    def happen(self) -> str:
        kinds: list[tuple[Any, int, bool]] = [
            (self.flaky, 4, True), (self.forbidden, 1, True), (self.slow, 3, True), (self.dropping, 3, True),
            (self.disconnect, 2, False), (self.crash, 8, True), (self.pause, 3, True), (self.outage, 2, True),
            (self.cut_operator, 2, True), (self.partition, 3, True), (self.restart_issuer, 2, False),
            (self.snatch, 3, True), (self.refuse, 10, True),
        ]  # fmt: skip
        kind, _, lasts = self.chance.choices(kinds, [k[1] for k in kinds])[0]
        self.count += 1
        said = str(kind())
        if lasts:
            self.open.add(said)
        return said

    async def heal(self) -> None:
        """Everything works again. A process that was paused wakes, with whatever it was about to do."""
        self.open.clear()
        self.simulation.server.refusals.clear()
        self.simulation.snatching = False
        for operator in self.simulation.operators:
            operator.crash_in = None
            operator.heal()
            if operator.paused:
                self.simulation.loop.wake(operator)
            self.start(operator)
        for issuer in self.simulation.issuers:
            self.start(issuer)
            issuer.heal()
            if issuer.behind_since is not None:
                self.simulation.loop.call_later(400.0, self._caught_up, issuer, issuer.incarnation)

    def _caught_up(self, issuer: IssuerProcess, incarnation: int) -> None:
        if issuer.alive and not self.open:
            issuer.behind_since = None
