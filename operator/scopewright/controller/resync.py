"""The full comparison, once in a while: what the watch missed, what is orphaned, whether the watch is silent."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.api import KINDS
from scopewright.controller.owned import client_of, server_of
from scopewright.controller.reconcile import parse_declared
from scopewright.controller.world import Keys, World, newer
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.stores.kube_api import Api, NotFound
from scopewright.stores.kubernetes import declared_path

CHUNK: Final = 500
MIN_ORPHANS: Final = 20
ORPHAN_SHARE: Final = 0.05
ALLOW_ANNOTATION: Final = "scopewright.dev/allow-orphans"
WATCH_PATIENCE: Final = 30.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WatchMonitor:
    """What the watch has delivered, held against what a list has found: a watch that misses something is broken."""

    monotonic: Callable[[], float] = time.monotonic
    delivered: dict[Ref, str] = field(default_factory=dict)
    _expected: dict[Ref, tuple[str, float]] = field(default_factory=dict)

    def on_delivery(self, ref: Ref, version: str) -> None:
        self.delivered[ref] = version
        expected = self._expected.get(ref)
        if expected and not newer(expected[0], version):
            del self._expected[ref]

    def on_deletion(self, ref: Ref) -> None:
        self.delivered.pop(ref, None)
        self._expected.pop(ref, None)

    def expect(self, ref: Ref, version: str) -> None:
        """A list has found this version; from now on the watch has half a minute to deliver it."""
        known = self.delivered.get(ref)
        if (known is None or newer(version, known)) and ref not in self._expected:
            self._expected[ref] = (version, self.monotonic())

    @property
    def silent_for(self) -> float:
        """Seconds that the oldest delivery is overdue; 0 while none is."""
        oldest = min((since for _, since in self._expected.values()), default=None)
        return 0.0 if oldest is None else max(0.0, self.monotonic() - oldest - WATCH_PATIENCE)


class Resync:
    """Lists what is declared into the world, and finds records whose owner is not declared any more."""

    def __init__(self, api: Api, world: World, monitor: WatchMonitor, departed: dict[Ref, str]) -> None:
        self._api = api
        self._world = world
        self._monitor = monitor
        self._departed = departed
        self.orphans_held = 0

    async def run(self) -> Keys:
        """The keys to look at. A list that fails raises, and then nothing was concluded from its kind."""
        keys: Keys = set()
        keys |= await self._namespaces()
        for kind in KINDS:
            keys |= await self._declared(kind)
        return keys | self._orphans()

    async def _declared(self, kind: str) -> Keys:
        keys: Keys = set()
        found: set[Ref] = set()
        version = ""
        async for raw, at in items(self._api, declared_path(kind)):
            version = at
            meta = raw["metadata"]
            ref = Ref(kind, meta["namespace"], meta["name"])
            found.add(ref)
            self._monitor.expect(ref, meta["resourceVersion"])
            keys |= self._put({**raw, "kind": kind})
        for ref, obj in list(self._world.declared[kind].items()):
            if ref not in found and not newer(obj.metadata.resource_version, version):
                self._departed[ref] = obj.uid
                keys |= self._world.drop(ref)
                self._monitor.on_deletion(ref)
        return keys

    def _put(self, raw: Mapping[str, Any]) -> Keys:
        try:
            return self._world.put(parse_declared(raw))
        except Rejected as error:
            meta = raw["metadata"]
            log.warning("%s %s/%s: %s", raw["kind"], meta["namespace"], meta["name"], error)
            return set()

    async def _namespaces(self) -> Keys:
        keys: Keys = set()
        found: set[str] = set()
        async for raw, _ in items(self._api, "/api/v1/namespaces"):
            meta = raw["metadata"]
            found.add(meta["name"])
            keys |= self._world.put_namespace(meta["name"], meta.get("labels") or {})
        for name in set(self._world.namespaces) - found:
            keys |= self._world.put_namespace(name, None)
        return keys

    def _orphans(self) -> Keys:
        """Records of what is not declared; none if there are suspiciously many, and then somebody must look."""
        owned, declared = self._world.owned, self._world.declared
        orphans: Keys = set()
        for at in owned.objects:
            if at.namespace != owned.namespace:
                continue
            if (client := client_of(at)) is not None:
                orphans.add(Ref("OAuthClient", *client.split("/")))
            elif (server := server_of(at)) is not None and (record := owned.servers.get(server)) and record.uid:
                orphans.add(Ref("ResourceServer", *server.split("/")))
        records = len(orphans)
        orphans = {ref for ref in orphans if ref not in declared[ref.kind]}
        limit = max(MIN_ORPHANS, int(records * ORPHAN_SHARE), self._allowed())
        self.orphans_held = len(orphans) if len(orphans) > limit else 0
        if self.orphans_held:
            log.error(
                "%d of %d records have no owner: none is deleted. If they were all meant to go, set the annotation "
                "%s: %r on ConfigMap scopewright-issuer",
                len(orphans), records, ALLOW_ANNOTATION, str(len(orphans)),
            )  # fmt: skip
            return set()
        self._departed.update(dict.fromkeys(orphans, ""))
        return orphans

    def _allowed(self) -> int:
        issuer = self._world.owned.objects.get(Ref("ConfigMap", self._world.owned.namespace, "scopewright-issuer"))
        stated = issuer.annotations.get(ALLOW_ANNOTATION, "") if issuer else ""
        return int(stated) if stated.isdecimal() else 0


async def items(api: Api, path: str) -> Any:
    """Every object of a collection, in chunks, each with the version of the list."""
    token = ""
    while True:
        try:
            page = await api.get(path, limit=str(CHUNK), **({"continue": token} if token else {}))
        except NotFound:
            raise Unavailable(f"{path} is not served: are the CRDs installed?") from None
        for item in page.get("items") or ():
            yield item, page["metadata"]["resourceVersion"]
        token = page["metadata"].get("continue") or ""
        if not token:
            return
