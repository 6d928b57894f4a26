"""The full comparison, once in a while: what the watch missed, what is orphaned, whether the watch is silent."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.api import KINDS
from scopewright.controller.index import Keys
from scopewright.controller.preflight import missing_crd
from scopewright.controller.reconcile import parse_declared
from scopewright.controller.world import World, newer
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.records import ISSUER_NAME
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_list import NotServed, pages
from scopewright.stores.kubernetes import declared_path

MIN_ORPHANS: Final = 20
ORPHAN_SHARE: Final = 0.05
ALLOW_ANNOTATION: Final = "scopewright.dev/allow-orphans"
WATCH_PATIENCE: Final = 30.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WatchMonitor:
    """What the watch has delivered, held against what a list has found: a watch that misses something is broken."""

    monotonic: Callable[[], float] = time.monotonic
    _delivered: dict[Ref, str] = field(default_factory=dict)
    _expected: dict[Ref, tuple[str, float]] = field(default_factory=dict)
    _latest: dict[str, float] = field(default_factory=dict)
    """When each kind last had a delivery: a watch that is only busy is not silent."""

    def on_delivery(self, ref: Ref, version: str) -> None:
        self._latest[ref.kind] = self.monotonic()
        self._delivered[ref] = version
        expected = self._expected.get(ref)
        if expected and not newer(expected[0], version):
            del self._expected[ref]

    def on_deletion(self, ref: Ref) -> None:
        self._delivered.pop(ref, None)
        self._expected.pop(ref, None)

    def expect(self, ref: Ref, version: str) -> None:
        """A list has found this version; from now on the watch has half a minute to deliver it."""
        known = self._delivered.get(ref)
        if (known is None or newer(version, known)) and ref not in self._expected:
            self._expected[ref] = (version, self.monotonic())

    @property
    def silent_for(self) -> float:
        """Seconds that a delivery is overdue while its kind has had none at all; 0 while none is."""
        now = self.monotonic()
        waits = [
            now - max(since, self._latest.get(ref.kind, since)) - WATCH_PATIENCE
            for ref, (_, since) in self._expected.items()
        ]
        return max(0.0, *waits) if waits else 0.0


class Resync:
    """Lists what is declared into the world, and finds records whose owner is not declared any more."""

    def __init__(self, api: Api, world: World, monitor: WatchMonitor, watched: Sequence[str | None] = (None,)) -> None:
        """`watched` are namespaces; None stands for all of them."""
        self._api = api
        self._world = world
        self._monitor = monitor
        self._watched = watched
        self.orphans_held = 0
        self._missing: set[str] = set()
        """Kinds without a CRD, when we last looked."""
        self._found: Keys = set()
        """What was found and is not returned yet."""

    async def run(self) -> Keys:
        """The keys to look at. A list that fails raises, and then nothing was concluded from its kind; nor is anything
        from a kind whose CRD is missing, and the others are compared all the same.
        """
        if self._watches_all:
            await self._namespaces()
        for kind in KINDS:
            try:
                await self._compare(kind)
            except NotServed:
                if not await self._has_no_crd(kind):
                    raise
            else:
                self._missing.discard(kind)
        self._found |= self._orphans()
        keys, self._found = self._found, set()
        return keys

    async def _compare(self, kind: str) -> None:
        first = ""
        for namespace in self._watched:
            version = await self._declared(kind, namespace)
            first = first or version
        self._world.listed(kind, first)

    async def _has_no_crd(self, kind: str) -> bool:
        """Whether that is certain; said once."""
        crd = await missing_crd(self._api, KINDS[kind].PLURAL)
        if crd and kind not in self._missing:
            log.error("%s is missing: %ss stay as they were known, until it is applied again", crd, kind)
            self._missing.add(kind)
        return bool(crd)

    @property
    def _watches_all(self) -> bool:
        return None in self._watched

    async def _declared(self, kind: str, namespace: str | None) -> str:
        """Find what to look at of one kind, in one namespace or all. The version of the list."""
        found: set[Ref] = set()
        version = ""
        async for page, version in pages(self._api, declared_path(kind, namespace)):  # noqa: B007 (the last one counts)
            for raw in page:
                meta = raw["metadata"]
                ref = Ref(kind, meta["namespace"], meta["name"])
                found.add(ref)
                self._monitor.expect(ref, meta["resourceVersion"])
                if not self._world.has_seen(ref, meta["resourceVersion"]):
                    self._found |= self._put({**raw, "kind": kind})
        known = {ref for ref in self._world.declared[kind] if namespace in (None, ref.namespace)}
        for ref in known - found:
            if missing := self._world.drop(ref, version):
                self._found |= missing
                self._monitor.on_deletion(ref)
        return version

    def _put(self, raw: Mapping[str, Any]) -> Keys:
        try:
            return self._world.put(parse_declared(raw))
        except Rejected as error:
            meta = raw["metadata"]
            log.warning("%s %s/%s: %s", raw["kind"], meta["namespace"], meta["name"], error)
            return set()

    async def _namespaces(self) -> None:
        found: set[str] = set()
        version = ""
        async for page, version in pages(self._api, "/api/v1/namespaces"):  # noqa: B007 (the last one counts)
            for raw in page:
                meta = raw["metadata"]
                found.add(meta["name"])
                labels = meta.get("labels") or {}
                self._found |= self._world.put_namespace(meta["name"], labels, meta["resourceVersion"])
        for name in set(self._world.namespaces) - found:
            self._found |= self._world.put_namespace(name, None, version)

    def _orphans(self) -> Keys:
        """Records of what is not declared; none if there are suspiciously many, and then somebody must look."""
        world = self._world
        named = {ref for ref in orphaned(world) if self._watches_all or ref.namespace in self._watched}
        orphans = {ref for ref in named if ref.kind not in self._missing}
        records = len(world.owned.clients) + len(world.owned.servers)
        limit = max(MIN_ORPHANS, int(records * ORPHAN_SHARE))
        allowed = len(orphans) in (0, self._allowed())
        self.orphans_held = 0 if allowed or len(orphans) <= limit else len(orphans)
        if self.orphans_held:
            log.error(
                "%d of %d records have no owner: none is deleted. If they were all meant to go, set the annotation "
                "%s: %r on ConfigMap %s",
                len(orphans), records, ALLOW_ANNOTATION, str(len(orphans)), ISSUER_NAME,
            )  # fmt: skip
            return set()
        world.departed |= orphans
        return orphans

    def _allowed(self) -> int:
        """What a person has said may go: just so many, so that an annotation left behind allows nothing else."""
        issuer = self._world.owned.objects.get(Ref("ConfigMap", self._world.owned.namespace, ISSUER_NAME))
        stated = issuer.annotations.get(ALLOW_ANNOTATION, "") if issuer else ""
        return int(stated) if stated.isdecimal() else 0


def orphaned(world: World) -> Keys:
    """The objects that a good record speaks of and nobody declares."""
    clients = {Ref("OAuthClient", r.namespace, r.name) for r in world.owned.clients.values()}
    servers = {Ref("ResourceServer", r.namespace, r.name) for r in world.owned.servers.values()}
    return {ref for ref in clients | servers if ref not in world.declared[ref.kind]}
