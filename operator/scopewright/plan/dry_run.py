"""The operator's own reconciliation in memory, before and after a change. Nothing is written."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from scopewright.api import IdentityProvider
from scopewright.controller.cache import Cache
from scopewright.controller.key_generation import make_key
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.relations import precedence
from scopewright.controller.views import Dependencies
from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Unavailable
from scopewright.core.grants import Labels
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.plan import Event
from scopewright.core.providers.groups import RANGE_END
from scopewright.plan.changes import Finding, PlanResult
from scopewright.plan.diff import difference
from scopewright.plan.memory_store import MemoryStore
from scopewright.plan.provider_data import stand_ins
from scopewright.plan.snapshot import StateSnapshot
from scopewright.stores import Entries

Raw = Mapping[str, Any]

ROUNDS: Final = 50
"""Rounds of reconciliation until nothing is pending: far more than any chain of dependencies is long."""

INSTANT: Final = timedelta(seconds=1)
"""Age of the state before the change: two keys of one instant would have no order."""

NO_SEAL_KEY: Final = bytes(KEY_BYTES)
"""Seal key where no installation has one. Seals made with it never leave this process."""


@dataclass(frozen=True, slots=True)
class PlanBase:
    """The state before. `objects` are of the five kinds, `managed` Secrets and ConfigMaps as read.

    `as_of` is when an object was last reconciled, where that is not just before the change.
    """

    objects: Mapping[Ref, Raw]
    namespaces: Mapping[str, Labels]
    managed: tuple[tuple[Existing, Entries], ...] = field(default=(), repr=False)
    seal_key: bytes = field(default=NO_SEAL_KEY, repr=False)
    service_accounts: Mapping[Ref, str] = field(default_factory=dict)
    """By UID."""
    as_of: Mapping[Ref, datetime] = field(default_factory=dict)
    is_whole: bool = False
    """Whether it has all IdentityProviders. Those of a directory may be elsewhere, if it has none."""


@dataclass(frozen=True, slots=True)
class PlannedChanges:
    """Manifests that create or change an object, and objects to be deleted."""

    applied: Mapping[Ref, Raw]
    deleted: frozenset[Ref]
    namespaces: Mapping[str, Labels]


async def dry_run(base: PlanBase, changes: PlannedChanges, config: Config, now: datetime) -> PlanResult:
    """The result of `changes` on `base`. `Unavailable` where reconciliation does not end."""
    declared = {*base.objects, *changes.applied}
    unknown_providers = not base.is_whole and all(ref.kind != IdentityProvider.KIND for ref in declared)
    installation = _Installation(base, config, now - INSTANT, unknown_providers=unknown_providers)
    before = await installation.converge(now)
    installation.change(changes, now)
    after = await installation.converge(now)
    return difference(before, after, installation.events, installation.retried())


class _Installation:
    """One installation in memory: the operator's reconciler on a `MemoryStore`. With `unknown_providers`, users of some
    provider can log in, as with the developer login.
    """

    def __init__(self, base: PlanBase, config: Config, instant: datetime, *, unknown_providers: bool) -> None:
        self._config = config
        self._instant = instant
        self._as_of = dict(base.as_of)
        self._now = instant
        self._store = MemoryStore(lambda: self._now)
        self._cache = Cache(config.name, config.namespace, in_cluster=True, limits=config.limits)
        self._pending: set[Ref] = set()
        self._waiting: dict[Ref, str] = {}
        self.events: defaultdict[Ref, list[Event]] = defaultdict(list)
        placeholders = count(1)
        sources = Dependencies(
            lambda: self._now, lambda: f"placeholder {next(placeholders)}", make_key, developer_login=unknown_providers
        )
        self._reconciler = Reconciler(
            self._store, self._cache, config, sources, recorder=self, enqueue=lambda key: self._pending.add(key)
        )
        self._reconciler.set_seal_key(base.seal_key)
        self._load(base)

    def record(self, obj: Declared, event: Event) -> None:
        self.events[Ref(obj.KIND, obj.namespace, obj.name)].append(event)

    def _load(self, base: PlanBase) -> None:
        for name, labels in base.namespaces.items():
            self._cache.put_namespace(name, labels)
        for ref, uid in base.service_accounts.items():
            self._cache.put_service_account(ref, uid)
        for existing, entries in base.managed:
            self._store.load(existing, entries)
            self._cache.put_managed(existing, entries)
        for raw in base.objects.values():
            known = "resourceVersion" in raw["metadata"]
            if known:
                self._store.load_declared(raw)
            self._declare(raw if known else self._store.apply(raw))

    def _declare(self, raw: Raw) -> None:
        obj = parse_declared(raw)
        if isinstance(obj, IdentityProvider) and obj.namespace == self._config.namespace:
            self._stand_in(obj)
        self._pending |= self._cache.put(obj)

    def _stand_in(self, provider: IdentityProvider) -> None:
        """Add what the provider names to the store, beside the entries that other providers name there."""
        record = self._cache.managed.provider_record(provider)[1]
        groups = record.claims.groups_allow if record and record.oidc is None else ()
        for existing, entries in stand_ins(provider, (name for name in groups if not name.endswith(RANGE_END))):
            known = self._store.objects.get(existing.ref)
            if known is None or known.existing == existing:
                self._store.load(existing, {**(known.entries if known else {}), **entries})

    def change(self, changes: PlannedChanges, now: datetime) -> None:
        """Apply the changes. Events are recorded from here on."""
        self._instant, self._as_of = now, {}
        self.events.clear()
        self._waiting.clear()
        for name in self._cache.namespaces.keys() - changes.namespaces.keys():
            self._pending |= self._cache.put_namespace(name, None)
        for name, labels in changes.namespaces.items():
            self._pending |= self._cache.put_namespace(name, labels)
        for raw in changes.applied.values():
            self._declare(self._store.apply(raw))
        for ref in changes.deleted:
            version = self._cache.declared[ref.kind][ref].metadata.resource_version or ""
            managed = self._store.remove(ref)
            self._pending |= self._cache.drop(ref, version)
            self._cache.deleted.add(ref)
            for at in managed:
                self._pending |= self._cache.drop_managed(at)

    async def converge(self, now: datetime) -> StateSnapshot:
        """Reconcile until nothing is pending."""
        for _ in range(ROUNDS):
            if not self._pending:
                return self._snapshot(now)
            pending = sorted(self._pending, key=precedence)
            self._pending.clear()
            for key in pending:
                await self._reconcile(key)
        raise Unavailable(f"the plan does not converge: {', '.join(map(str, sorted(self._pending)[:3]))} keep changing")

    async def _reconcile(self, key: Ref) -> None:
        self._now = self._as_of.get(key, self._instant)
        try:
            await self._reconciler.reconcile(key)
            self._waiting.pop(key, None)
        except Unavailable as error:
            self._waiting[key] = error.message

    def retried(self) -> tuple[Finding, ...]:
        """Warnings for objects whose reconciliation would be retried."""
        return tuple(Finding(ref, "Waiting", message) for ref, message in sorted(self._waiting.items()))

    def _snapshot(self, now: datetime) -> StateSnapshot:
        managed = self._cache.managed
        mounted = (e for e in managed if e.type == SECRET_TYPE and e.labels.get(MANAGED_BY) == MANAGER)
        return StateSnapshot(
            declared={ref: obj for objects in self._cache.declared.values() for ref, obj in objects.items()},
            namespaces=dict(self._cache.namespaces),
            clients={Ref("OAuthClient", r.namespace, r.name): r for r in managed.clients.values()},
            servers=dict(managed.servers),
            keys={record.kid: record for record in managed.key_records()},
            providers={stored.record.name: stored.record for stored in managed.providers.values()},
            namespace=self._config.namespace,
            secrets={existing.ref: existing.entries for existing in mounted},
            now=now,
        )
