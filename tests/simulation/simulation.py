"""`Simulation`: API server, operators, issuers, Pods and verifiers, with the invariants checked after each step."""

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
from scopewright.serving import audit
from scopewright.verifier.thumbprint import thumbprint
from tests.simulation import observe
from tests.simulation.expected_access import ExpectedAccess
from tests.simulation.invariants import INVARIANTS_OF
from tests.simulation.issuers import IssuerProcess
from tests.simulation.lease_pause import LeasePause
from tests.simulation.loop import VirtualLoop
from tests.simulation.observations import NAMESPACE, Fact, LogLine, Observations, TokenIssued
from tests.simulation.operators import OperatorProcess
from tests.simulation.patches import running_process
from tests.simulation.pods import Pods
from tests.simulation.server import DECLARED, USER, Server, Where, Write
from tests.simulation.settings import CONFIG, PUBLISH_AHEAD


class InvariantViolation(Exception):
    """An invariant was broken. Number 0 is an exception in a log."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"invariant {number}: {message}")
        self.number = number


@cache
def generated_key(serial: int) -> GeneratedKey:
    """The same keys in every seed, so that they are computed once."""
    seed = hashlib.sha256(f"key {serial}".encode()).digest()
    private = ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1())
    members = public_members(private)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GeneratedKey({**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}, pem)


class _Operator(OperatorProcess):
    simulation: "Simulation"

    def generate_secret(self) -> str:
        self.simulation.secrets_generated += 1
        return f"sEcReT{self.simulation.secrets_generated:037d}"

    def make_key(self, algorithm: str) -> GeneratedKey:
        self.simulation.keys_generated += 1
        return generated_key(self.simulation.keys_generated)


class Simulation:
    def __init__(self, seed: int, loop: VirtualLoop, log: Callable[[str], None]) -> None:
        self.loop, self.log = loop, log
        self.rng = Random(f"story {seed}")  # the text selects the history of a seed: do not change it
        self.user_grants_rng = Random(f"user grants {seed}")
        self.lease_pause = LeasePause(loop)
        self.server = Server(loop)
        self.server.collection_delay = lambda: self.rng.uniform(0.1, 5.0)
        self.observed = Observations(self.server, publish_ahead=PUBLISH_AHEAD, max_cache=24 * 3600.0)
        self.expected_access = ExpectedAccess(self.server, self.observed)
        self.violation: InvariantViolation | None = None
        self.writes = 0
        """Writes of operators, without Leases and events."""
        self.finished = False
        self.secrets_generated = 0
        self.keys_generated = 0
        self.delete_next_write = False
        """Whether the next object that an operator writes is deleted at once."""
        self.checks = 0
        self.operators: list[OperatorProcess] = []
        for name in ("operator-a", "operator-b"):
            operator = _Operator(self.server, CONFIG, self.lease_pause, name, loop, Random(f"{name} {seed}"))
            operator.simulation = self
            self.operators.append(operator)
        self.lease_pause.processes = list(self.operators)
        self.issuers = [
            IssuerProcess(self.server, NAMESPACE, self._audit, f"issuer-{n}", loop, Random(f"issuer {n} {seed}"))
            for n in range(3 if seed % 4 == 1 else 2)
        ]
        for issuer in self.issuers:
            issuer.reports_usage = seed % 8 == 0
        self.pods = Pods(self.server, self.observed, self.issuers, Random(f"pods {seed}"), self.observe)
        self.server.on_write = self._on_write
        HANDLER.simulation = self

    def request_tokens_soon(self) -> None:
        """Let every Pod request a token now."""
        if not self.finished:
            self.loop.create_task(self.pods.request_tokens())

    async def shut_down(self) -> None:
        """End every process and task before the next seed begins."""
        self.finished = True
        self.lease_pause.end()
        processes = [*self.operators, *self.issuers]
        for process in processes:
            process.kill()
        await asyncio.sleep(30.0)
        own = asyncio.current_task()
        for _ in range(5):
            if not (left := [task for task in asyncio.all_tasks() if task is not own]):
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
        """Whether one operator leads and no fault can change this."""
        return self.leader is not None and all(o.can_lead for o in self.operators)

    async def advance(self, seconds: float) -> None:
        """Advance the time. While leadership may change, no renewal of the Lease is skipped."""
        end = self.loop.now + seconds
        while (left := end - self.loop.now) > 0:
            if self.settled:
                self.lease_pause.begin()
                await asyncio.sleep(left)
            else:
                await asyncio.sleep(min(2.0, left))

    def observe(self, fact: Fact) -> None:
        """Check every invariant that concerns the fact. The first violation ends the simulation."""
        if self.finished:
            return
        self.checks += 1
        for number, holds in INVARIANTS_OF[type(fact)]:
            for message in holds(fact, self.observed):
                self.fail(number, message)
        if isinstance(fact, TokenIssued):
            observe.observe_token(self.observed, fact)

    def fail(self, number: int, message: str) -> None:
        if self.violation is None:
            self.violation = InvariantViolation(number, message)
            self.log(f"BROKEN {self.violation}")

    def _on_write(self, write: Write) -> None:
        if write.where.plural == "leases":
            return
        if write.where.plural != "events":
            if self.observed.is_operator(write.actor):
                self.writes += 1
            what = "/".join(filter(None, (write.where.plural, write.where.sub)))
            self.log(f"{write.actor}: {write.verb} {what} {'/'.join(write.at)}")
            observe.observe_write(self.observed, write)
            if write.where.plural in (*DECLARED, "namespaces") and not write.where.sub:
                self.expected_access.update()
            if write.where.plural == "secrets":
                self.pods.on_secret(write)
            if self.delete_next_write and write.new and write.where.plural in ("secrets", "configmaps"):
                self._delete_after_write(write)
        self.observe(write)

    def _delete_after_write(self, write: Write) -> None:
        if self.observed.is_operator(write.actor):
            self.delete_next_write = False
            self.loop.call_later(self.rng.choice((0.0, 0.01, 0.2)), self._remove, write.where)

    def _remove(self, where: Where) -> None:
        if self.server.get(where.plural, where.namespace, where.name):
            self.server.remove(USER, where)

    def _audit(self, entry: audit.Entry) -> None:
        self.observe(LogLine(audit.line(entry).decode()))


class _LogHandler(logging.Handler):
    """Passes every log record to the running simulation."""

    simulation: Simulation | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.simulation is not None and not self.simulation.finished:
            text = self.format(record)
            self.simulation.observe(LogLine(text))
            process = running_process()
            self.simulation.log(f"  {getattr(process, 'name', '')}: {text.splitlines()[0]}")
            if record.levelno >= logging.ERROR and record.exc_info:
                self.simulation.fail(0, f"an exception was logged: {text}")


HANDLER = _LogHandler()
