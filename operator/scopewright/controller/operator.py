"""The operator: watches and caches on every replica, reconciliation on the one that leads."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.controller.bootstrap import Bootstrap, ensure_signing_key
from scopewright.controller.cache import Cache, precedence
from scopewright.controller.claims import Claims
from scopewright.controller.events import EventRecorder
from scopewright.controller.health import health, serve
from scopewright.controller.index import Keys
from scopewright.controller.key_generation import generate_secret, make_key
from scopewright.controller.lease import Lease
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.missing_rights import MissingRights
from scopewright.controller.overdue import overdue_keys
from scopewright.controller.preflight import preflight
from scopewright.controller.queue import Queue
from scopewright.controller.ready_latency import ReadyLatency
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.resync import Resync, WatchMonitor
from scopewright.controller.sidecar import Sidecar, TokenMinter
from scopewright.controller.state_metrics import GaugeSources, StateMetrics
from scopewright.controller.tracing import traced
from scopewright.controller.unserved_issuers import UnservedIssuers
from scopewright.controller.views import Dependencies
from scopewright.controller.watch import watch
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.plan import Event
from scopewright.http import Handler
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.rate_limit import RateLimit
from scopewright.stores.kubernetes.store import KubernetesStore
from scopewright.tracing import Tracing

STOP_TIMEOUT_SECONDS: Final = 10.0
"""Seconds that what has begun may take to end when leadership or the process ends."""

MAX_STARTUP_RETRIES: Final = 15
"""How many times an API server that was away is asked again about what it lacks, a second apart."""

RETRY_SECONDS: Final = 2.0
"""Seconds until a comparison that failed is tried again."""

log = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


class Operator:
    """One replica. `run` returns when `stop` is called, and raises when it cannot go on."""

    def __init__(
        self,
        api: Api,
        config: Config,
        listening: socket.socket,
        issuer_beside_us: Sidecar | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._api = api
        self._config = config
        self._listening = listening
        self._sidecar = issuer_beside_us
        self._tracing = tracing
        self._store = KubernetesStore(api, may_write=lambda: self._lease.leads)
        self._identity = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._cache = Cache(config.name, config.namespace, in_cluster=True, limits=config.limits)
        self._monitor = WatchMonitor()
        self._metrics = OperatorMetrics()
        api.observe = self._metrics.api_answered
        self._rights = MissingRights()
        api.answered = self._rights.answered
        self._events = EventRecorder(api, self._identity)
        self._claims = Claims(api, config, self._claim_changed)
        self._lease = Lease(api, config.namespace, LEASE_NAME, self._identity, self._claims, times=config.lease)
        self._claims_known = True
        """As of the last look, so that a failure is logged once."""
        self._unserved = UnservedIssuers(
            self._store, config, now, lambda: self._claims.known, lambda: self._lease.leads
        )
        api.leads = lambda: self._lease.leads
        if config.kube_api.qps:
            api.limit = RateLimit(config.kube_api.qps, config.kube_api.burst)
        self._reconciler = Reconciler(
            self._store,
            self._cache,
            config,
            Dependencies(now, generate_secret, make_key),
            self._events,
            enqueue=lambda key: self._enqueue(key, 0.0),
            may_write=lambda: self._lease.leads,
            progress=ReadyLatency(now, self._metrics.became_ready),
            on_failure=self._metrics.write_failed,
        )
        self._installing = Bootstrap(self._store, config, now, may_write=lambda: self._lease.leads)
        self._caches = WatchHandlers(self._cache, config, self._monitor, self._enqueue, self._installing.saw)
        self._resync = Resync(api, self._cache, self._monitor, config.watched, self._unserved.saw)
        self._queue: Queue | None = None
        """While we lead and have compared everything once; what comes up before that is compared then."""
        self._stop = asyncio.Event()
        self._metrics.registry.register(StateMetrics(self._cache, config, now, self._gauge_sources()))

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Health and the sidecar issuer's token are served while the operator still waits for the API server."""
        beside = [asyncio.create_task(serve(self._health(), self._listening))]
        if self._sidecar:
            minting = TokenMinter(self._api, self._config.namespace, self._sidecar)
            beside.append(asyncio.create_task(minting.run()))
        try:
            await self._until_one_ends(self._ready_to_begin(), *map(asyncio.shield, beside))
            if not self._stop.is_set():
                await self._work(beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _work(self, beside: list[asyncio.Task[None]]) -> None:
        tasks = [
            *beside,
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._events.run()),
            *(asyncio.create_task(self._caches.follow(self._store, s)) for s in self._caches.selections),
            leading := asyncio.create_task(self._lead_when_elected()),
        ]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping in done:
                await asyncio.wait([leading], timeout=STOP_TIMEOUT_SECONDS)
            for task in done - {stopping}:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        await watch(self._api, self._caches.deliver, self._config.watched, self._metrics.retried.inc)

    async def _ready_to_begin(self) -> None:
        """CRDs, rights and an API server to talk to; the last is waited for.

        One that has just come back does not know all rights and kinds at once: what it lacks is asked for again.
        """
        doubts = 0
        while not self._stop.is_set():
            try:
                return await preflight(self._api, self._config, self._sidecar.service_account if self._sidecar else "")
            except Unavailable as error:
                log.warning("%s: trying again", error)
                doubts, pause = MAX_STARTUP_RETRIES, error.retry_after
            except Rejected as error:
                if not doubts:
                    raise
                log.warning("the API server has just come back: %s: trying again", error)
                doubts, pause = doubts - 1, 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
        return None

    async def _lead_when_elected(self) -> None:
        await self._until_one_ends(self._caches.complete())
        while not self._stop.is_set():
            await self._until_one_ends(self._lease.campaign())
            if not self._stop.is_set():
                await self._lead()

    async def _lead(self) -> None:
        """Until the Lease is lost or we are to stop. No write of ours is under way any more when it is released."""
        self._installing.forget()
        self._reconciler.start_term()
        queue = Queue(self._measured, now, after=self._cache.waits_for, workers=self._config.workers)
        working = asyncio.create_task(queue.run())
        keeping = asyncio.create_task(self._lease.keep())
        try:
            await self._until_one_ends(asyncio.shield(keeping), asyncio.shield(working), self._compare(queue))
        finally:
            self._queue = None
            queue.stop()
            await asyncio.wait([working], timeout=STOP_TIMEOUT_SECONDS)
            working.cancel()
            keeping.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            self._reconciler.end_term()
            await self._lease.release()

    async def _until_one_ends(self, *work: Awaitable[None]) -> None:
        """Until one of them ends, or fails, or we are to stop; the others are cancelled."""
        tasks = [asyncio.ensure_future(w) for w in (*work, self._stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _compare(self, queue: Queue) -> None:
        """The whole level: at the beginning, on a period, and when something of the installation's own is missing."""
        while True:
            is_whole = True
            try:
                if self._queue is None:
                    await self._caches.refresh(self._store)
                is_whole = await self._install()
                keys = await self._compared()
                if self._queue is None:
                    self._queue = queue
                    keys |= self._everything()
                for key in sorted(keys, key=precedence):
                    queue.add(key)
                pause = with_jitter(self._config.resync.total_seconds(), 0.9, 1.0)
            except (Unavailable, Rejected) as error:
                log.warning("the comparison failed and changes nothing: %s", error)
                pause = with_jitter(RETRY_SECONDS)
            except Exception:
                log.exception("the comparison failed and changes nothing")
                pause = with_jitter(RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._until_something_is_missing(is_whole)

    async def _until_something_is_missing(self, is_whole: bool) -> None:
        """Of the installation's own. What could not be written is tried again meanwhile."""
        while not is_whole:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                is_whole = await self._install()
            except (Unavailable, Rejected) as error:
                log.warning("what the installation lacks cannot be made: %s", error)
            except Exception:
                log.exception("what the installation lacks cannot be made")
        await self._installing.lacking.wait()

    async def _install(self) -> bool:
        """Make what every installation has, and use its seal key. Whether all of it is there."""
        # At first what was restored is adopted, by the key that has sealed it.
        if self._reconciler.set_seal_key(await self._installing.ensure(may_rotate=self._queue is not None)):
            for client in self._cache.declared["OAuthClient"]:
                self._enqueue(client, 0.0)
        try:
            await ensure_signing_key(self._api, self._config)
        except (Unavailable, Rejected) as error:
            log.warning("there is no SigningKey, and none can be made: %s", error)
            return False
        return self._installing.failure is None

    async def _compared(self) -> Keys:
        claims_are_known = await self._look_at_claims()
        keys = await self._resync.run()
        if claims_are_known:
            await self._unserved.report()
        else:
            self._unserved.forget()
        return keys | overdue_keys(self._cache, self._config, now())

    async def _look_at_claims(self) -> bool:
        """Whether the other installations are known. A term does not begin without that (`Claims.secure`); within one,
        reconciliation needs no right to look at other namespaces.
        """
        try:
            await self._lease.look_at_claims()
        except (Unavailable, Rejected) as error:
            if self._claims_known:
                log.warning("other installations are not known, and reconciliation goes on: %s", error)
            self._claims_known = False
        else:
            if not self._claims_known:
                log.info("other installations are known again")
            self._claims_known = True
        return self._claims_known

    def _everything(self) -> Keys:
        """What is declared, and the SigningKeys that left keys to look after."""
        declared = {ref for objects in self._cache.declared.values() for ref in objects}
        return declared | self._cache.managed.signing_keys()

    async def _measured(self, key: Ref) -> datetime | None:
        with self._metrics.reconciling(key.kind), traced(self._tracing, key):
            return await self._reconciler.reconcile(key)

    def _enqueue(self, key: Ref, delay: float) -> None:
        if self._queue:
            self._queue.add(key, delay)

    def _health(self) -> Handler:
        return health(self._unhealthy, self._unready, self._metrics.registry)

    def _unhealthy(self) -> list[str]:
        silent = self._monitor.silent_for
        return [f"the watch has missed a change for {silent:.0f} s"] if silent else []

    def _unready(self) -> list[str]:
        problems = filter(None, (self._api.contact.problem, self._claims.collision))
        return [*self._unhealthy(), *problems, *self._rights.problems, *self._caches.missing]

    def _claim_changed(self, event: Event) -> None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": LEASE_NAME}
        self._events.record_about({**lease, "namespace": self._config.namespace}, event)

    def _gauge_sources(self) -> GaugeSources:
        return GaugeSources(
            leads=lambda: self._lease.leads,
            queued=lambda: self._queue.depth if self._queue else 0,
            watch_overdue=lambda: self._monitor.silent_for,
            orphans_held=lambda: self._resync.orphans_held,
            heard=self._store.last_activity,
            failing=lambda: self._queue.failing if self._queue else (),
            last_contact=lambda: self._api.contact.last,
            rights_missing=lambda: self._rights.count,
        )
