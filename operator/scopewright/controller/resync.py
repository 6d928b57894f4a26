"""The resync: lists the declared objects, finds orphaned records, and detects a silent watch."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.names import ISSUER_NAME
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.pages import NotServed, pages
from scopewright.stores.kubernetes.store import declared_path, namespace_is_absent

WATCH_TIMEOUT_SECONDS: Final = 30.0
MAX_REPORTED: Final = 10
"""Namespaces that one resync names in the log."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WatchMonitor:
    """Compares the versions that the watch delivered with those of lists: a watch that misses one is broken."""

    monotonic: Callable[[], float] = time.monotonic
    _delivered: dict[Ref, str] = field(default_factory=dict)
    _expected: dict[Ref, tuple[str, float]] = field(default_factory=dict)
    _latest: dict[str, float] = field(default_factory=dict)
    """When each kind last had a delivery: a busy watch is not silent."""

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
        """A list has found this version; the watch must deliver it within `WATCH_TIMEOUT_SECONDS`."""
        known = self._delivered.get(ref)
        if (known is None or newer(version, known)) and ref not in self._expected:
            self._expected[ref] = (version, self.monotonic())

    @property
    def silent_for(self) -> float:
        """Seconds for which a delivery is overdue while its kind has had no other; 0 if none is."""
        now = self.monotonic()
        waits = [
            now - max(since, self._latest.get(ref.kind, since)) - WATCH_TIMEOUT_SECONDS
            for ref, (_, since) in self._expected.items()
        ]
        return max(0.0, *waits) if waits else 0.0


