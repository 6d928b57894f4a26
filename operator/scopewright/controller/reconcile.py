"""Reconciles one key: read the current state, plan, write, plan again until there are no writes, then the status."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from scopewright.api import OAuthClient
from scopewright.controller.cache import Cache
from scopewright.controller.index import secret_of
from scopewright.controller.periodic_rechecks import PeriodicRechecks
from scopewright.controller.planner import Planner
from scopewright.controller.provider_checks import LastChecks, NoChecks
from scopewright.controller.ready_latency import BecameReady, ReadyLatency
from scopewright.controller.status_writes import StatusWrites
from scopewright.controller.views import Dependencies, ReconcileProgress
from scopewright.controller.write_retries import State, WriteRetries
from scopewright.controller.write_through import WriteThrough
from scopewright.core.client.credentials import current_credential, latest
from scopewright.core.client.view import NewCredential
from scopewright.core.config import Config
from scopewright.core.declared import Declared
from scopewright.core.failed_writes import target_of
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Deletion, Existing, Ref, Write, requested_rotation
from scopewright.core.plan import Event, Plan, soonest
from scopewright.logs import log_fields
from scopewright.stores import Objects

MAX_PLANS: Final = 12
"""Far more than any plan needs: what still writes then does not settle."""

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Where events go. It must not block, and may drop."""

    def record(self, obj: Declared, event: Event) -> None: ...


