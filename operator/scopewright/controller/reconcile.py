"""Reconciles one key: read the current state, plan, write, plan again until there are no writes, then the status."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

from scopewright.api import OAuthClient, ResourceServer, ScopeGrant
from scopewright.controller.altered_writes import AlteredWrites
from scopewright.controller.cache import Cache
from scopewright.controller.index import secret_of, status_target
from scopewright.controller.orphan_records import OrphanRecords
from scopewright.controller.periodic_rechecks import PeriodicRechecks
from scopewright.controller.ready_latency import ReadyLatency
from scopewright.controller.views import Dependencies, ReconcileResult, ViewBuilder
from scopewright.controller.write_retries import State, WriteRetries
from scopewright.core.client.credentials import current_credential, latest
from scopewright.core.client.plan import plan_client
from scopewright.core.client.view import NewCredential
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_watched
from scopewright.core.failed_writes import target_of
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.grants import plan_grant
from scopewright.core.lifecycle import is_halted
from scopewright.core.objects import (
    MANAGED_BY,
    MANAGER,
    Deletion,
    Existing,
    Ref,
    Write,
    is_progress,
    requested_rotation,
)
from scopewright.core.plan import NOTHING, Event, Plan, soonest
from scopewright.core.servers import plan_server
from scopewright.core.signing.plan import plan_signing_key
from scopewright.logs import about
from scopewright.stores import Objects

MAX_STEPS: Final = 12
"""Far more than any plan needs: what still writes then does not settle."""

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Where events go. It must not block, and may drop."""

    def record(self, obj: Declared, event: Event) -> None: ...


