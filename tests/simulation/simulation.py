"""The whole of it: a server, operators, issuers, Pods, verifiers, and the auditor who looks at every step."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from functools import cache
from random import Random

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.controller.key_generation import public_members
from scopewright.core.config import Config
from scopewright.core.signing.view import GeneratedKey
from scopewright.issuer.observability import audit
from scopewright.verifier.thumbprint import thumbprint
from tests.simulation import bookkeeping
from tests.simulation.allowed import Allowed
from tests.simulation.invariants import ABOUT
from tests.simulation.issuers import IssuerProcess
from tests.simulation.ledger import NAMESPACE, Fact, Issued, Ledger, Logged
from tests.simulation.loop import VirtualLoop
from tests.simulation.operators import OperatorProcess
from tests.simulation.patches import running
from tests.simulation.pods import Pods
from tests.simulation.quiet import Quiet
from tests.simulation.server import DECLARED, USER, Done, Server, Where
from tests.simulation.settings import CONFIG, PUBLISH_AHEAD


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, number: int, complaint: str) -> None:
        super().__init__(f"invariant {number}: {complaint}")
        self.number = number


@cache
def made(serial: int) -> GeneratedKey:
    """The same keys for every seed, so that they are computed once."""
    seed = hashlib.sha256(f"key {serial}".encode()).digest()
    private = ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1())
    members = public_members(private)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GeneratedKey({**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}, pem)


class _Operator(OperatorProcess):
    simulation: "Simulation"

    def mint(self) -> str:
        self.simulation.minted += 1
        return f"sEcReT{self.simulation.minted:037d}"

    def make_key(self, algorithm: str) -> GeneratedKey:
        self.simulation.keys_made += 1
        return made(self.simulation.keys_made)


class Simulation:
    def __init__(self, seed: int, loop: VirtualLoop, tell: Callable[[str], None]) -> None:
        self.loop, self.tell = loop, tell
        self.chance = Random(f"story {seed}")
        self.quiet = Quiet(loop)
        self.server = Server(loop)
        self.server.collector_delay = lambda: self.chance.uniform(0.1, 5.0)
        self.ledger = Ledger(self.server, publish_ahead=PUBLISH_AHEAD, max_cache=24 * 3600.0)
        self.allowed = Allowed(self.server, self.ledger)
        self.broken: Broken | None = None
        self.writes = 0
        """By operators, Leases and events aside."""
        self.over = False
        self.minted = 0
        self.keys_made = 0
        self.snatching = False
        """Whether somebody deletes what an operator writes next, as soon as it is there."""
        self.checks = 0
        self.operators: list[OperatorProcess] = []
        for name in ("operator-a", "operator-b"):
            operator = _Operator(self.server, CONFIG, self.quiet, name, loop, Random(f"{name} {seed}"))
            operator.simulation = self
            self.operators.append(operator)
        self.quiet.processes = list(self.operators)
        self.issuers = [
            IssuerProcess(self.server, NAMESPACE, self._audit, f"issuer-{n}", loop, Random(f"issuer {n} {seed}"))
            for n in range(3 if seed % 4 == 1 else 2)
        ]
        for issuer in self.issuers:
            issuer.reports = seed % 8 == 0
        self.pods = Pods(self.server, self.ledger, self.issuers, Random(f"pods {seed}"), self.see)
        self.server.on_done = self._done
        HANDLER.simulation = self

    def soon(self) -> None:
        """Somebody wants a token at an awkward moment."""
        if not self.over:
            self.loop.create_task(self.pods.ask())

    async def end(self) -> None:
        """Every process ends, so that nothing is left half done when the next seed begins."""
        self.over = True
        self.quiet.end()
        processes = [*self.operators, *self.issuers]
        for process in processes:
            process.die()
        await asyncio.sleep(30.0)
        mine = asyncio.current_task()
        for _ in range(5):
            if not (left := [task for task in asyncio.all_tasks() if task is not mine]):
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=30.0)

    @property
    def config(self) -> Config:
        return CONFIG

    @property
    def leader(self) -> OperatorProcess | None:
        return next((o for o in self.operators if o.leads), None)

    @property
    def settled(self) -> bool:
        """Whether one operator leads, the others stand by, and nothing is wrong that could change this."""
        return self.leader is not None and all(o.unharmed for o in self.operators)

    async def a_while(self, seconds: float) -> None:
        """As long as something may change about who leads, each second counts."""
        end = self.loop.now + seconds
        while (left := end - self.loop.now) > 0:
            if self.settled:
                self.quiet.begin()
                await asyncio.sleep(left)
            else:
                await asyncio.sleep(min(2.0, left))

    def see(self, fact: Fact) -> None:
        """Every invariant about every fact; the first that is broken ends the story."""
        if self.over:
            return
        self.checks += 1
        for number, holds in ABOUT[type(fact)]:
            for complaint in holds(fact, self.ledger):
                self.fail(number, complaint)
        if isinstance(fact, Issued):
            bookkeeping.note_token(self.ledger, fact)

    def fail(self, number: int, complaint: str) -> None:
        if self.broken is None:
            self.broken = Broken(number, complaint)
            self.tell(f"BROKEN {self.broken}")

    def _done(self, done: Done) -> None:
        if done.where.plural == "leases":
            return
        if done.where.plural != "events":
            if self.ledger.is_operator(done.actor):
                self.writes += 1
            what = "/".join(filter(None, (done.where.plural, done.where.sub)))
            self.tell(f"{done.actor}: {done.verb} {what} {'/'.join(done.at)}")
            bookkeeping.note(self.ledger, done)
            if done.where.plural in (*DECLARED, "namespaces") and not done.where.sub:
                self.allowed.look()
            if done.where.plural == "secrets":
                self.pods.on_secret(done)
            if self.snatching and done.new and done.where.plural in ("secrets", "configmaps"):
                self._snatch(done)
        self.see(done)

    def _snatch(self, done: Done) -> None:
        if self.ledger.is_operator(done.actor):
            self.snatching = False
            self.loop.call_later(self.chance.choice((0.0, 0.01, 0.2)), self._remove, done.where)

    def _remove(self, where: Where) -> None:
        if self.server.get(where.plural, where.namespace, where.name):
            self.server.remove(USER, where)

    def _audit(self, entry: audit.Entry) -> None:
        self.see(Logged(audit.line(entry).decode()))


class _Log(logging.Handler):
    """Hands every log record to the running simulation."""

    simulation: Simulation | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.simulation is not None and not self.simulation.over:
            text = self.format(record)
            self.simulation.see(Logged(text))
            process = running()
            self.simulation.tell(f"  {getattr(process, 'name', '')}: {text.splitlines()[0]}")
            if record.levelno >= logging.ERROR and record.exc_info:
                self.simulation.fail(0, f"an exception was logged: {text}")


HANDLER = _Log()
