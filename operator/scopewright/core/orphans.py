"""Orphans: records whose object was deleted. They are deleted too, unless too many objects disappear at once.

The limit is per namespace, so that a mass deletion in one does not hold the records of another. A record that is kept
has an `orphaned_time`: the issuer refuses its client, or serves nothing for its resource server, until the record is
deleted or the mark is removed.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from scopewright.core.objects import Desired, Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.names import ENTRY
from scopewright.core.records.resource_server import ResourceServerRecord

MIN_ORPHANS: Final = 20
ORPHAN_SHARE: Final = 0.05
ALLOW_ANNOTATION: Final = "scopewright.dev/allow-orphans"
"""On ConfigMap `scopewright-issuer`: `<namespace>=<count>`, several separated by commas; or the count of all held."""


@dataclass(frozen=True, slots=True)
class OrphanDecision:
    """Records of `deletable` may be deleted once each object is confirmed as deleted. `held` are kept: `counts` per
    namespace."""

    deletable: frozenset[Ref] = frozenset()
    held: frozenset[Ref] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)


def decide_orphans(
    orphans: Collection[Ref], records: Mapping[str, int], deleted_namespaces: Collection[str] = (), allowed: str = ""
) -> OrphanDecision:
    """`records` counts all records per namespace. Deleted namespaces have no limit.

    `allowed` is the value of the annotation `scopewright.dev/allow-orphans`.
    """
    counts = Counter(ref.namespace for ref in orphans if ref.namespace not in deleted_namespaces)
    many = {ns: count for ns, count in counts.items() if count > limit(records.get(ns, count))}
    held = {ns: count for ns, count in many.items() if not _allows(allowed, ns, many)}
    kept = frozenset(ref for ref in orphans if ref.namespace in held)
    return OrphanDecision(frozenset(orphans) - kept, kept, held)


def limit(records: int) -> int:
    """Return how many records of a namespace may lose their object in one resync."""
    return max(MIN_ORPHANS, int(records * ORPHAN_SHARE))


def _allows(annotation: str, namespace: str, many: Mapping[str, int]) -> bool:
    """Whether the annotation has the exact count, so that a stale annotation allows nothing."""
    parts = {part.strip() for part in annotation.split(",")}
    return f"{namespace}={many[namespace]}" in parts or annotation.strip() == str(sum(many.values()))


def mark_write(
    record: ClientRecord | ResourceServerRecord, existing: Existing, orphaned_time: datetime | None
) -> Desired | None:
    """Return the write that sets or (None) removes the mark of the record; None if there is nothing to change."""
    if (record.orphaned_time is None) == (orphaned_time is None):
        return None
    content = encode(replace(record, orphaned_time=orphaned_time))
    return Desired(existing.ref, entries={ENTRY: content}, type=existing.type, replaces=existing)