class Reconciler:
    """Brings the store to what is declared. `may_write` is asked before each write: who lost the Lease writes none."""

    def __init__(
        self,
        store: Objects,
        cache: Cache,
        config: Config,
        sources: Dependencies,
        recorder: Recorder,
        *,
        enqueue: Callable[[Ref], None],
        may_write: Callable[[], bool] = lambda: True,
        progress: ReadyLatency | None = None,
        retries: WriteRetries | None = None,
        on_failure: Callable[[str, Exception], None] = lambda kind, error: None,
    ) -> None:
        """`on_failure` is called for each write that fails although nobody refuses it, with the kind of the object that
        needs it. What is refused is a matter of the object's user, whom its status tells.
        """
        self._store = store
        self._cache = cache
        self._config = config
        self._sources = sources
        self._recorder = recorder
        self._enqueue = enqueue
        self._may_write = may_write
        self._progress = progress
        self._rechecks = PeriodicRechecks(config.resync, sources.clock)
        self._retries = retries or WriteRetries()
        self._alterations = AlteredWrites(sources.clock)
        self._on_failure = on_failure
        self._term_start: datetime | None = None
        self._views = ViewBuilder(cache, config, sources)
        self._orphan_records = OrphanRecords(store, cache, sources.clock)
        self._pending_events: dict[Ref, tuple[Event, ...]] = {}
        """Events of reconciliations whose status could not be written yet."""

    def end_term(self) -> None:
        """Another leads: no credential that could not be written is kept any longer."""
        self._retries.clear()

    def start_term(self) -> None:
        """Another may have written until now: what is remembered of failures is of an earlier term."""
        self._retries.clear()
        self._alterations.clear()
        self._pending_events.clear()
        self._term_start = self._sources.clock()

    async def reconcile(self, key: Ref) -> datetime | None:
        """When time alone makes another look worth while. `Unavailable` means: try again later."""
        result = self._begin(key)
        try:
            await self._read_unwatched_secrets(key)
            result = self._without_stored(key, result)
            for _ in range(MAX_STEPS):
                plan = await self.plan(key, result)
                if not plan.writes:
                    return await self._finish(key, plan, result)
                result = await self._apply(key, plan, result)
        except (Conflict, Rejected, Unavailable):
            if result.events:
                self._pending_events[key] = result.events
            raise
        raise Unavailable(f"{key} does not settle: something else keeps changing what it writes")

    def _begin(self, key: Ref) -> ReconcileResult:
        retries, unsure = self._retries, self._retries.unsure_time(key)
        return ReconcileResult(
            self._pending_events.pop(key, ()),
            retries.on_hold(key, self._state(key), self._sources.clock()),
            retries.attempt(key),
            refused=unsure is None,
            quiet_since=latest(unsure, self._term_start),
        )

    def _state(self, key: Ref) -> State:
        """What the user has declared: where that changes, nothing waits for its next attempt."""
        obj = self._cache.declared[key.kind].get(key)
        if obj is None:
            return ()
        return obj.uid, obj.metadata.generation, requested_rotation(obj.metadata.annotations)

    async def plan(self, key: Ref, result: ReconcileResult) -> Plan:
        """The next writes for one object, or its status where there are none. Nothing is written here."""
        obj = self._cache.declared[key.kind].get(key)
        if isinstance(obj, OAuthClient | ResourceServer) and self._orphan_records.is_unproven(key, obj):
            return NOTHING
        if isinstance(obj, OAuthClient | ResourceServer) and is_halted(obj.metadata):
            departed = await self._orphan_records.plan(key, obj, result.failed_writes)
            if departed.writes:
                return departed
        if isinstance(obj, OAuthClient):
            return plan_client(self._views.of_client(obj, result))
        if isinstance(obj, ResourceServer):
            return plan_server(self._views.of_server(obj, result))
        if isinstance(obj, ScopeGrant):
            return plan_grant(self._views.of_grant(obj, result))
        if key.kind == "SigningKey":
            return plan_signing_key(self._views.of_signing_key(key, obj, result))
        return await self._orphan_records.plan(key, None, result.failed_writes)

    def set_seal_key(self, key: bytes) -> bool:
        """Set the key that seals credential Secrets, before the first reconciliation; True where it changes."""
        another = key != self._views.seal_key
        self._views.seal_key = key
        return another

    async def _read_unwatched_secrets(self, key: Ref) -> None:
        """Read Secrets that the watch may not show as they are.

        A Secret without Scopewright's label is not watched: one in the way may be deleted, and one that seems deleted
        may exist. A Secret that differs from its record may only be an older version of it.
        """
        client = self._cache.declared[key.kind].get(key)
        if not isinstance(client, OAuthClient):
            return
        secret = secret_of(client)
        known = self._cache.managed.objects.get(secret)
        record = self._cache.managed.clients.get(self._cache.record_of_client(client.namespace, client.name))
        had_one = record is not None and record.uid == client.uid and bool(record.credentials)
        watched = known is not None and known.labels.get(MANAGED_BY) == MANAGER
        if (known and not watched) or (had_one and current_credential(record, known) is None):
            await self._refresh(key, secret)

    # Writes

    async def _apply(self, key: Ref, plan: Plan, result: ReconcileResult) -> ReconcileResult:
        """Write in order. After a conflict what exists has been read anew; what failed is on hold for a while."""
        if plan.attempt is not None:
            self._retries.begins(key, plan.attempt, self._state(key))
        result = replace(result, attempt=plan.attempt or result.attempt)
        for write in plan.writes:
            if not self._may_write():
                raise NotLeading
            namespace = target_of(write).namespace
            usable = self._cache.usable(namespace)
            try:
                altered = await self._write(key, write)
            except NotLeading:
                raise
            except Conflict as conflict:
                return await self._conflicted(key, write, conflict, result)
            except (Rejected, Unavailable) as error:
                if error.reason == "NamespaceTerminating":
                    self._cache.namespace_terminates(namespace, usable)
                return self._failed(key, write, error, result)
            if altered:
                why, stored = altered
                return self._failed(key, write, why, self._handed_out(key, plan, write, stored, result))
            self._wrote(key, write)
        if plan.attempt is not None:
            self._retries.handed_out(key)
            result = replace(result, attempt=None)
        return replace(result, events=(*result.events, *plan.events))

    def _handed_out(
        self, key: Ref, plan: Plan, write: Write, stored: Existing | None, result: ReconcileResult
    ) -> ReconcileResult:
        """After a write that others have altered: whether its object holds all the same what was handed out, whatever
        became of labels, annotations and other entries.
        """
        if write is not plan.writes[-1] or isinstance(write, Deletion) or stored is None:
            return result
        if isinstance(plan.attempt, NewCredential):
            arrived = plan.attempt.credential.sha256 in stored.entries.values()
        else:
            arrived = write.digests().items() <= stored.entries.items()
        if not arrived:
            return result
        self._retries.handed_out(key)
        return replace(result, attempt=None, events=(*result.events, *plan.events))

    def _without_stored(self, key: Ref, result: ReconcileResult) -> ReconcileResult:
        """Without an attempt whose value the client's Secret holds: it was handed out, whatever the answer said."""
        client, attempt = self._cache.declared[key.kind].get(key), result.attempt
        if not isinstance(client, OAuthClient) or not isinstance(attempt, NewCredential):
            return result
        stored = self._cache.managed.objects.get(secret_of(client))
        if stored is None or attempt.credential.sha256 not in stored.entries.values():
            return result
        self._retries.handed_out(key)
        return replace(result, attempt=None)

    def _wrote(self, key: Ref, write: Write) -> None:
        did, ref = _did(write), target_of(write)
        log.info("%s: %s %s", key, did, ref, extra=about(key, object=str(ref), did=did))
        self._enqueue_others(key, self._retries.succeeded(key, ref, self._sources.clock()))

    async def _conflicted(self, key: Ref, write: Write, conflict: Conflict, result: ReconcileResult) -> ReconcileResult:
        """Read what is there, and plan anew; where it is what was known, the server refuses for another reason."""
        ref = target_of(write)
        log.info("%s: %s", ref, conflict.message, extra=about(key, object=str(ref)))
        known = self._version(ref)
        await self._refresh(key, ref)
        return self._failed(key, write, conflict, result) if self._version(ref) == known else result

    def _version(self, ref: Ref) -> str | None:
        existing = self._cache.managed.objects.get(ref)
        return existing.resource_version if existing else None

    def _failed(
        self, key: Ref, write: Write, error: Rejected | Unavailable, result: ReconcileResult
    ) -> ReconcileResult:
        now = self._sources.clock()
        failed_write = self._retries.failed(key, write, error, self._state(key), now)
        if isinstance(error, Unavailable):
            self._on_failure(key.kind, error)
        others = tuple(s for s in result.failed_writes if s.ref != failed_write.ref)
        unsure = self._retries.unsure_time(key)
        quiet_since = latest(unsure, result.quiet_since)
        return replace(result, failed_writes=(*others, failed_write), refused=unsure is None, quiet_since=quiet_since)

    async def _write(self, key: Ref, write: Write) -> tuple[Rejected, Existing | None] | None:
        """What others make of the write, where it does not stay as it is, and what is stored if it was written.

        What is known to be altered is written again only where it brings something new that arrives all the same: a
        credential, a revocation.
        """
        if isinstance(write, Deletion):
            await self._store.delete(write)
            gone = write.existing
            self._enqueue_others(key, self._cache.drop_managed(gone.ref, gone.resource_version))
            return None
        preview = await self._store.preview(write) if self._alterations.expected(write.ref) else None
        altered = self._alterations.at_write(write, preview) if preview else None
        if altered and preview and not is_progress(write, preview):
            return altered, None
        existing = await self._store.write(write)
        if altered := self._alterations.at_write(write, existing):
            await self._refresh(key, write.ref)
            return altered, existing
        entries = {name: value for name, value in write.entries.items() if isinstance(value, bytes)}
        if len(entries) < len(write.entries):
            await self._refresh(key, write.ref)
        else:
            self._enqueue_others(key, self._cache.wrote(existing, entries))
        undone = self._alterations.after_write(write)
        return (undone, existing) if undone else None

    async def _refresh(self, key: Ref, ref: Ref) -> None:
        found = await self._store.read(ref)
        keys = self._cache.put_managed(*found) if found else self._cache.drop_managed(ref)
        self._enqueue_others(key, keys)

    def _enqueue_others(self, key: Ref, keys: set[Ref]) -> None:
        for other in keys - {key}:
            self._enqueue(other)

    # Status

    async def _finish(self, key: Ref, plan: Plan, result: ReconcileResult) -> datetime | None:
        self._retries.settled(key, result.failed_writes)
        retry_time = self._retries.retry_time(key)
        obj = self._cache.declared[key.kind].get(key)
        if obj is None:
            self._rechecks.due(key, None)
            if self._progress:
                self._progress.finished(key, None, None)
            return soonest(plan.due, retry_time)
        if result.failed_writes and not any(s.is_reported for s in result.failed_writes):
            self._pending_events |= {key: result.events} if result.events else {}
            return soonest(plan.due, retry_time)
        if key.namespace in self._cache.terminating and not obj.metadata.deletion_timestamp:
            return soonest(plan.due, retry_time)
        if plan.status is not None and plan.status != (obj.status.to_dict() if obj.status else None):
            await self._write_status(obj, plan.status)
        if self._progress:
            self._progress.finished(key, obj, plan.status)
        if key.namespace not in self._cache.terminating:
            for event in (*result.events, *plan.events):
                self._recorder.record(obj, event)
        return soonest(plan.due, retry_time, self._rechecks.due(key, plan.status))

    async def _write_status(self, obj: Declared, status: dict[str, Any]) -> None:
        if not self._may_write():
            raise NotLeading
        written = await self._store.write_status(status_target(obj), status)
        self._cache.wrote_status(parse_watched(written))


def _did(write: Write) -> str:
    if isinstance(write, Deletion):
        return "deleted"
    return "replaced" if write.replaces else "created"
