"""The cache: the current state that plans are made from.

Watches and lists put in what they read, and the reconciler what it wrote, so that the next plan has it. A version older
than the known one changes nothing.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from scopewright.api import KINDS, OAuthClient, ScopeGrant
from scopewright.bounded import BoundedDict
from scopewright.controller.index import K, Keys, ReferenceIndex, all_of, service_account_of
from scopewright.controller.managed_objects import ManagedObjects
from scopewright.controller.namespace_limits import NamespaceLimits
from scopewright.controller.relations import Relations
from scopewright.core.config import Limits
from scopewright.core.declared import Declared, read_annotations, ref_of
from scopewright.core.failures import Rejected
from scopewright.core.grant_status import selections
from scopewright.core.grants import Labels
from scopewright.core.objects import Existing, Ref
from scopewright.stores import Entries

MAX_DELETIONS_REMEMBERED: Final = 10_000
"""Deletions in memory, of managed objects and of those without a record: far more than happen during one request."""

log = logging.getLogger(__name__)


def newer(version: str | None, known: str | None) -> bool:
    """Whether a resourceVersion is later than the known one (they are numbers; where not, unequal is newer)."""
    if not known or not version:
        return True
    if version.isdecimal() and known.isdecimal():
        return int(version) > int(known)
    return version != known


class Cache:
    """Declared and managed objects, namespaces, and the UIDs of ServiceAccounts.

    Methods that change the cache return the keys to reconcile. Without a cluster to watch, `account_uid` returns the
    UID of each ServiceAccount.
    """

    def __init__(
        self,
        issuer_name: str,
        namespace: str,
        *,
        in_cluster: bool = False,
        limits: Limits | None = None,
        account_uid: Callable[[Ref], str] | None = None,
    ) -> None:
        self.issuer_name = issuer_name
        self.declared: dict[str, dict[Ref, Declared]] = {kind: {} for kind in KINDS}
        self.deleted: set[Ref] = set()
        """Objects known to be deleted. Only then are their records deleted. Cleared when the object is put again."""
        self.held_records: set[Ref] = set()
        """Objects that seem to be deleted, too many of one namespace at once: their records are kept, and refused."""
        self.unconfirmed: set[Ref] = set()
        """Objects that no list confirms, because their CRD is missing; until they are put again or listed."""
        self.absent_namespaces: set[str] = set()
        """Namespaces that are proven to be deleted, with everything in them."""
        self.namespaces: dict[str, Labels] = {}
        self.terminating: set[str] = set()
        """Namespaces that are being deleted."""
        self.managed = ManagedObjects(namespace)
        self.service_accounts: dict[Ref, str] | None = {} if in_cluster else None
        self._account_uid = account_uid
        self._index = ReferenceIndex()
        self._limits = NamespaceLimits(limits or Limits())
        self.relations = Relations(self.declared, self.managed, self._index, self._limits)
        self._prune_deleted_at = MAX_DELETIONS_REMEMBERED
        """The size above which `deleted` loses what has no record."""
        self._deletions: dict[Ref, str] = {}
        """The version at which a declared object was deleted: a list that began before would bring it back."""
        self._listed: dict[str, str] = {}
        """The version of the last list of each kind."""
        self._managed_deletions = BoundedDict[Ref, str](MAX_DELETIONS_REMEMBERED)
        """The same for managed objects: the answer to a write may arrive after the event of their deletion."""
        self._managed_listed: dict[tuple[str, str | None], str] = {}
        """The version of the last list of managed objects, by kind and namespace (None: all of them)."""
        self._namespace_versions: dict[str, str] = {}
        self._namespace_epochs: Counter[str] = Counter()
        """How often a namespace was reported as existing and not being deleted."""

    # Declared objects

    def get(self, kind: type[K], namespace: str, name: str) -> K | None:
        obj = self.declared[kind.KIND].get(Ref(kind.KIND, namespace, name))
        return obj if isinstance(obj, kind) else None

    def all(self, kind: type[K]) -> Iterable[K]:
        return all_of(self.declared, kind)

    def has_seen(self, ref: Ref, version: str) -> bool:
        """Whether `put` would change nothing: this or a later version of the object, or its deletion, is known."""
        known = self.declared[ref.kind].get(ref)
        latest = known.metadata.resource_version if known else self._deletions.get(ref, self._listed.get(ref.kind))
        return latest is not None and not newer(version, latest)

    def put(self, obj: Declared) -> Keys:
        """A declared object exists, as read or as its status was written."""
        ref = ref_of(obj)
        known = self.declared[ref.kind].get(ref)
        version = obj.metadata.resource_version or ""
        if obj.spec.issuer != self.issuer_name:
            return self.drop(ref, version) if known else set()
        if self.has_seen(ref, version):
            return set()
        self._deletions.pop(ref, None)
        self.unconfirmed.discard(ref)
        self.clear_deleted(ref)
        changed = known is None or _differs(known, obj)
        keys = self.relations.of_declared(known) | self.relations.of_declared(obj) if changed else set()
        if (known is None or known.uid != obj.uid) and ref.namespace not in self.namespaces:
            # Namespaces are not watched: one in which an object is created is not being deleted, or no longer.
            keys |= self._not_terminating(ref.namespace)
        self._index.remove(known)
        self.declared[ref.kind][ref] = obj
        self._index.add(obj)
        if known is None or _spec_may_differ(known, obj):
            keys |= self.relations.of_all(self._limits.put(obj))
        return keys

    def wrote_status(self, obj: Declared) -> None:
        """`put` of the answer to a write, unless the object is known to be deleted since."""
        ref = ref_of(obj)
        known = self.declared[obj.KIND].get(ref)
        if known is None:
            return
        if known.spec is not obj.spec:
            self.put(obj)
        elif newer(obj.metadata.resource_version, known.metadata.resource_version):
            # References, limits and keys depend on the spec, and it is the same: only the object is replaced.
            self.unconfirmed.discard(ref)
            self.clear_deleted(ref)
            self.declared[obj.KIND][ref] = obj

    def differs_in_status_only(self, ref: Ref, raw: Mapping[str, Any]) -> bool:
        """Whether this later version of a declared object differs from the known one in nothing but its status."""
        known, meta = self.declared[ref.kind].get(ref), raw["metadata"]
        if known is None or known.metadata.deletion_timestamp or meta.get("deletionTimestamp"):
            return False
        same = (meta.get("uid"), meta.get("generation")) == (known.uid, known.metadata.generation)
        return same and read_annotations(meta.get("annotations") or {}) == known.metadata.annotations

    def drop(self, ref: Ref, version: str) -> Keys:
        """A declared object was deleted at this version, unless a later version is known."""
        known = self.declared[ref.kind].get(ref)
        if known and newer(known.metadata.resource_version, version):
            return set()
        if newer(version, self._deletions.get(ref)):  # events may come again
            self._deletions[ref] = version
        self.unconfirmed.discard(ref)
        self._index.remove(self.declared[ref.kind].pop(ref, None))
        return {ref, *self.relations.of_declared(known), *self.relations.of_all(self._limits.drop(ref))}

    def listed(self, kind: str, version: str) -> Keys:
        """A list of this version is complete: other objects up to it are deleted, whatever a late watch reports."""
        self._listed[kind] = version
        self._deletions = {r: v for r, v in self._deletions.items() if r.kind != kind or newer(v, version)}
        confirmed = {ref for ref in self.unconfirmed if ref.kind == kind}
        self.unconfirmed -= confirmed
        return confirmed

    def cannot_be_listed(self, kind: str) -> None:
        """The CRD is missing: of its objects only what events reported is known."""
        self.unconfirmed |= self.declared[kind].keys()

    # Namespaces

    def put_namespace(self, name: str, labels: Labels | None, version: str = "", *, terminating: bool = False) -> Keys:
        """A namespace exists, is being deleted (`terminating`) or deleted (None), as of this version."""
        known = self._namespace_versions.get(name)
        if not newer(version, known):
            # A late refusal, for example for an earlier namespace of the name, may have marked an existing one.
            return self._not_terminating(name) if version == known and labels is not None and not terminating else set()
        self._namespace_versions[name] = version
        keys: Keys = set()
        if labels is not None:
            self.absent_namespaces.discard(name)
            if terminating:
                self.namespace_terminates(name, self.namespace_epoch(name))
            else:
                keys = self._not_terminating(name)
        elif not self._declared_in(name):
            self.terminating.discard(name)
        if self.namespaces.get(name) == labels:
            return keys
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = dict(labels)
        selecting = [g for g in self.all(ScopeGrant) if any(s.namespace_selector for s in selections(g))]
        return keys.union(*(self.relations.of_declared(grant) for grant in selecting))

    def namespace_epoch(self, name: str) -> int:
        """Read before a request whose answer may report a deletion, for `namespace_terminates`."""
        return self._namespace_epochs[name]

    def namespace_terminates(self, name: str, epoch: int) -> None:
        """The namespace is being deleted: nothing can be created there any more, and Kubernetes cannot revert that.

        Ignored if the namespace was created again since: a late answer is about the one before.
        """
        if name not in self.terminating and epoch == self.namespace_epoch(name):
            self.terminating.add(name)
            log.info("namespace %s is being deleted: nothing is written there any more", name)

    def _not_terminating(self, name: str) -> Keys:
        """The namespace is not being deleted, or no longer: reconcile what was held back there."""
        self._namespace_epochs[name] += 1
        if name not in self.terminating:
            return set()
        self.terminating.discard(name)
        log.info("namespace %s is not being deleted", name)
        return self._declared_in(name)

    def _declared_in(self, namespace: str) -> Keys:
        return {ref for objects in self.declared.values() for ref in objects if ref.namespace == namespace}

    # ServiceAccounts

    def put_service_account(self, ref: Ref, uid: str | None) -> Keys:
        """A ServiceAccount of this cluster exists or is deleted (None). Called by one watch, in its order."""
        if self.service_accounts is None or self.service_accounts.get(ref) == uid:
            return set()
        if uid is None:
            del self.service_accounts[ref]
        else:
            self.service_accounts[ref] = uid
        return set(self._index.referrers("OAuthClient", ref))

    def service_account_uid(self, client: OAuthClient) -> str | None:
        """See `ClientView`."""
        ref = service_account_of(client)
        if ref is None:
            return None
        if self._account_uid is not None:
            return self._account_uid(ref)
        return None if self.service_accounts is None else self.service_accounts.get(ref, "")

    # Managed objects

    def put_managed(self, existing: Existing, entries: Entries) -> Keys:
        """A managed object exists, as read, watched or written, unless a later version or its deletion is known."""
        known, deleted = self.managed.objects.get(existing.ref), self._managed_deletions.get(existing.ref)
        if known and not newer(existing.resource_version, known.resource_version):
            return set()
        if deleted and newer(deleted, existing.resource_version):
            return set()
        before = self.relations.of_managed(existing.ref)
        self.managed.put(existing, entries)
        return before | self.relations.of_managed(existing.ref)

    def wrote(self, existing: Existing, entries: Entries) -> Keys:
        """`put_managed` of the answer to a write, unless a later list did not contain the object."""
        kind, namespace = existing.ref.kind, existing.ref.namespace
        listed = self._managed_listed.get((kind, None)) or self._managed_listed.get((kind, namespace))
        if existing.ref not in self.managed.objects and listed and not newer(existing.resource_version, listed):
            return set()
        return self.put_managed(existing, entries)

    def managed_listed(self, kind: str, namespace: str | None, version: str) -> None:
        """All managed objects of this kind, in one namespace or (None) in all, are known as of this version."""
        if version and newer(version, self._managed_listed.get((kind, namespace))):
            self._managed_listed[kind, namespace] = version

    def drop_managed(self, ref: Ref, version: str | None = None) -> Keys:
        """A managed object was deleted at this version, unless a later version is known."""
        known = self.managed.objects.get(ref)
        if version and newer(version, self._managed_deletions.get(ref)):
            self._managed_deletions[ref] = version
        if known is None or (version and newer(known.resource_version, version)):
            return set()
        keys = self.relations.of_managed(ref)
        self.managed.drop(ref)
        if key := self.managed.key_of(ref):
            self.clear_deleted(key)
        return keys

    def mark_deleted(self, ref: Ref) -> None:
        """The object is deleted, and its record is to be. Among many, those without a record are forgotten: the next
        resync decides about a record that is only now being written.
        """
        self.deleted.add(ref)
        if len(self.deleted) > self._prune_deleted_at:
            self.deleted -= {of for of in self.deleted if self.managed.record_of(of)[0] is None}
            self._prune_deleted_at = max(MAX_DELETIONS_REMEMBERED, 2 * len(self.deleted))

    def clear_deleted(self, ref: Ref) -> None:
        """The object exists again, or its record does not: no record is to be deleted or held."""
        self.deleted.discard(ref)
        self.held_records.discard(ref)

    def beyond_limits(self, ref: Ref) -> Rejected | None:
        """Why the object is not served, if its namespace has too many or too large ones."""
        return self._limits.refusal(ref)


def _spec_may_differ(known: Declared, obj: Declared) -> bool:
    old, new = known.metadata, obj.metadata
    return new.generation is None or (old.uid, old.generation) != (new.uid, new.generation)


def _differs(known: Declared, obj: Declared) -> bool:
    """Whether the object must be reconciled: the operator's own write of a status is no reason."""
    old, new = known.metadata, obj.metadata
    same = (old.uid, old.generation, old.deletion_timestamp) == (new.uid, new.generation, new.deletion_timestamp)
    if new.deletion_timestamp and (old.finalizers, old.more_finalizers) != (new.finalizers, new.more_finalizers):
        return True
    return not same or old.annotations != new.annotations or known.status != obj.status