class Resync:
    """Lists the declared objects into the cache, and finds records without a declared object."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        monitor: WatchMonitor,
        watched: Sequence[str | None] = (None,),
        on_foreign: Callable[[Mapping[str, Any]], None] = lambda raw: None,
    ) -> None:
        """`watched` are namespaces; None stands for all of them. `on_foreign` gets each object of another issuer."""
        self._on_foreign = on_foreign
        self._api = api
        self._cache = cache
        self._monitor = monitor
        self._watched = watched
        self._watches_all = None in watched
        self.orphans_held: Mapping[str, int] = {}
        """Records that are kept although their object is deleted, by the object's namespace."""
        self._missing: set[str] = set()
        """Kinds without a CRD, as of the last resync."""
        self._pending: Keys = set()
        """Keys that are not returned yet."""

    async def run(self) -> Keys:
        """Return the keys to reconcile. A list that fails raises, and no object of its kind is dropped. A kind whose
        CRD is missing stays as it is known, and the others are listed nevertheless.
        """
        if self._watches_all:
            await self._list_namespaces()
        for kind in KINDS:
            try:
                versions = [await self._list(kind, namespace) for namespace in self._watched]
                self._pending |= self._cache.listed(kind, next(filter(None, versions), ""))
            except NotServed:
                if not await self._has_no_crd(kind):
                    raise
                self._cache.cannot_be_listed(kind)
            else:
                self._missing.discard(kind)
        self._pending |= await self._find_orphans()
        keys, self._pending = self._pending, set()
        return keys

    async def _has_no_crd(self, kind: str) -> bool:
        """Whether the CRD is certain to be missing; logged once."""
        crd = await missing_crd(self._api, KINDS[kind].PLURAL)
        if crd and kind not in self._missing:
            log.error("%s is missing: %ss stay as they are known until it is applied again", crd, kind)
            self._missing.add(kind)
        return bool(crd)

    async def _list(self, kind: str, namespace: str | None) -> str:
        """List one kind into the cache, in one namespace or all. Return the version of the list."""
        found: set[Ref] = set()
        version = ""
        async for page, version in pages(self._api, declared_path(kind, namespace)):  # noqa: B007 (the last one counts)
            for raw in page:
                meta = raw["metadata"]
                ref = Ref(kind, meta["namespace"], meta["name"])
                found.add(ref)
                self._monitor.expect(ref, meta["resourceVersion"])
                if issuer_of(raw) != self._cache.issuer_name:
                    self._on_foreign({**raw, "kind": kind})
                if self._cache.has_seen(ref, meta["resourceVersion"]):
                    continue
                try:
                    before = self._cache.declared[kind].get(ref)
                    self._pending |= self._cache.put(parse_watched({**raw, "kind": kind}, before))
                except Rejected as error:
                    log.warning("%s: %s", ref, error)
                except Exception:
                    # One object that causes an unexpected error must not end the resync of all.
                    log.exception("%s could not be handled, it is ignored", ref)
        known = {ref for ref in self._cache.declared[kind] if namespace in (None, ref.namespace)}
        for ref in known - found:
            if dropped := self._cache.drop(ref, version):
                self._pending |= dropped
                self._monitor.on_deletion(ref)
        return version

    async def _list_namespaces(self) -> None:
        found: set[str] = set()
        version = ""
        async for page, version in pages(self._api, "/api/v1/namespaces"):  # noqa: B007 (the last one counts)
            for raw in page:
                meta = raw["metadata"]
                found.add(meta["name"])
                labels, terminating = meta.get("labels") or {}, bool(meta.get("deletionTimestamp"))
                self._pending |= self._cache.put_namespace(
                    meta["name"], labels, meta["resourceVersion"], terminating=terminating
                )
        for name in set(self._cache.namespaces) - found:
            self._pending |= self._cache.put_namespace(name, None, version)

    async def _find_orphans(self) -> Keys:
        """Deleted objects whose record must be deleted, or kept and refused because too many of a namespace were."""
        cache = self._cache
        watched = {ref for ref in orphaned_keys(cache) if self._watches_all or ref.namespace in self._watched}
        orphans = {ref for ref in watched if ref.kind not in self._missing}
        # What is not listed is proven to be deleted only if all namespaces are listed.
        unknown = {ref.namespace for ref in orphans} - cache.namespaces.keys() if self._watches_all else set()
        cache.absent_namespaces = {name for name in sorted(unknown) if await namespace_is_absent(self._api, name)}
        records = Counter(record.namespace for record in cache.managed.clients.values())
        records.update(record.namespace for record in cache.managed.servers.values())
        # A provider's record has no secret of its own: a provider that is declared again has the same users.
        cache.deleted |= {ref for ref in orphans if ref.kind == "IdentityProvider"}
        known = orphans & cache.deleted
        verdict = decide_orphans(orphans - known, records, cache.absent_namespaces, self._allowed())
        if verdict.counts != self.orphans_held:
            self._report(verdict.counts, records)
        self.orphans_held = verdict.counts
        cache.deleted |= verdict.deletable
        cache.held_records = set(verdict.held)
        return {*known, *verdict.deletable, *(ref for ref in verdict.held if not _is_refused(cache, ref))}

    def _report(self, held: Mapping[str, int], records: Mapping[str, int]) -> None:
        for namespace, count in sorted(held.items())[:MAX_REPORTED]:
            log.error(
                "namespace %s: %d of %d records have no object: they are kept, and their clients refused. If all "
                "deletions were intended, set the annotation %s: %r on ConfigMap %s",
                namespace, count, records[namespace], ALLOW_ANNOTATION, f"{namespace}={count}", ISSUER_NAME,
            )  # fmt: skip
        if (more := len(held) - MAX_REPORTED) > 0:
            log.error("the same in %d more namespaces: see the metric scopewright_orphans_held_by_namespace", more)

    def _allowed(self) -> str:
        """The deletions that a user has confirmed, see `decide_orphans`."""
        issuer = self._cache.managed.objects.get(Ref("ConfigMap", self._cache.managed.namespace, ISSUER_NAME))
        return issuer.annotations.get(ALLOW_ANNOTATION, "") if issuer else ""


def orphaned_keys(cache: Cache) -> Keys:
    """Objects that have a valid record and are not declared."""
    clients = {Ref("OAuthClient", r.namespace, r.name) for r in cache.managed.clients.values()}
    servers = {Ref("ResourceServer", r.namespace, r.name) for r in cache.managed.servers.values()}
    providers = {
        Ref("IdentityProvider", cache.managed.namespace, p.record.name) for p in cache.managed.providers.values()
    }
    return {ref for ref in clients | servers | providers if ref not in cache.declared[ref.kind]}


def _is_refused(cache: Cache, ref: Ref) -> bool:
    """Whether the record of this object is marked as orphaned already."""
    record = cache.managed.record_of(ref)[1]
    return isinstance(record, ClientRecord | ResourceServerRecord) and record.orphaned_time is not None
