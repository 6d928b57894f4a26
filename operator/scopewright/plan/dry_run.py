"""The same reconciliation without a cluster and without a write: two levels in memory, and what lies between them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from scopewright.controller.cache import Cache, precedence
from scopewright.controller.index import Declared
from scopewright.controller.keymaking import make_key
from scopewright.controller.reconcile import Reconciler, parse_declared
from scopewright.controller.views import Sources
from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from scopewright.core.grants import Labels
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.plan import Happening
from scopewright.plan.changes import Changes, Finding
from scopewright.plan.diff import difference
from scopewright.plan.memory_store import MemoryStore
from scopewright.plan.snapshot import Level
from scopewright.stores import Entries

Raw = Mapping[str, Any]

ROUNDS: Final = 50
"""In each, whatever was touched by the one before is reconciled again: far more than any chain of dependencies."""

INSTANT: Final = timedelta(seconds=1)
"""How much earlier than the change everything else is counted to have been: two keys of one instant have no order."""

NO_SEAL_KEY: Final = bytes(KEY_BYTES)
"""Where no installation has made one: what is sealed with it leaves this process never."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is. `objects` are those of the four kinds, `owned` Secrets and ConfigMaps as read.

    `as_of` are the instants at which objects count as having been reconciled, where it is not just now.
    """

    objects: Mapping[Ref, Raw]
    namespaces: Mapping[str, Labels]
    owned: tuple[tuple[Existing, Entries], ...] = field(default=(), repr=False)
    seal_key: bytes = field(default=NO_SEAL_KEY, repr=False)
    service_accounts: Mapping[Ref, str] = field(default_factory=dict)
    """By UID."""
    as_of: Mapping[Ref, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be: manifests to be applied (of what is there and stays as it is, none), and what is to be deleted."""

    applied: Mapping[Ref, Raw]
    deleted: frozenset[Ref]
    namespaces: Mapping[str, Labels]


async def changes(ground: Ground, intent: Intent, config: Config, now: datetime) -> Changes:
    """What the intent changes on this ground, all other things being equal. `Unavailable` where it does not settle."""
    memory = _Memory(ground, config, now - INSTANT)
    before = await memory.settle(now)
    memory.change(intent, now)
    after = await memory.settle(now)
    return difference(before, after, memory.told, memory.held_up())


class _Memory:
    """One installation in memory: the operator's own reconciler on a store that nobody else has."""

    def __init__(self, ground: Ground, config: Config, instant: datetime) -> None:
        self._config = config
        self._instant = instant
        self._as_of = dict(ground.as_of)
        self._now = instant
        self._store = MemoryStore(lambda: self._now)
        self._world = Cache(config.name, config.namespace, in_cluster=True, limits=config.limits)
        self._pending: set[Ref] = set()
        self._waiting: dict[Ref, str] = {}
        self.told: defaultdict[Ref, list[Happening]] = defaultdict(list)
        placeholders = count(1)
        sources = Sources(lambda: self._now, lambda: f"placeholder {next(placeholders)}", make_key)
        self._reconciler = Reconciler(
            self._store, self._world, config, sources, recorder=self, enqueue=lambda key: self._pending.add(key)
        )
        self._reconciler.sealing_with(ground.seal_key)
        self._load(ground)

    def record(self, obj: Declared, happening: Happening) -> None:
        self.told[Ref(obj.KIND, obj.namespace, obj.name)].append(happening)

    def _load(self, ground: Ground) -> None:
        for name, labels in ground.namespaces.items():
            self._world.put_namespace(name, labels)
        for ref, uid in ground.service_accounts.items():
            self._world.put_service_account(ref, uid)
        for existing, entries in ground.owned:
            self._store.load(existing, entries)
            self._world.put_owned(existing, entries)
        for raw in ground.objects.values():
            known = "resourceVersion" in raw["metadata"]
            if known:
                self._store.load_declared(raw)
            self._pending |= self._world.put(parse_declared(raw if known else self._store.apply(raw)))

    def change(self, intent: Intent, now: datetime) -> None:
        """Bring in what is intended; from now on, what happens is told."""
        self._instant, self._as_of = now, {}
        self.told.clear()
        self._waiting.clear()
        for name in self._world.namespaces.keys() - intent.namespaces.keys():
            self._pending |= self._world.put_namespace(name, None)
        for name, labels in intent.namespaces.items():
            self._pending |= self._world.put_namespace(name, labels)
        for raw in intent.applied.values():
            self._pending |= self._world.put(parse_declared(self._store.apply(raw)))
        for ref in intent.deleted:
            version = self._world.declared[ref.kind][ref].metadata.resource_version or ""
            owned = self._store.remove(ref)
            self._pending |= self._world.drop(ref, version)
            self._world.departed.add(ref)
            for at in owned:
                self._pending |= self._world.drop_owned(at)

    async def settle(self, now: datetime) -> Level:
        """Reconcile until nothing is pending."""
        for _ in range(ROUNDS):
            if not self._pending:
                return self._level(now)
            pending = sorted(self._pending, key=precedence)
            self._pending.clear()
            for key in pending:
                await self._reconcile(key)
        raise Unavailable(f"the plan does not settle: {', '.join(map(str, sorted(self._pending)[:3]))} change for ever")

    async def _reconcile(self, key: Ref) -> None:
        self._now = self._as_of.get(key, self._instant)
        try:
            await self._reconciler.reconcile(key)
            self._waiting.pop(key, None)
        except Unavailable as error:
            self._waiting[key] = error.message

    def held_up(self) -> tuple[Finding, ...]:
        """What would be tried again later."""
        return tuple(Finding(ref, "Waiting", message) for ref, message in sorted(self._waiting.items()))

    def _level(self, now: datetime) -> Level:
        owned = self._world.owned
        mounted = (e for e in owned if e.type == SECRET_TYPE and e.labels.get(MANAGED_BY) == MANAGER)
        return Level(
            declared={ref: obj for objects in self._world.declared.values() for ref, obj in objects.items()},
            namespaces=dict(self._world.namespaces),
            clients={Ref("OAuthClient", r.namespace, r.name): r for r in owned.clients.values()},
            servers=dict(owned.servers),
            keys={record.kid: record for record in owned.key_records()},
            namespace=self._config.namespace,
            secrets={existing.ref: existing.entries for existing in mounted},
            now=now,
        )
