"""A running gateway on a store in memory, whose records the test writes as the operator does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.codec import encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    ENTRY,
    ISSUER_NAME,
    RECORD_LABEL,
    hostname_claim_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import HostnameClaim, HttpAccess, HttpRule, ResourceServerRecord
from scopewright.gateway.build import build_gateway
from scopewright.gateway.service import Gateway
from scopewright.gateway.settings import GatewaySettings
from scopewright.http import Answer
from scopewright.serving.audit import Entry, members
from scopewright.serving.replay import ReplayStore
from scopewright.tracing import Tracing
from tests.harness.clock import START, Clock
from tests.harness.memory_store import MemoryStore
from tests.harness.samples import NAMESPACE
from tests.harness.waiting import until, until_answer
from tests.unit.gateway.support import HOST, parsed
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer

HEALTH = HttpRule("health", ("/healthz",), authentication="None")
READ = HttpRule("read", ("/salaries/**",), methods=("GET",), scopes=("payroll.read",))


def access(*rules: HttpRule, hostname: str = HOST, **changes: Any) -> HttpAccess:
    return HttpAccess(hostnames=(hostname,), rules=rules or (HEALTH, READ), **changes)


def server(name: str = "payroll", **changes: Any) -> ResourceServerRecord:
    defaults = {"namespace": "payroll", "uid": "u", "audience": AUDIENCE, "scopes": ("payroll.read",)}
    return ResourceServerRecord(**{**defaults, "name": name, "http": access(), **changes})


class RecordsGateway:
    """`store` has the record of the issuer and, after `put`, those of APIs. `web` is the issuer."""

    def __init__(self, **settings: Any) -> None:
        self.web = FakeIssuer(KEY)
        self.clock = Clock()
        self.monotonic = 0.0
        """For the budgets of audit lines, in seconds."""
        self.store = MemoryStore(lambda: START)
        self.settings = GatewaySettings(NAMESPACE, **settings)
        self.audit: list[Entry] = []
        self.gateway: Gateway
        self.put_issuer()

    @asynccontextmanager
    async def running(
        self, *, replay: ReplayStore | None = None, tracing: Tracing | None = None, ready: bool = True
    ) -> AsyncIterator["RecordsGateway"]:
        self.gateway = build_gateway(
            self.settings,
            self.store,
            http=self.web.async_client(),
            replay=replay,
            sink=lambda line: self.audit.append(members(line)),
            tracing=tracing,
            clock=self.clock,
            monotonic=lambda: self.monotonic,
        )
        async with self.gateway.running():
            if ready:
                await self.gateway.readiness.wait()
            yield self

    # Records

    def put(self, *records: ResourceServerRecord) -> None:
        for record in records:
            self._put(resource_server_record_name(record.namespace, record.name), "resource-server", encode(record))

    def put_raw(self, name: str, content: bytes, label: str = "resource-server") -> None:
        self._put(name, label, content)

    def put_claim(self, hostname: str, base_path: str, name: str = "payroll") -> None:
        claim = HostnameClaim(hostname, base_path, "payroll", name)
        self._put(hostname_claim_name(hostname, base_path), "hostname", encode(claim))

    def put_issuer(self, issuer: str = ISSUER, **changes: Any) -> None:
        self._put(ISSUER_NAME, "issuer", encode(IssuerRecord(issuer, **changes)))

    def delete(self, name: str = "payroll") -> None:
        self.store.delete_by_hand(Ref("ConfigMap", NAMESPACE, resource_server_record_name("payroll", name)))

    def _put(self, name: str, label: str, content: bytes) -> None:
        ref = Ref("ConfigMap", NAMESPACE, name)
        labels = {MANAGED_BY: MANAGER, RECORD_LABEL: label}
        self.store.put(Existing(ref, "", "", labels=labels), {ENTRY: content})

    # Requests

    async def ask(self, request: bytes) -> Answer:
        decided = self.gateway.decide(parsed(request))
        return decided if isinstance(decided, Answer) else await decided

    async def status(self, request: bytes) -> int:
        return (await self.ask(request)).status

    async def until_status(self, status: int, request: bytes) -> None:
        """Wait until the answer has the status: a change has been followed."""

        async def has_status() -> bool:
            return await self.status(request) == status

        await until_answer(has_status)

    async def until_logged(self, caplog: Any, text: str) -> None:
        await until(lambda: text in caplog.text)

    def metrics(self) -> str:
        return self.gateway.metrics.answer().body.decode()

    def readyz(self) -> tuple[int, dict[str, Any]]:
        answer = self.gateway.readiness.answer()
        return answer.status, json.loads(answer.body)
