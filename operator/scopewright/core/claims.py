"""Which installation serves which name: two of one name must never both write.

A claim is the Lease by which the replicas of an installation elect their leader, with annotations. It counts only
where its namespace has a SigningKey of that `spec.issuer` as well: the role `edit` of a namespace may write Leases
there, and SigningKeys are the platform's alone. Older claims go first, by creation time and UID.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from scopewright.core.config import Config

LEASE_NAME: Final = "scopewright-operator"
NAME_ANNOTATION: Final = "scopewright.dev/installation"
"""The name that the installation serves: `spec.issuer` of its objects."""
STAGE_ANNOTATION: Final = "scopewright.dev/claim"
WATCHED_ANNOTATION: Final = "scopewright.dev/watch-namespaces"
"""Separated by commas. Absent: all namespaces."""

Raw = Mapping[str, Any]


class Stage(StrEnum):
    """`Claimed` is made first, and becomes `Held` where nobody else claims the name; `Withdrawn` counts for nothing."""

    CLAIMED = "Claimed"
    HELD = "Held"
    WITHDRAWN = "Withdrawn"


@dataclass(frozen=True, slots=True)
class Claim:
    """`name` is served by the installation in `namespace`, in the namespaces `watched` (empty: in all)."""

    name: str
    namespace: str
    stage: Stage
    order: tuple[str, str] = ("", "")
    watched: frozenset[str] = frozenset()

    def covers(self, namespace: str) -> bool:
        return not self.watched or namespace in self.watched

    def collides_with(self, other: "Claim") -> bool:
        """Whether both could write to the same objects."""
        apart = self.watched and other.watched and not self.watched & other.watched
        return self.name == other.name and self.namespace != other.namespace and not apart


def claims_of(leases: Iterable[Raw], signing_keys: Iterable[Raw]) -> tuple[Claim, ...]:
    """All that count, the oldest first. A Lease without annotations is that of an operator of an older version, which
    serves the names of the SigningKeys beside it.
    """
    names: defaultdict[str, set[str]] = defaultdict(set)
    for key in signing_keys:
        names[key["metadata"]["namespace"]].add(issuer_of(key))
    found = (claim for lease in leases for claim in _claims_of(lease, names[lease["metadata"]["namespace"]]))
    return tuple(sorted(found, key=lambda claim: claim.order))


def issuer_of(raw: Raw) -> str:
    """`spec.issuer` of an object as the API server has it."""
    return (raw.get("spec") or {}).get("issuer") or "default"


def claim_of(config: Config, lease: Raw | None, stage: Stage) -> Claim:
    """The claim of our own that this Lease is, or would be."""
    meta = lease["metadata"] if lease else {}
    return Claim(config.name, config.namespace, stage, _order(meta), _watched(config))


def annotations(config: Config, stage: Stage) -> dict[str, str]:
    watched = ",".join(sorted(_watched(config)))
    return {NAME_ANNOTATION: config.name, STAGE_ANNOTATION: stage.value, WATCHED_ANNOTATION: watched}


def is_held(config: Config, lease: Raw | None, claims: Iterable[Claim]) -> bool:
    """Whether this Lease of ours says that the name is ours: nobody who came later may have it."""
    if lease is None:
        return False
    stated = lease["metadata"].get("annotations") or {}
    if NAME_ANNOTATION not in stated:
        return any((claim.name, claim.namespace) == (config.name, config.namespace) for claim in claims)
    return annotations(config, Stage.HELD).items() <= stated.items()


def conflicting_claims(mine: Claim, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if claim.collides_with(mine))


def older_holders(mine: Claim, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The rivals before which ours gives way although it is held."""
    return tuple(r for r in conflicting_claims(mine, claims) if r.stage is Stage.HELD and r.order < mine.order)


def served_names(claims: Iterable[Claim], namespace: str) -> tuple[str, ...]:
    """The values of `spec.issuer` that some installation serves in this namespace."""
    return tuple(sorted({claim.name for claim in claims if claim.covers(namespace)}))


def _claims_of(lease: Raw, names: set[str]) -> list[Claim]:
    meta = lease["metadata"]
    stated = meta.get("annotations") or {}
    order = _order(meta)
    if NAME_ANNOTATION not in stated:
        return [Claim(name, meta["namespace"], Stage.HELD, order) for name in sorted(names)]
    name, stage = stated[NAME_ANNOTATION], stated.get(STAGE_ANNOTATION, "")
    if name not in names or stage not in (Stage.CLAIMED, Stage.HELD):
        return []
    watched = frozenset(filter(None, stated.get(WATCHED_ANNOTATION, "").split(",")))
    return [Claim(name, meta["namespace"], Stage(stage), order, watched)]


def _order(meta: Raw) -> tuple[str, str]:
    return str(meta.get("creationTimestamp", "")), str(meta.get("uid", ""))


def _watched(config: Config) -> frozenset[str]:
    return frozenset(namespace for namespace in config.watched if namespace)
