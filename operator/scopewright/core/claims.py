"""Which installation serves which name. Two installations of one name must never both write.

A claim is the Lease of an installation's leader election, with annotations. It is ignored unless its namespace has a
SigningKey of that `spec.issuer` too: the role `edit` of a namespace may write Leases, but only the platform may write
SigningKeys. Older claims take precedence, by creation time and UID.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from scopewright.core.config import Config

LEASE_NAME: Final = "scopewright-operator"
NAME_ANNOTATION: Final = "scopewright.dev/installation"
"""Name that the installation serves: `spec.issuer` of its objects."""
STAGE_ANNOTATION: Final = "scopewright.dev/claim"
WATCHED_ANNOTATION: Final = "scopewright.dev/watch-namespaces"
"""Namespaces, separated by commas. Absent: all namespaces."""

Raw = Mapping[str, Any]


class Stage(StrEnum):
    """`Claimed` comes first, and becomes `Held` if no other installation claims the name. `Withdrawn` is ignored."""

    CLAIMED = "Claimed"
    HELD = "Held"
    WITHDRAWN = "Withdrawn"


@dataclass(frozen=True, slots=True)
class Claim:
    """The installation in `namespace` serves `name` in the namespaces `watched` (empty: all)."""

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
    """Return the valid claims, oldest first. A Lease without annotations belongs to an operator of an older version,
    which serves the names of the SigningKeys in its namespace.
    """
    names: defaultdict[str, set[str]] = defaultdict(set)
    for key in signing_keys:
        names[key["metadata"]["namespace"]].add(issuer_of(key))
    claims = (claim for lease in leases for claim in _claims_of(lease, names[lease["metadata"]["namespace"]]))
    return tuple(sorted(claims, key=lambda claim: claim.order))


def issuer_of(raw: Raw) -> str:
    """Return `spec.issuer` of a raw object, or its default."""
    return (raw.get("spec") or {}).get("issuer") or "default"


def claim_of(config: Config, lease: Raw | None, stage: Stage) -> Claim:
    """Return this installation's claim in that stage, as `lease` has it or will have it."""
    meta = lease["metadata"] if lease else {}
    return Claim(config.name, config.namespace, stage, _order(meta), _watched(config))


def annotations(config: Config, stage: Stage) -> dict[str, str]:
    watched = ",".join(sorted(_watched(config)))
    return {NAME_ANNOTATION: config.name, STAGE_ANNOTATION: stage.value, WATCHED_ANNOTATION: watched}


def is_held(config: Config, lease: Raw | None, claims: Iterable[Claim]) -> bool:
    """Whether this installation's Lease holds the name. No later installation may then hold it."""
    if lease is None:
        return False
    written = lease["metadata"].get("annotations") or {}
    if NAME_ANNOTATION not in written:
        return any((claim.name, claim.namespace) == (config.name, config.namespace) for claim in claims)
    return annotations(config, Stage.HELD).items() <= written.items()


def conflicting_claims(own: Claim, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if claim.collides_with(own))


def older_holders(own: Claim, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return the held claims that take precedence over this one, even if it is held too."""
    return tuple(r for r in conflicting_claims(own, claims) if r.stage is Stage.HELD and r.order < own.order)


def served_names(claims: Iterable[Claim], namespace: str) -> tuple[str, ...]:
    """Return the values of `spec.issuer` that an installation serves in this namespace."""
    return tuple(sorted({claim.name for claim in claims if claim.covers(namespace)}))


def _claims_of(lease: Raw, names: set[str]) -> list[Claim]:
    meta = lease["metadata"]
    written = meta.get("annotations") or {}
    order = _order(meta)
    if NAME_ANNOTATION not in written:
        return [Claim(name, meta["namespace"], Stage.HELD, order) for name in sorted(names)]
    name, stage = written[NAME_ANNOTATION], written.get(STAGE_ANNOTATION, "")
    if name not in names or stage not in (Stage.CLAIMED, Stage.HELD):
        return []
    watched = frozenset(filter(None, written.get(WATCHED_ANNOTATION, "").split(",")))
    return [Claim(name, meta["namespace"], Stage(stage), order, watched)]


def _order(meta: Raw) -> tuple[str, str]:
    return str(meta.get("creationTimestamp", "")), str(meta.get("uid", ""))


def _watched(config: Config) -> frozenset[str]:
    return frozenset(namespace for namespace in config.watch_targets if namespace)
