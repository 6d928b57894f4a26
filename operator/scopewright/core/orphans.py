"""Records whose object is gone: which of them may be deleted, and which are kept because too many went at once.

Judged by namespace, so that a mass deletion in one never holds the records of another. A record that is kept is marked
by its `orphaned_time`: the issuer refuses its client, or serves nothing for its resource server, until the record is
deleted or the mark taken away.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from scopewright.core.objects import Desired, Existing, Ref
from scopewright.core.records import ENTRY, ClientRecord, ResourceServerRecord, encode

MIN_ORPHANS: Final = 20
ORPHAN_SHARE: Final = 0.05
ALLOW_ANNOTATION: Final = "scopewright.dev/allow-orphans"
"""On ConfigMap `scopewright-issuer`: `<namespace>=<count>`, several separated by commas; or the count of all held."""


@dataclass(frozen=True, slots=True)
class OrphanDecision:
    """`departed` may be deleted, once each is proven to be gone. `held` is kept; `counts` has it by namespace."""

    departed: frozenset[Ref] = frozenset()
    held: frozenset[Ref] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)


def decide_orphans(
    orphans: Collection[Ref], records: Mapping[str, int], gone: Collection[str] = (), allowed: str = ""
) -> OrphanDecision:
    """`records` counts all records by namespace. Namespaces that are proven to be `gone` have no limit.

    `allowed` is the value of the annotation `scopewright.dev/allow-orphans`.
    """
    counts = Counter(ref.namespace for ref in orphans if ref.namespace not in gone)
    many = {ns: count for ns, count in counts.items() if count > limit(records.get(ns, count))}
    held = {ns: count for ns, count in many.items() if not _allows(allowed, ns, many)}
    kept = frozenset(ref for ref in orphans if ref.namespace in held)
    return OrphanDecision(frozenset(orphans) - kept, kept, held)


def limit(records: int) -> int:
    """How many of a namespace's records may lose their object in one comparison."""
    return max(MIN_ORPHANS, int(records * ORPHAN_SHARE))


def _allows(stated: str, namespace: str, many: Mapping[str, int]) -> bool:
    """Only an exact count allows anything, so that an annotation that was left behind allows nothing else."""
    parts = {part.strip() for part in stated.split(",")}
    return f"{namespace}={many[namespace]}" in parts or stated.strip() == str(sum(many.values()))


def mark_write(
    record: ClientRecord | ResourceServerRecord, existing: Existing, orphaned_time: datetime | None
) -> Desired | None:
    """The write that marks the record, or (None) takes the mark away, and changes nothing else; None where it is so."""
    if (record.orphaned_time is None) == (orphaned_time is None):
        return None
    content = encode(replace(record, orphaned_time=orphaned_time))
    return Desired(existing.ref, entries={ENTRY: content}, type=existing.type, replaces=existing)
