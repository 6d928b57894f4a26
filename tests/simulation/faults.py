"""Random faults of networks, processes and clocks. Each returns a description for the history; `heal` ends all."""

from typing import Any

from tests.simulation.issuers import IssuerProcess
from tests.simulation.operators import OperatorProcess
from tests.simulation.process import Process
from tests.simulation.refusals import random_refusal
from tests.simulation.simulation import Simulation
from tests.simulation.user_actions import NAMESPACES


class Faults:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation, self.rng = simulation, simulation.rng
        self.active: set[str] = set()
        self.count = 0
        """How many faults have begun."""

    def _random_process(self) -> OperatorProcess | IssuerProcess:
        processes: list[OperatorProcess | IssuerProcess] = [*self.simulation.operators, *self.simulation.issuers]
        return self.rng.choice(processes)

    def _link_of(self, process: Process) -> Any:
        """The link of the process, to be changed. An operator's link affects the Lease, so the lease pause ends."""
        if isinstance(process, OperatorProcess):
            self.simulation.lease_pause.end()
        return process.link

    def fail_requests(self) -> str:
        process = self._random_process()
        self._link_of(process).flaky = self.rng.choice((0.1, 0.3, 0.7))
        return f"requests of {process.name} fail"

    def revoke_rights(self) -> str:
        process = self._random_process()
        self._link_of(process).forbidden = True
        self._mark_stale(process)
        return f"{process.name} has no rights"

    def delay_events(self) -> str:
        process = self._random_process()
        process.link.slow = self.rng.choice((2.0, 30.0, 300.0))
        self._mark_stale(process)
        return f"events reach {process.name} late"

    def delete_after_write(self) -> str:
        """Answers arrive after the watch events of the same writes."""
        operator = self.simulation.leader or self.rng.choice(self.simulation.operators)
        operator.link.late = self.rng.choice((1.0, 10.0))
        self.simulation.delete_next_write = True
        return f"answers reach {operator.name} late, and the next object that is written is deleted at once"

    def drop_events(self) -> str:
        for operator in self.simulation.operators:
            if operator.kopf_events:
                operator.kopf_events.drop_rate = self.rng.choice((0.2, 0.9))
        return "kopf drops and repeats events"

    def refuse_writes(self) -> str:
        """Refuse writes of operators until all faults end."""
        refusal = random_refusal(self.rng, NAMESPACES)
        self.simulation.server.refusals.append(refusal)
        return str(refusal)

    def break_watches(self) -> str:
        """All watches break; in half of the cases their resourceVersion is too old to continue."""
        if self.rng.random() < 0.5:
            self.simulation.server.compacted = self.simulation.server.version
        networks = [o.network for o in self.simulation.operators] + [i.network for i in self.simulation.issuers]
        for network in networks:
            if network:
                network.disconnect()
        return "all watches break"

    def crash_operator(self) -> str:
        operator = self.simulation.leader or self.rng.choice(self.simulation.operators)
        self.simulation.lease_pause.end()
        operator.writes_until_crash = self.rng.randrange(5)
        self.simulation.loop.call_later(self.rng.choice((3.0, 40.0)), self._restart_crashed, operator)
        return f"{operator.name} crashes after {operator.writes_until_crash} writes"

    def _restart_crashed(self, operator: OperatorProcess) -> None:
        operator.writes_until_crash = None
        self.start(operator)

    def suspend_leader(self) -> str:
        operator = self.simulation.leader
        if operator is None:
            return "does nothing: no operator leads"
        self.simulation.lease_pause.end()
        operator.paused = True
        return f"{operator.name} is paused"

    def stop_all_operators(self) -> str:
        """No operator runs until all faults end."""
        self.simulation.lease_pause.end()
        for operator in self.simulation.operators:
            operator.kill()
        return "every operator is down"

    def cut_off_operator(self) -> str:
        operator = self.rng.choice(self.simulation.operators)
        self._link_of(operator).down = True
        if operator.network:
            operator.network.disconnect()
        return f"{operator.name} is cut off"

    def cut_off_issuer(self) -> str:
        issuer = self.rng.choice(self.simulation.issuers)
        issuer.cut_off()
        return f"{issuer.name} is cut off"

    def restart_issuer(self) -> str:
        issuer = self.rng.choice(self.simulation.issuers)
        issuer.kill()
        lost = self.rng.random() < 0.5
        if lost:
            issuer.disk.content = None
        issuer.stale_since = issuer.stale_since if issuer.stale_since is not None else self.simulation.loop.now
        self.simulation.loop.call_later(self.rng.choice((0.5, 10.0)), self.start, issuer)
        return f"{issuer.name} is killed" + (" and its snapshot is deleted" if lost else "")

    def _mark_stale(self, process: Process) -> None:
        if isinstance(process, IssuerProcess) and process.stale_since is None:
            process.stale_since = self.simulation.loop.now

    def start(self, process: Any) -> None:
        if not process.alive:
            process.start()

    def start_random_fault(self) -> str:
        kinds: list[tuple[Any, int, bool]] = [
            (self.fail_requests, 4, True),
            (self.revoke_rights, 1, True),
            (self.delay_events, 3, True),
            (self.drop_events, 3, True),
            (self.break_watches, 2, False),
            (self.crash_operator, 8, True),
            (self.suspend_leader, 3, True),
            (self.stop_all_operators, 2, True),
            (self.cut_off_operator, 2, True),
            (self.cut_off_issuer, 3, True),
            (self.restart_issuer, 2, False),
            (self.delete_after_write, 3, True),
            (self.refuse_writes, 10, True),
        ]
        kind, _, lasts = self.rng.choices(kinds, [k[1] for k in kinds])[0]
        self.count += 1
        description = str(kind())
        if lasts:
            self.active.add(description)
        return description

    async def heal(self) -> None:
        """End all faults. A process that was paused continues where it was."""
        self.active.clear()
        self.simulation.server.refusals.clear()
        self.simulation.delete_next_write = False
        for operator in self.simulation.operators:
            operator.writes_until_crash = None
            operator.heal()
            if operator.paused:
                self.simulation.loop.resume(operator)
            self.start(operator)
        for issuer in self.simulation.issuers:
            self.start(issuer)
            issuer.heal()
            if issuer.stale_since is not None:
                self.simulation.loop.call_later(400.0, self._caught_up, issuer, issuer.incarnation)

    def _caught_up(self, issuer: IssuerProcess, incarnation: int) -> None:
        if issuer.alive and not self.active:
            issuer.stale_since = None
