"""The operator: one replica, which watches at all times, and reconciles while it leads."""

import asyncio
import contextlib
import logging
import secrets
import socket
from typing import Final

from scopewright.controller.cache import Cache
from scopewright.controller.claims import Claims
from scopewright.controller.events import EventRecorder
from scopewright.controller.health import health, serve
from scopewright.controller.leader import Leader, first_ended, now
from scopewright.controller.lease import Lease
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.missing_rights import MissingRights
from scopewright.controller.preflight import preflight
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.sidecar import Sidecar, TokenMinter
from scopewright.controller.state_metrics import GaugeSources, StateMetrics
from scopewright.controller.watch import watch
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.plan import Event
from scopewright.http import Handler
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.rate_limit import RateLimit
from scopewright.stores.kubernetes.store import KubernetesStore
from scopewright.tracing import Tracing

MAX_STARTUP_RETRIES: Final = 15
"""Further checks, a second apart, of what an API server that was unreachable seems to lack."""

log = logging.getLogger(__name__)


class Operator:
    """`run` returns when `stop` is called, and raises when it cannot continue."""

    def __init__(
        self,
        api: Api,
        config: Config,
        listening: socket.socket,
        sidecar: Sidecar | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`sidecar` is an issuer in the same Pod."""
        self._api = api
        self._config = config
        self._listening = listening
        self._sidecar = sidecar
        identity = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._metrics = OperatorMetrics()
        self._rights = MissingRights()
        self._monitor = WatchMonitor()
        self._events = EventRecorder(api, identity)
        self._claims = Claims(api, config, self._claim_changed)
        self._lease = Lease(api, config.namespace, LEASE_NAME, identity, self._claims, times=config.lease)
        self._store = KubernetesStore(api, may_write=lambda: self._lease.leads)
        cache = Cache(config.name, config.namespace, in_cluster=True, limits=config.limits)
        api.observe = self._metrics.api_answered
        api.answered = self._rights.answered
        api.leads = lambda: self._lease.leads
        if config.kube_api.qps:
            api.limit = RateLimit(config.kube_api.qps, config.kube_api.burst)
        self._leader = Leader(
            api, self._store, cache, config, self._lease, self._monitor, self._events, self._metrics, tracing
        )
        self._stop = asyncio.Event()
        self._metrics.registry.register(StateMetrics(cache, config, now, self._gauge_sources()))

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Health and the sidecar issuer's token are served while the operator still waits for the API server."""
        beside = [asyncio.create_task(serve(self._health(), self._listening))]
        if self._sidecar:
            minter = TokenMinter(self._api, self._config.namespace, self._sidecar)
            beside.append(asyncio.create_task(minter.run()))
        try:
            await first_ended(self._until_ready(), *map(asyncio.shield, beside), self._stop.wait())
            if not self._stop.is_set():
                await self._work(beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _work(self, beside: list[asyncio.Task[None]]) -> None:
        """Run until one of them ends, as the leader does when `stop` is called. The leader is never cut short."""
        handlers = self._leader.handlers
        leading = asyncio.create_task(self._lead_when_elected())
        try:
            await first_ended(
                asyncio.shield(leading),
                *map(asyncio.shield, beside),
                watch(self._api, handlers.deliver, self._config.watch_targets, self._metrics.retried.inc),
                self._events.run(),
                *(handlers.follow(self._store, selection) for selection in handlers.selections),
            )
        finally:
            self.stop()
            await leading

    async def _until_ready(self) -> None:
        """Wait for the API server, and check CRDs and permissions.

        An API server that has just started does not know all of them at once: what is missing is checked again.
        """
        retries = 0
        while not self._stop.is_set():
            try:
                return await preflight(self._api, self._config, self._sidecar.service_account if self._sidecar else "")
            except Unavailable as error:
                log.warning("%s: retrying", error)
                retries, pause = MAX_STARTUP_RETRIES, error.retry_after
            except Rejected as error:
                if not retries:
                    raise
                log.warning("the API server has just started, retrying: %s", error)
                retries, pause = retries - 1, 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
        return None

    async def _lead_when_elected(self) -> None:
        await first_ended(self._leader.handlers.complete(), self._stop.wait())
        while not self._stop.is_set():
            await first_ended(self._lease.campaign(), self._stop.wait())
            if not self._stop.is_set():
                await self._leader.lead(self._stop)

    def _health(self) -> Handler:
        return health(self._unhealthy, self._unready, self._metrics.registry)

    def _unhealthy(self) -> list[str]:
        silent = self._monitor.silent_for
        return [f"the watch has missed a change for {silent:.0f} s"] if silent else []

    def _unready(self) -> list[str]:
        problems = filter(None, (self._api.contact.problem, self._claims.collision))
        return [*self._unhealthy(), *problems, *self._rights.problems, *self._leader.handlers.missing]

    def _claim_changed(self, event: Event) -> None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": LEASE_NAME}
        self._events.record_about({**lease, "namespace": self._config.namespace}, event)

    def _gauge_sources(self) -> GaugeSources:
        leader = self._leader
        return GaugeSources(
            leads=lambda: self._lease.leads,
            queued=lambda: leader.queue.depth if leader.queue else 0,
            watch_overdue=lambda: self._monitor.silent_for,
            orphans_held=lambda: leader.resync.orphans_held,
            last_activity=self._store.last_activity,
            failing=lambda: leader.queue.failing if leader.queue else (),
            last_contact=lambda: self._api.contact.last,
            rights_missing=lambda: self._rights.count,
        )
