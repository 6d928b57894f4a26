"""The full comparison, once in a while: lists what is declared, finds orphaned records, and notices a silent watch."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.api import KINDS
from scopewright.controller.cache import Cache, newer
from scopewright.controller.index import Keys
from scopewright.controller.preflight import missing_crd
from scopewright.core.claims import issuer_of
from scopewright.core.declared import parse_watched
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.orphans import ALLOW_ANNOTATION, decide_orphans
from scopewright.core.records.names import ISSUER_NAME
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.pages import NotServed, pages
from scopewright.stores.kubernetes.store import declared_path, namespace_is_absent

WATCH_TIMEOUT_SECONDS: Final = 30.0
MAX_REPORTED: Final = 10
"""Namespaces that one comparison names in the log."""

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
            now - max(since, self._latest.get(ref.kind, since)) - WATCH_TIMEOUT_SECONDS
            for ref, (_, since) in self._expected.items()
        ]
        return max(0.0, *waits) if waits else 0.0


class Resync:
    """Lists what is declared into the cache, and finds records whose owner is not declared any more."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        monitor: WatchMonitor,
        watched: Sequence[str | None] = (None,),
        saw_foreign: Callable[[Mapping[str, Any]], None] = lambda raw: None,
    ) -> None:
        """`watched` are namespaces; None stands for all of them. `saw_foreign` gets each object of another issuer."""
        self._saw_foreign = saw_foreign
        self._api = api
        self._cache = cache
        self._monitor = monitor
        self._watched = watched
        self.orphans_held: Mapping[str, int] = {}
        """Records that are kept though their object is gone, by the object's namespace."""
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
                self._cache.cannot_be_listed(kind)
            else:
                self._missing.discard(kind)
        self._found |= await self._orphans()
        keys, self._found = self._found, set()
        return keys

    async def _compare(self, kind: str) -> None:
        first = ""
        for namespace in self._watched:
            version = await self._declared(kind, namespace)
            first = first or version
        self._found |= self._cache.listed(kind, first)

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
                if issuer_of(raw) != self._cache.issuer_name:
                    self._saw_foreign({**raw, "kind": kind})
                if not self._cache.has_seen(ref, meta["resourceVersion"]):
                    self._found |= self._put({**raw, "kind": kind})
        known = {ref for ref in self._cache.declared[kind] if namespace in (None, ref.namespace)}
        for ref in known - found:
            if missing := self._cache.drop(ref, version):
                self._found |= missing
                self._monitor.on_deletion(ref)
        return version

    def _put(self, raw: Mapping[str, Any]) -> Keys:
        try:
            return self._cache.put(parse_watched(raw))
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
                labels, terminating = meta.get("labels") or {}, bool(meta.get("deletionTimestamp"))
                self._found |= self._cache.put_namespace(
                    meta["name"], labels, meta["resourceVersion"], terminating=terminating
                )
        for name in set(self._cache.namespaces) - found:
            self._found |= self._cache.put_namespace(name, None, version)

    async def _orphans(self) -> Keys:
        """Objects whose record is to be deleted, or to be refused and kept because too many of a namespace went."""
        cache = self._cache
        named = {ref for ref in orphaned_keys(cache) if self._watches_all or ref.namespace in self._watched}
        orphans = {ref for ref in named if ref.kind not in self._missing}
        cache.absent_namespaces = await self._absent({ref.namespace for ref in orphans})
        records = Counter(record.namespace for record in cache.managed.clients.values())
        records.update(record.namespace for record in cache.managed.servers.values())
        known = orphans & cache.deleted
        verdict = decide_orphans(orphans - known, records, cache.absent_namespaces, self._allowed())
        if verdict.counts != self.orphans_held:
            self._report(verdict.counts, records)
        self.orphans_held = verdict.counts
        cache.deleted |= verdict.deletable
        cache.withheld = set(verdict.held)
        return {*known, *verdict.deletable, *(ref for ref in verdict.held if not _is_refused(cache, ref))}

    async def _absent(self, namespaces: Iterable[str]) -> set[str]:
        """Those of the namespaces that are proven to be gone: none where only some namespaces are watched."""
        unknown = [name for name in namespaces if self._watches_all and name not in self._cache.namespaces]
        return {name for name in sorted(unknown) if await namespace_is_absent(self._api, name)}

    def _report(self, held: Mapping[str, int], records: Mapping[str, int]) -> None:
        for namespace, count in sorted(held.items())[:MAX_REPORTED]:
            log.error(
                "namespace %s: %d of %d records have no owner: they are kept, and their clients refused. If they were "
                "all meant to go, set the annotation %s: %r on ConfigMap %s",
                namespace, count, records[namespace], ALLOW_ANNOTATION, f"{namespace}={count}", ISSUER_NAME,
            )  # fmt: skip
        if (more := len(held) - MAX_REPORTED) > 0:
            log.error("the same in %d more namespaces: see the metric scopewright_orphans_held_by_namespace", more)

    def _allowed(self) -> str:
        """What a person has said may go."""
        issuer = self._cache.managed.objects.get(Ref("ConfigMap", self._cache.managed.namespace, ISSUER_NAME))
        return issuer.annotations.get(ALLOW_ANNOTATION, "") if issuer else ""


def orphaned_keys(cache: Cache) -> Keys:
    """The objects that a good record speaks of and nobody declares."""
    clients = {Ref("OAuthClient", r.namespace, r.name) for r in cache.managed.clients.values()}
    servers = {Ref("ResourceServer", r.namespace, r.name) for r in cache.managed.servers.values()}
    return {ref for ref in clients | servers if ref not in cache.declared[ref.kind]}


def _is_refused(cache: Cache, ref: Ref) -> bool:
    """Whether the record of this object is marked as orphaned already."""
    record = cache.managed.record_of(ref)[1]
    return record is not None and record.orphaned_time is not None
