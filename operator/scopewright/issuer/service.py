"""The issuer as one thing: what it knows, what keeps that up to date, and what it answers."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path
from typing import Any, Final

from scopewright.core.records import IssuerRecord
from scopewright.issuer.authentication.authenticator import Authenticator
from scopewright.issuer.authentication.clusters import TrustedClusters
from scopewright.issuer.authentication.dpop import DpopProofs
from scopewright.issuer.authentication.read_through import READ_BUDGET, RESERVE_BUDGET, ReadThrough
from scopewright.issuer.authentication.replay import LocalReplay, ReplayStore
from scopewright.issuer.authentication.throttle import FailureThrottle
from scopewright.issuer.endpoints import metadata
from scopewright.issuer.endpoints.base import MIN_REFUSAL_SECONDS, Endpoint, Handler
from scopewright.issuer.endpoints.feed import RevocationFeed
from scopewright.issuer.endpoints.introspection import IntrospectionEndpoint
from scopewright.issuer.endpoints.revocation import RevocationEndpoint
from scopewright.issuer.endpoints.token import TokenEndpoint
from scopewright.issuer.observability import audit, usage
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.tracing import Traced
from scopewright.issuer.observability.tracing import sink as traced_sink
from scopewright.issuer.protocol.errors import invalid_request, unavailable
from scopewright.issuer.protocol.responses import Answer, HttpRequest, json_answer
from scopewright.issuer.rate_budget import Clock, RateBudget
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.serving.counters import WorkerCounters
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.serving.supervise import SupervisedTasks
from scopewright.issuer.state.follow import Follower
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.issuer.tokens.exchange import Exchange
from scopewright.issuer.tokens.inspect import Inspector
from scopewright.issuer.tokens.sign import Randomness
from scopewright.stores import Listener, Reader, ServiceAccountIssuer, Store
from scopewright.tracing import Tracing

log: Final = logging.getLogger(__name__)

HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"

PATIENCE: Final = 3.0
"""Seconds that an issuer with a snapshot waits for the store's lists before it serves from the snapshot."""