class Reconciler:
    """Brings the store to the declared state. `may_write` is called before each write."""

    def __init__(
        self,
        store: Objects,
        cache: Cache,
        config: Config,
        dependencies: Dependencies,
        recorder: Recorder,
        *,
        enqueue: Callable[[Ref], None],
        may_write: Callable[[], bool] = lambda: True,
        retries: WriteRetries | None = None,
        checks: LastChecks | None = None,
        became_ready: BecameReady = lambda kind, seconds: None,
        on_failure: Callable[[str, Exception], None] = lambda kind, error: None,
        planning: Callable[[Ref], None] = lambda key: None,
    ) -> None:
        """`on_failure` is called for each write that fails without a refusal, with the kind of the reconciled object.
        Refusals are reported in the status of the object: its user can act. `planning` is called where a plan begins
        that reads everything from the cache as it is now.
        """
        clock = dependencies.clock
        self._cache = cache
        self._clock = clock
        self._recorder = recorder
        self._on_failure = on_failure
        self._planning = planning
        self._writes = WriteThrough(store, cache, clock, enqueue, may_write)
        self._latency = ReadyLatency(clock, became_ready)
        self._rechecks = PeriodicRechecks(config.resync, clock)
        self._retries = retries or WriteRetries()
        self._planner = Planner(store, cache, config, dependencies, checks or NoChecks())
        self._one_provider = asyncio.Lock()
        self._term_start: datetime | None = None
        self._pending_events: dict[Ref, tuple[Event, ...]] = {}
        """Events of reconciliations whose status could not be written yet."""

    def end_term(self) -> None:
        """Forget credentials that could not be written: another replica leads."""
        self._retries.clear()

    def start_term(self) -> None:
        """Forget the failures of an earlier term: another replica may have written since."""
        self._retries.clear()
        self._writes.start_term()
        self._pending_events.clear()
        self._term_start = self._clock()

    async def reconcile(self, key: Ref) -> datetime | None:
        """Return when the key is due again because of time alone. `Unavailable` means: retry later.

        IdentityProviders one after the other: each plan sees the domain and the groups that the one before has taken.
        """
        if key.kind != "IdentityProvider":
            return await self._reconcile(key)
        async with self._one_provider:
            return await self._reconcile(key)

    async def _reconcile(self, key: Ref) -> datetime | None:
        state, progress = self._state(key), self._begin(key)
        try:
            await self._read_unwatched_secrets(key)
            progress = self._without_stored(key, progress)
            for _ in range(MAX_PLANS):
                # With failed writes the plan depends on more than the cache: on when they are retried.
                if key.kind == "OAuthClient" and not progress.failed_writes and self._state(key) == state:
                    self._planning(key)
                plan = await self.plan(key, progress)
                if not plan.writes:
                    return await self._finish(key, plan, progress)
                progress = await self._write_all(key, plan, progress)
        except (Conflict, Rejected, Unavailable):
            if progress.events:
                self._pending_events[key] = progress.events
            raise
        raise Unavailable(f"{key} does not settle: something else keeps changing what it writes")

    def _begin(self, key: Ref) -> ReconcileProgress:
        retries, unanswered = self._retries, self._retries.last_unanswered(key)
        return ReconcileProgress(
            self._pending_events.pop(key, ()),
            retries.on_hold(key, self._state(key), self._clock()),
            retries.attempt(key),
            attempt_refused=unanswered is None,
            last_unanswered=latest(unanswered, self._term_start),
        )

    def _state(self, key: Ref) -> State:
        """What the user has declared: after a change, failed writes are retried at once."""
        obj = self._cache.declared[key.kind].get(key)
        if obj is None:
            return ()
        return obj.uid, obj.metadata.generation, requested_rotation(obj.metadata.annotations)

    @property
    def statuses(self) -> StatusWrites:
        """The status writes that are not answered yet."""
        return self._writes.statuses

    async def plan(self, key: Ref, progress: ReconcileProgress) -> Plan:
        """See `Planner.plan`."""
        return await self._planner.plan(key, progress)

    def set_seal_key(self, key: bytes) -> bool:
        """Set the key that seals credential Secrets, before the first reconciliation. Return whether it changes."""
        return self._planner.set_seal_key(key)

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
        record = self._cache.managed.client_record(client)[1]
        had_one = record is not None and record.uid == client.uid and bool(record.credentials)
        watched = known is not None and known.labels.get(MANAGED_BY) == MANAGER
        if (known and not watched) or (had_one and current_credential(record, known) is None):
            await self._writes.refresh(key, secret)

    # Writes

    async def _write_all(self, key: Ref, plan: Plan, progress: ReconcileProgress) -> ReconcileProgress:
        """Write in order, until a write fails; after a conflict, the object is read again."""
        if plan.attempt is not None:
            self._retries.attempt_started(key, plan.attempt, self._state(key))
        progress = replace(progress, attempt=plan.attempt or progress.attempt)
        for write in plan.writes:
            namespace = target_of(write).namespace
            epoch = self._cache.namespace_epoch(namespace)
            try:
                altered = await self._writes.write(key, write)
            except NotLeading:
                raise
            except Conflict as conflict:
                return await self._conflicted(key, write, conflict, progress)
            except (Rejected, Unavailable) as error:
                if error.reason == "NamespaceTerminating":
                    self._cache.namespace_terminates(namespace, epoch)
                return self._failed(key, write, error, progress)
            if altered:
                why, stored = altered
                return self._failed(key, write, why, self._after_altered_write(key, plan, write, stored, progress))
            self._wrote(key, write)
        if plan.attempt is not None:
            self._retries.attempt_succeeded(key)
            progress = replace(progress, attempt=None)
        return replace(progress, events=(*progress.events, *plan.events))

    def _after_altered_write(
        self, key: Ref, plan: Plan, write: Write, stored: Existing | None, progress: ReconcileProgress
    ) -> ReconcileProgress:
        """After an altered write: without the attempt if the object holds its credential or key nevertheless."""
        if write is not plan.writes[-1] or isinstance(write, Deletion) or stored is None:
            return progress
        if isinstance(plan.attempt, NewCredential):
            arrived = plan.attempt.credential.sha256 in stored.entries.values()
        else:
            arrived = write.digests().items() <= stored.entries.items()
        if not arrived:
            return progress
        self._retries.attempt_succeeded(key)
        return replace(progress, attempt=None, events=(*progress.events, *plan.events))

    def _without_stored(self, key: Ref, progress: ReconcileProgress) -> ReconcileProgress:
        """Without an attempt whose credential is in the client's Secret: it was stored, despite an error."""
        client, attempt = self._cache.declared[key.kind].get(key), progress.attempt
        if not isinstance(client, OAuthClient) or not isinstance(attempt, NewCredential):
            return progress
        stored = self._cache.managed.objects.get(secret_of(client))
        if stored is None or attempt.credential.sha256 not in stored.entries.values():
            return progress
        self._retries.attempt_succeeded(key)
        return replace(progress, attempt=None)

    def _wrote(self, key: Ref, write: Write) -> None:
        did = "deleted" if isinstance(write, Deletion) else "replaced" if write.replaces else "created"
        ref = target_of(write)
        log.info("%s: %s %s", key, did, ref, extra=log_fields(key, object=str(ref), did=did))
        self._writes.enqueue_others(key, self._retries.succeeded(key, ref, self._clock()))

    async def _conflicted(
        self, key: Ref, write: Write, conflict: Conflict, progress: ReconcileProgress
    ) -> ReconcileProgress:
        """Read the object again. If it is the known version, the server refuses the write for another reason."""
        ref = target_of(write)
        log.info("%s: %s", ref, conflict.message, extra=log_fields(key, object=str(ref)))
        known = self._cache.managed.objects.get(ref)
        await self._writes.refresh(key, ref)
        is_known = self._cache.managed.objects.get(ref) == known
        return self._failed(key, write, conflict, progress) if is_known else progress

    def _failed(
        self, key: Ref, write: Write, error: Rejected | Unavailable, progress: ReconcileProgress
    ) -> ReconcileProgress:
        now = self._clock()
        failed_write = self._retries.failed(key, write, error, self._state(key), now)
        if isinstance(error, Unavailable):
            self._on_failure(key.kind, error)
        others = tuple(s for s in progress.failed_writes if s.ref != failed_write.ref)
        unanswered = self._retries.last_unanswered(key)
        sent = latest(unanswered, progress.last_unanswered)
        return replace(
            progress, failed_writes=(*others, failed_write), attempt_refused=unanswered is None, last_unanswered=sent
        )

    # Status

    async def _finish(self, key: Ref, plan: Plan, progress: ReconcileProgress) -> datetime | None:
        self._retries.settled(key, progress.failed_writes)
        retry_time = self._retries.retry_time(key)
        obj = self._cache.declared[key.kind].get(key)
        if obj is None:
            self._rechecks.due(key, None)
            self._latency.finished(key, None, None)
            return soonest(plan.due, retry_time)
        if progress.failed_writes and not any(s.is_reported for s in progress.failed_writes):
            self._pending_events |= {key: progress.events} if progress.events else {}
            return soonest(plan.due, retry_time)
        if key.namespace in self._cache.terminating and not obj.metadata.deletion_timestamp:
            return soonest(plan.due, retry_time)
        if plan.status is not None and plan.status != (obj.status.to_dict() if obj.status else None):
            await self._writes.write_status(obj, plan.status)
        self._latency.finished(key, obj, plan.status)
        if key.namespace not in self._cache.terminating:
            for event in (*progress.events, *plan.events):
                self._recorder.record(obj, event)
        return soonest(plan.due, retry_time, self._rechecks.due(key, plan.status))
