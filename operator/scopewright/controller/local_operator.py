"""Reconciliation without a Kubernetes cluster: reads manifests from a directory, writes a STATE directory."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scopewright.api import IdentityProvider, ResourceServer
from scopewright.controller.bootstrap import Bootstrap
from scopewright.controller.cache import Cache
from scopewright.controller.events import LogRecorder
from scopewright.controller.key_generation import generate_secret, make_key
from scopewright.controller.local_cluster import service_account_uid
from scopewright.controller.provider_checks import ProviderChecks
from scopewright.controller.queue import Queue
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.resync import WatchMonitor, orphaned_keys
from scopewright.controller.views import Dependencies
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.declared import ref_of
from scopewright.core.failures import Conflict
from scopewright.core.http_in_force import locations
from scopewright.core.http_rules import http_access
from scopewright.core.installation import default_signing_key, id_token_signing_key
from scopewright.core.objects import Deletion, Ref
from scopewright.core.providers.view import references
from scopewright.core.records.names import hostname_claim_name
from scopewright.manifests.validate import Diagnostic
from scopewright.stores.directory.declared import ManifestChange
from scopewright.stores.directory.manifest_follower import ManifestFollower
from scopewright.stores.directory.store import DirectoryStore

SETTLE_SECONDS: Final = 0.05
"""Seconds without work after which everything is reconciled."""
CHECK_SECONDS: Final = 15.0
"""Between two checks of a provider: a browser that is sent to one that is away gets no page of the issuer, and the
developer sees it only here.
"""
FAILED_CHECK_SECONDS: Final = 5.0
"""Until a provider that cannot be used is checked again: it may be starting on the same machine."""


class LocalOperator:
    """Reconciles one directory of manifests while `run` does. No other process writes the STATE directory.

    With `users` or an IdentityProvider, there is a SigningKey for ID tokens too. With `users`, the developer login
    stands in while no IdentityProvider is declared: a declared one that is not in force ends it.
    """

    def __init__(self, directory: Path, store: DirectoryStore, config: Config, *, users: bool = False) -> None:
        self._directory = directory
        self._store = store
        self._config = config
        self.cache = Cache(config.name, config.namespace, limits=config.limits, account_uid=service_account_uid)
        dependencies = Dependencies(
            _now, generate_secret, make_key, sign_at_once=True, local=True, developer_login=users
        )
        self._checks = ProviderChecks(
            self._enqueue, allow_loopback=True, interval=CHECK_SECONDS, failed_interval=FAILED_CHECK_SECONDS
        )
        recorder = LogRecorder(printed=(IdentityProvider.KIND,))
        self._reconciler = Reconciler(
            store, self.cache, config, dependencies, recorder, enqueue=self._enqueue, checks=self._checks
        )
        self._queue = Queue(self._reconciler.reconcile, _now, after=self.cache.relations.waits_for, workers=4)
        self._bootstrap = Bootstrap(store, config, _now)
        self._handlers = WatchHandlers(self.cache, config, WatchMonitor(), self._enqueue, self._bootstrap.check)
        id_tokens = id_token_signing_key(config)
        self._manifests = ManifestFollower(
            store.declared,
            (default_signing_key(config),),
            additions=(id_tokens,) if users else (),
            additions_with={"IdentityProvider": id_tokens},
        )
        self.problems: tuple[Diagnostic, ...] = ()

    async def run(self, on_settled: Callable[[], None]) -> None:
        """Run until cancelled. `on_settled` is called each time that all changes are reconciled."""
        await self.install()
        async with asyncio.TaskGroup() as group:
            for selection in self._handlers.selections:
                group.create_task(self._handlers.follow(self._store, selection))
            await self._handlers.complete()
            group.create_task(self._queue.run())
            group.create_task(self._checks.run())
            group.create_task(self._keep())
            group.create_task(self._follow(on_settled))

    async def install(self) -> None:
        """Create the objects that each installation has, before an issuer starts."""
        self._reconciler.set_seal_key(await self._bootstrap.ensure())
        if self._bootstrap.failure:
            raise self._bootstrap.failure

    async def _keep(self) -> None:
        while await self._bootstrap.incomplete.wait():
            await self.install()

    async def _follow(self, on_settled: Callable[[], None]) -> None:
        first = True
        async for change in self._manifests.follow(self._directory):
            await self._take(change)
            if first:
                await self._store.collect_orphans()
                self._collect_records()
                first = False
            await self._settle()
            on_settled()

    async def _take(self, change: ManifestChange) -> None:
        self.problems = change.problems
        for obj in change.removed.values():
            if obj["kind"] != "Namespace":
                self._handlers.deliver("DELETED", obj)
                await self._store.collect(obj["metadata"]["uid"])
        self._handlers.namespaces(self._store.namespaces())
        for obj in change.added_or_changed.values():
            if obj["kind"] != "Namespace":
                self._handlers.deliver(None, obj)
        await self._release_hostnames()
        for provider in self.cache.all(IdentityProvider):
            if change.named.intersection(references(provider)):
                self._enqueue(ref_of(provider))

    async def _release_hostnames(self) -> None:
        """Delete the claims that no manifest asks for any more: there is no platform team to ask for that."""
        managed, servers = self.cache.managed, {f"{s.namespace}/{s.name}": s for s in self.cache.all(ResourceServer)}
        asked = {(key, location) for key, server in servers.items() for location in locations(http_access(server))}
        claims = [(key, location) for of_host in managed.hostname_claims.values() for location, key in of_host.items()]
        released = [location for key, location in claims if (key, location) not in asked]
        for location in released:
            ref = Ref("ConfigMap", self._config.namespace, hostname_claim_name(*location))
            with suppress(Conflict):  # it has another version since: at the next change
                await self._store.delete(Deletion(managed.objects[ref]))
                self.cache.drop_managed(ref)
        for server in servers.values() if released else ():
            self._enqueue(ref_of(server))

    def _collect_records(self) -> None:
        """Delete the records of objects that were removed before this process started."""
        orphans = orphaned_keys(self.cache)
        self.cache.deleted |= orphans
        for key in orphans:
            self._enqueue(key)

    async def _settle(self) -> None:
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(SETTLE_SECONDS)
            quiet = quiet + 1 if self._queue.idle else 0

    def _enqueue(self, key: Ref, delay: float = 0.0) -> None:
        self._queue.add(key, delay / 10)


def _now() -> datetime:
    return datetime.now(UTC)