class Issuer:
    """Answers requests from memory; `running` keeps that memory as the store is."""

    def __init__(
        self,
        reader: Reader,
        *,
        namespace: str,
        snapshot: Path | None = None,
        keeps_snapshot: bool = True,
        row: WorkerCounters | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        random: Randomness = os.urandom,
        sink: audit.Sink = audit.to_log,
        floor: float = MIN_REFUSAL_SECONDS,
        reads: RateBudget = READ_BUDGET,
        reserved_reads: RateBudget = RESERVE_BUDGET,
        reports: Store | None = None,
        reports_every: float = usage.EVERY,
        patience: float = PATIENCE,
        replay: ReplayStore | None = None,
        service_accounts: ServiceAccountIssuer | None = None,
        tracing: Tracing | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Where several processes serve: `row` is where this one counts, and only one of them keeps the snapshot.

        `reports` is where revocations are written to, and every so many seconds the use of credentials; where it is
        None there is no revocation endpoint.
        `replay` remembers what may be used once; None: this process alone does.
        `service_accounts` is the cluster whose tokens are taken for `in-cluster`.
        `tracing`: what becomes of each request is told there as well.
        `proxies` say whose a request is that comes through them.
        """
        listener = reader if isinstance(reader, Listener) else None
        self._contact = contact = listener.contact if listener else None
        self.registry = Registry(namespace, lambda ended: self._revocations.end(ended))
        self.metrics = IssuerMetrics(
            self.registry,
            clock,
            row,
            ready=lambda: not self._in_the_way(),
            heard=listener.heard if listener else None,
            last_contact=(lambda: contact.last) if contact else None,
        )
        self._clock = clock
        self._proxies = proxies
        self._snapshots = SnapshotFile(snapshot, keeps=keeps_snapshot) if snapshot else None
        self._revocations = Revocations(
            reports,
            namespace,
            clock,
            lambda: self.registry.issuer,
            self._snapshots.keep_later if self._snapshots else lambda ref, make: None,
        )
        self._follower = Follower(
            reader, self.registry, self._revocations, self._snapshots, clock=clock, changed=self._look
        )
        self._feed = RevocationFeed(self._revocations, self.registry.keys)
        self._revoking = reports is not None
        self._reports_every = reports_every
        self._patience = patience
        self._usage = (
            usage.CredentialUsage(reports, namespace, self.registry.credentials, clock, random) if reports else None
        )
        fresh = ReadThrough(
            reader, self.registry, clock=clock, monotonic=monotonic, reads=reads, reserve=reserved_reads
        )
        self._replay = replay or LocalReplay(clock)
        told = (self.registry, Inspector(self.registry.keys), self._revocations)
        tokens = TokenEndpoint(
            self.registry,
            Exchange(*told),
            DpopProofs(self.registry, self._replay),
            random=random,
        )
        authenticator = Authenticator(self.registry, self._replay, TrustedClusters(service_accounts, clock), clock)
        shared = (self.registry, authenticator, fresh, FailureThrottle(monotonic), self.metrics)
        options: dict[str, Any] = {"clock": clock, "monotonic": monotonic, "floor": floor}
        options["sink"] = traced_sink(sink) if tracing else sink
        if self._usage is not None:
            options["note_use"] = self._usage.note

        def endpoint(handler: Handler[Any]) -> Endpoint[Any] | Traced:
            made: Endpoint[Any] = Endpoint(handler, *shared, **options)
            return Traced(made, handler.name, tracing) if tracing else made

        self.tokens = endpoint(tokens)
        self.introspection = endpoint(IntrospectionEndpoint(*told))
        self.revocation = endpoint(RevocationEndpoint(*told))
        self._from_snapshot = False
        self._supervised = SupervisedTasks(monotonic)
        self._ready = asyncio.Event()
        self._paths: tuple[str, metadata.Paths] = ("", metadata.paths(""))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Issuer"]:
        """Start from the snapshot, if there is one, and follow the store until the block is left.

        A snapshot is what there is where the store is away: for a moment the store's own lists are waited for, because
        a JWKS that lags behind would take keys from verifiers that sign already.
        """
        loaded = self._load()
        supervised = self._supervised
        supervised.start("follow", self._follower.run, needed=True)
        if self.metrics.shared:
            supervised.start("metrics", self.metrics.run)
        if self._snapshots is not None:
            supervised.start("snapshot", self._snapshots.run)
        if self._revoking:
            supervised.start("revocations", self._revocations.run)
        if self._usage is not None:
            supervised.start("usage", partial(self._usage.run, self._reports_every))
        falling_back = asyncio.create_task(self._fall_back_on_snapshot(), name="fall back") if loaded else None
        try:
            yield self
        finally:
            if falling_back is not None:
                falling_back.cancel()
            await supervised.stop()
            if self._revoking:
                await self._revocations.finish()
            if self._usage is not None:
                await self._usage.finish()
            await self._replay.close()

    async def ready(self) -> str:
        """The issuer's URL, once tokens can be had."""
        await self._ready.wait()
        return self.registry.issuer.issuer if self.registry.issuer else ""

    def missing(self) -> list[str]:
        """What the issuer waits for before it begins to serve."""
        missing = [] if self.registry.issuer else ["the issuer record"]
        if not self.registry.keys.jwks(self._clock()).keys:
            missing.append("a signing key in the JWKS")
        if not self._from_snapshot:
            missing += [f"the list of {kind}s" for kind in sorted(self._follower.incomplete)]
        return missing

    def _in_the_way(self) -> list[str]:
        """What keeps it from being ready, as `/readyz` and the metrics tell it."""
        down = self._supervised.down(needed=True)
        return [*self.missing(), *(f"the task {name}, which fails again and again" for name in down)]

    async def _fall_back_on_snapshot(self) -> None:
        await asyncio.sleep(self._patience)
        self._from_snapshot = True
        self._look()

    def _load(self) -> bool:
        """Whether the snapshot has all that tokens need."""
        if self._snapshots is None:
            return False
        count = 0
        for change in self._snapshots.load():
            if change.existing.ref == self._revocations.ref:
                self._revocations.take(change)
            elif self.registry.apply(change, self._clock()):
                count += 1
            else:
                self._snapshots.forget(change.existing.ref)
        if count:
            log.info("a snapshot of %d objects is at hand", count)
        return self.registry.issuer is not None and bool(self.registry.keys)

    def _look(self) -> None:
        if not self._ready.is_set() and not self.missing():
            self._ready.set()

    async def answer(self, http: HttpRequest) -> Answer:
        decided = self.decide(http)
        return decided if isinstance(decided, Answer) else await decided

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        """The answer at once wherever memory is enough; else what waits for it."""
        if self._proxies is not None:
            http.peer = self._proxies.caller(http)
        record = self.registry.issuer
        if record is not None:
            paths = self._paths_of(record)
            if not self._ready.is_set() and http.path in paths.of_what_is_known:
                return _starting()
            if http.path == paths.token:
                return self.tokens.decide(http)
            if http.path == paths.introspection:
                return self.introspection.decide(http)
            if http.path == paths.revocation and self._revoking:
                return self.revocation.decide(http)
            document = self._document(http, record, paths)
            if document is not None:
                return document
        return self._health(http) or (metadata.not_found() if record else _starting())

    def observe(self, http: HttpRequest) -> Answer:
        """What is for those who run the issuer and not for its callers: `/metrics`, on a listener of its own."""
        if http.path != METRICS:
            return self._health(http) or metadata.not_found()
        return self.metrics.answer() if http.method in ("GET", "HEAD") else _only_get()

    def _paths_of(self, record: IssuerRecord) -> metadata.Paths:
        if self._paths[0] != record.issuer:
            self._paths = (record.issuer, metadata.paths(record.issuer))
        return self._paths[1]

    def _document(self, http: HttpRequest, record: IssuerRecord, paths: metadata.Paths) -> Answer | None:
        if http.path not in (paths.jwks, paths.feed, paths.oauth_metadata, paths.openid_metadata):
            return None
        if http.method not in ("GET", "HEAD"):
            return _only_get()
        if http.path == paths.feed:
            return self._feed.answer(record.issuer, http)
        if http.path == paths.oauth_metadata:
            return metadata.document(metadata.oauth_metadata(record, revoking=self._revoking), record)
        jwks = self.registry.keys.jwks(self._clock())
        if http.path == paths.jwks:
            return metadata.key_set(jwks, record, http)
        return metadata.document(metadata.openid_metadata(record, jwks, revoking=self._revoking), record)

    def _health(self, http: HttpRequest) -> Answer | None:
        if http.path not in (HEALTHZ, READYZ):
            return None
        if http.method not in ("GET", "HEAD"):
            return _only_get()
        if http.path == HEALTHZ:
            return json_answer(200, {"status": "ok"})
        if missing := self._in_the_way():
            return json_answer(503, {"status": "not ready", "missing": missing})
        failing = self._supervised.down(needed=False)
        stale = self._contact.problem if self._contact else ""
        # Ready all the same: taken out of the Service for this, all issuers would be at once (invariant 7).
        said = {"status": "degraded", "stale": stale} if stale else {"status": "ok"}
        return json_answer(200, said | ({"failing": failing} if failing else {}))


def _only_get() -> Answer:
    return invalid_request("use GET", status=405, headers=((b"allow", b"GET, HEAD"),)).answer()


def _starting() -> Answer:
    return unavailable("the issuer is starting: see /readyz", reason="starting").answer()
