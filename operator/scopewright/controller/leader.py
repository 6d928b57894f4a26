"""What the leader does: it resyncs periodically, and reconciles until the Lease is lost."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.controller.bootstrap import Bootstrap, ensure_id_token_key, ensure_signing_key, needs_id_token_key
from scopewright.controller.cache import Cache
from scopewright.controller.index import Keys
from scopewright.controller.key_generation import generate_secret, make_key
from scopewright.controller.lease import Lease
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.overdue import overdue_keys
from scopewright.controller.provider_checks import ProviderChecks
from scopewright.controller.queue import Queue
from scopewright.controller.reconcile import Reconciler, Recorder
from scopewright.controller.relations import precedence
from scopewright.controller.resync import Resync, WatchMonitor
from scopewright.controller.tracing import traced
from scopewright.controller.unserved_issuers import UnservedIssuers
from scopewright.controller.views import Dependencies
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.installation import id_token_key_ref
from scopewright.core.objects import Ref
from scopewright.logs import OncePerProblem
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import KubernetesStore
from scopewright.tracing import Tracing

STOP_TIMEOUT_SECONDS: Final = 10.0
"""Seconds until running reconciliations are cancelled when leadership or the process ends."""

RETRY_SECONDS: Final = 2.0
"""Seconds until a failed resync, or a failed creation of the installation's objects, is retried."""

log = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


async def first_ended(*work: Awaitable[object]) -> None:
    """Wait until one of them ends, and raise its error if it failed; cancel the others."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Leader:
    """`handlers` keep the cache current in every replica; all else happens only while `lease` leads."""

    def __init__(
        self,
        api: Api,
        store: KubernetesStore,
        cache: Cache,
        config: Config,
        lease: Lease,
        monitor: WatchMonitor,
        recorder: Recorder,
        metrics: OperatorMetrics,
        tracing: Tracing | None,
    ) -> None:
        self._api = api
        self._store = store
        self._cache = cache
        self._config = config
        self._lease = lease
        self._metrics = metrics
        self._tracing = tracing
        self._claims_problem = OncePerProblem(log, "other installations are not known, reconciling nevertheless: %s")
        self._bootstrap = Bootstrap(store, config, now, may_write=self._may_write)
        self._unserved = UnservedIssuers(store, config, now, lambda: lease.claims.known, self._may_write)
        self._checks = ProviderChecks(self._enqueue)
        self._reconciler = Reconciler(
            store, cache, config, Dependencies(now, generate_secret, make_key), recorder,
            enqueue=self._enqueue, may_write=self._may_write, checks=self._checks,
            became_ready=metrics.became_ready, on_failure=metrics.write_failed, planning=self._planning,
        )  # fmt: skip
        self.handlers = WatchHandlers(
            cache, config, monitor, self._enqueue, self._bootstrap.check, self._reconciler.statuses
        )
        self.resync = Resync(api, cache, monitor, config.watch_targets, self._unserved.check)
        self.queue: Queue | None = None
        """None until the first resync of a term is complete: it finds all changes from before."""

    def _may_write(self) -> bool:
        return self._lease.leads

    def _enqueue(self, key: Ref, delay: float = 0.0) -> None:
        if self.queue:
            self.queue.add(key, delay)

    def _planning(self, key: Ref) -> None:
        if self.queue:
            self.queue.planning(key)

    async def lead(self, stop: asyncio.Event) -> None:
        """Lead until the Lease is lost or `stop` is set. All writes have ended when the Lease is released."""
        self._bootstrap.forget()
        self._checks.clear()
        self._reconciler.start_term()
        queue = Queue(self._reconcile, now, after=self._cache.relations.waits_for, workers=self._config.workers)
        working = asyncio.create_task(queue.run())
        keeping = asyncio.create_task(self._lease.keep())
        try:
            await first_ended(
                asyncio.shield(keeping),
                asyncio.shield(working),
                self._checks.run(),
                self._resync_periodically(queue),
                stop.wait(),
            )
        finally:
            self.queue = None
            queue.stop()
            await asyncio.wait([working], timeout=STOP_TIMEOUT_SECONDS)
            working.cancel()
            keeping.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            self._reconciler.end_term()
            await self._lease.release()

    async def _reconcile(self, key: Ref) -> datetime | None:
        with self._metrics.reconciling(key.kind), traced(self._tracing, key):
            due = await self._reconciler.reconcile(key)
        is_cause = key.kind == "IdentityProvider" or key == id_token_key_ref(self._config)
        if is_cause and needs_id_token_key(self._cache, self._config):
            self._bootstrap.incomplete.set()
        return due

    async def _resync_periodically(self, queue: Queue) -> None:
        """Resync at the beginning, on a period, and as soon as an object of the installation is missing."""
        while True:
            complete, pause = True, with_jitter(RETRY_SECONDS)
            try:
                if self.queue is None:
                    await self.handlers.refresh(self._store)
                complete = await self._ensure_installation()
                keys = await self._resync()
                if self.queue is None:
                    self.queue = queue
                    keys |= {ref for objects in self._cache.declared.values() for ref in objects}
                for key in sorted(keys, key=precedence):
                    queue.add(key)
                pause = with_jitter(self._config.resync.total_seconds(), 0.9, 1.0)
            except (Unavailable, Rejected) as error:
                log.warning("the resync failed: %s", error)
            except Exception:
                log.exception("the resync failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._until_incomplete(complete)

    async def _until_incomplete(self, complete: bool) -> None:
        """Wait until an object of the installation is missing. Before that, retry what could not be created."""
        while not complete:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                complete = await self._ensure_installation()
            except (Unavailable, Rejected) as error:
                log.warning("objects of the installation cannot be created: %s", error)
            except Exception:
                log.exception("objects of the installation cannot be created")
        await self._bootstrap.incomplete.wait()

    async def _ensure_installation(self) -> bool:
        """Create the objects that each installation has, and use its seal key. Return whether all of them exist."""
        # Not before the first resync: what was restored is adopted with the key that has sealed it.
        if self._reconciler.set_seal_key(await self._bootstrap.ensure(may_rotate=self.queue is not None)):
            for client in self._cache.declared["OAuthClient"]:
                self._enqueue(client)
        try:
            await ensure_signing_key(self._api, self._config)
            await ensure_id_token_key(self._api, self._cache, self._config)
        except (Unavailable, Rejected) as error:
            log.warning("SigningKey cannot be created: %s", error)
            return False
        return self._bootstrap.failure is None

    async def _resync(self) -> Keys:
        """Return the keys to reconcile, with all SigningKeys among them.

        A term does not begin before other installations are known (`Claims.secure`). During one, objects are reconciled
        nevertheless, but unserved issuers are not reported.
        """
        claims_are_known = True
        try:
            await self._lease.check_claims()
            self._claims_problem.clear("other installations are known again")
        except (Unavailable, Rejected) as error:
            self._claims_problem.report(str(error))
            claims_are_known = False
        keys = await self.resync.run()
        if claims_are_known:
            await self._unserved.report()
        else:
            self._unserved.discard()
        return keys | overdue_keys(self._cache, self._config, now())
