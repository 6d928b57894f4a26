"""Records of deleted objects: deleted once that is proven, or kept and marked if too many disappeared at once."""

from collections.abc import Callable, Iterable
from datetime import datetime

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer
from scopewright.controller.cache import Cache
from scopewright.controller.managed_objects import ObjectRecord
from scopewright.core.failed_writes import FailedWrite, failed_write_of
from scopewright.core.failures import Unavailable
from scopewright.core.objects import Deletion, Existing, Ref
from scopewright.core.orphans import mark_write
from scopewright.core.plan import NOTHING, Plan
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.stores import Objects

Recorded = OAuthClient | ResourceServer | IdentityProvider
"""Kinds with a record, which is deleted with the object."""


class OrphanRecords:
    """Plans writes for the record of an object that does not exist, or that is paused."""

    def __init__(self, store: Objects, cache: Cache, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock

    async def plan(self, key: Ref, successor: Recorded | None, failed_writes: Iterable[FailedWrite]) -> Plan:
        """`successor` has the object's name and is paused: it neither overwrites nor gets its predecessor's record, and
        its own record is no longer refused. `Unavailable` if the deletion is not proven.
        """
        existing, record = self._cache.managed.record_of(key)
        if existing is None or record is None or failed_write_of(failed_writes, existing.ref):
            return NOTHING
        if successor and record.uid == successor.uid:
            return _marking(record, existing, None)
        is_held = key in self._cache.held_records
        if successor is None and key not in self._cache.deleted and not is_held:
            return NOTHING
        if key.namespace not in self._cache.absent_namespaces:  # a deleted namespace proves that its objects are
            since = _owner_creation_time(record) or existing.creation_time or self._clock()
            match await self._store.confirm_deleted(key, record.uid, since):
                case "present":
                    self._cache.clear_deleted(key)
                    return _marking(record, existing, None)
                case "unknown":
                    raise Unavailable(f"{key} is not proven to be deleted: its record stays")
        if is_held:
            return _marking(record, existing, self._clock())
        return Plan((Deletion(existing),))

    def may_be_deleted(self, key: Ref, obj: Recorded) -> bool:
        """Whether no list confirms the object, and it has no record: it may be deleted, together with its record."""
        if key not in self._cache.unconfirmed:
            return False
        record = self._cache.managed.record_of(key)[1]
        return record is None or record.uid != obj.uid


def _owner_creation_time(record: ObjectRecord) -> datetime | None:
    return None if isinstance(record, IdentityProviderRecord) else record.owner_creation_time


def _marking(record: ObjectRecord, existing: Existing, orphaned_time: datetime | None) -> Plan:
    """The write of the mark. Records of IdentityProviders have none: they are never held (`orphans`)."""
    if isinstance(record, IdentityProviderRecord):
        return NOTHING
    write = mark_write(record, existing, orphaned_time)
    return Plan((write,)) if write else NOTHING
