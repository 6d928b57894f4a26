"""Keeps the cache current: from kopf's events on declared objects, and from watches of managed objects."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from scopewright.controller.cache import Cache, newer
from scopewright.controller.index import Keys
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.status_writes import StatusWrites
from scopewright.core.config import Config
from scopewright.core.declared import parse_watched
from scopewright.core.failures import Rejected
from scopewright.core.grants import Labels
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.stores import Change, ListCompleted, Selection, Store

Enqueue = Callable[[Ref, float], None]
"""Takes a key and a delay in seconds."""

KINDS_WITH_RECORD: Final = ("OAuthClient", "ResourceServer", "IdentityProvider")
"""Kinds with a record, which is deleted with the object."""

SERVICE_ACCOUNTS: Final = Selection("ServiceAccount")
"""All of them: a client may name any, and they have hardly more than metadata."""

INDIRECT_DELAY_SECONDS: Final = 1.0
"""Delay for a grant whose API, namespaces or record have changed: a thousand changes are then one write."""
COUNT_DELAY_SECONDS: Final = 5.0
"""Delay for the count of clients in a grant's status. Each count reads all clients of the API, and in a large
rollout clients come one by one.
"""

log = logging.getLogger(__name__)


class WatchHandlers:
    """Puts changes into the cache, and the keys that depend on them into the queue."""

    def __init__(
        self,
        cache: Cache,
        config: Config,
        monitor: WatchMonitor,
        enqueue: Enqueue,
        on_change: Callable[[Ref, Existing | None], None],
        statuses: StatusWrites | None = None,
    ) -> None:
        """`on_change` is called with each managed object that was added, changed or deleted (None). `statuses` are the
        writes of this replica.
        """
        self._cache = cache
        self._monitor = monitor
        self._enqueue = enqueue
        self._on_change = on_change
        self._statuses = statuses or StatusWrites()
        self._statuses.deliver = self._put
        self._managed = (
            *(Selection("Secret", namespace, {MANAGED_BY: MANAGER}) for namespace in config.watch_targets),
            Selection("ConfigMap", config.namespace, {MANAGED_BY: MANAGER}),
        )
        accounts_in = () if cache.service_accounts is None else config.watch_targets
        self.selections = (
            *self._managed,
            *(replace(SERVICE_ACCOUNTS, namespace=namespace) for namespace in accounts_in),
        )
        self._complete = {(s.kind, s.namespace): asyncio.Event() for s in self.selections}

    async def complete(self) -> None:
        """Wait until everything that is followed has been listed once."""
        for event in self._complete.values():
            await event.wait()

    @property
    def missing(self) -> tuple[str, ...]:
        lists = {kind for (kind, _), event in self._complete.items() if not event.is_set()}
        return tuple(f"{kind}s are not listed yet" for kind in sorted(lists))

    def deliver(self, event: str | None, raw: Mapping[str, Any]) -> None:
        """Handle an event of kopf on a declared object or a Namespace."""
        meta = raw["metadata"]
        if raw["kind"] == "Namespace":
            labels = None if event == "DELETED" else meta.get("labels") or {}
            terminating = bool(meta.get("deletionTimestamp"))
            version = meta["resourceVersion"]
            return self._enqueue_all(self._cache.put_namespace(meta["name"], labels, version, terminating=terminating))
        ref = Ref(raw["kind"], meta["namespace"], meta["name"])
        if event == "DELETED":
            return self._deleted(ref, meta)
        self._monitor.on_delivery(ref, meta["resourceVersion"])
        if self._cache.has_seen(ref, meta["resourceVersion"]):
            return None  # a late event: it must not displace a newer one that is held back
        if self._statuses.is_written(ref) and self._cache.differs_in_status_only(ref, raw):
            return self._statuses.hold(ref, raw)
        self._statuses.forget(ref)
        return self._put(raw)

    def _put(self, raw: Mapping[str, Any]) -> None:
        """Put a declared object into the cache, unless its version is known."""
        meta = raw["metadata"]
        ref = Ref(raw["kind"], meta["namespace"], meta["name"])
        if self._cache.has_seen(ref, meta["resourceVersion"]):
            return
        try:
            obj = parse_watched(raw, self._cache.declared[ref.kind].get(ref))
        except Rejected as error:
            log.warning("%s: %s", ref, error)
        else:
            self._enqueue_all(self._cache.put(obj), directly=ref)

    def namespaces(self, current: Mapping[str, Labels]) -> None:
        """Handle a list of all namespaces."""
        for name in set(self._cache.namespaces) - set(current):
            self._enqueue_all(self._cache.put_namespace(name, None))
        for name, labels in current.items():
            self._enqueue_all(self._cache.put_namespace(name, labels))

    def _deleted(self, ref: Ref, meta: Mapping[str, Any]) -> None:
        self._monitor.on_deletion(ref)
        if keys := self._cache.drop(ref, meta["resourceVersion"]):
            self._statuses.forget(ref)
            if ref.kind in KINDS_WITH_RECORD:
                self._cache.mark_deleted(ref)
            self._enqueue_all(keys, directly=ref)

    async def follow(self, store: Store, selection: Selection, *, once: bool = False) -> None:
        """List and watch until cancelled; with `once`, list only."""
        async for change in store.follow(selection):
            if isinstance(change, ListCompleted):
                self._listed(selection, change)
                if once:
                    return
                continue
            with _unexpected_errors_are_logged(change.existing.ref):
                self._changed(change)

    async def refresh(self, store: Store) -> None:
        """List the managed objects again: the watches of a replica that waited to lead may be behind."""
        for selection in self._managed:
            await self.follow(store, selection, once=True)

    def _changed(self, change: Change) -> None:
        existing = change.existing
        if existing.ref.kind == "ServiceAccount":
            self._enqueue_all(self._cache.put_service_account(existing.ref, None if change.deleted else existing.uid))
        elif change.deleted:
            self._enqueue_all(self._cache.drop_managed(existing.ref, existing.resource_version))
            self._on_change(existing.ref, self._cache.managed.objects.get(existing.ref))
        else:
            self._enqueue_all(self._cache.put_managed(existing, change.entries))
            self._on_change(existing.ref, existing)

    def _listed(self, selection: Selection, listed: ListCompleted) -> None:
        if selection.kind == "ServiceAccount":
            for ref in set(self._cache.service_accounts or ()) - listed.refs:
                if selection.namespace in (None, ref.namespace):
                    self._enqueue_all(self._cache.put_service_account(ref, None))
        self._cache.managed_listed(selection.kind, selection.namespace, listed.version)
        for ref, existing in list(self._cache.managed.objects.items()):
            if ref.kind != selection.kind or ref in listed.refs or selection.namespace not in (None, ref.namespace):
                continue
            if not listed.version or not newer(existing.resource_version, listed.version):
                with _unexpected_errors_are_logged(ref):
                    self._enqueue_all(self._cache.drop_managed(ref))
                    self._on_change(ref, None)
        self._complete[selection.kind, selection.namespace].set()

    def _enqueue_all(self, keys: Keys, directly: Ref | None = None) -> None:
        counts = directly is not None and directly.kind == "OAuthClient"
        delay = COUNT_DELAY_SECONDS if counts else INDIRECT_DELAY_SECONDS
        for key in keys:
            indirect = key.kind == "ScopeGrant" and key != directly
            self._enqueue(key, delay if indirect else 0.0)


@contextlib.contextmanager
def _unexpected_errors_are_logged(ref: Ref) -> Iterator[None]:
    """Tenants write Secrets: one that causes an unexpected error must not end the operator."""
    try:
        yield
    except Exception:
        log.exception("a change of %s could not be handled, it is ignored", ref)
