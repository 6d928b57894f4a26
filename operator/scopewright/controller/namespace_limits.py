"""Finds the declared objects within the limits of their namespace: the oldest ones, of each kind."""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from scopewright.api import ScopeGrant
from scopewright.controller.index import Keys
from scopewright.core.config import Limits
from scopewright.core.declared import Declared, ref_of
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref

_UNDATED: Final = datetime.min.replace(tzinfo=UTC)

_ROLE_BYTES: Final = 1024
"""What a granted role counts: the record has its scopes in its place."""

_Place = tuple[datetime, Ref]
"""Sorts objects by age."""


def _size(obj: Declared) -> int:
    """Bytes of the spec, and for a ScopeGrant of what the record of its API repeats for each entry of `toUsers`."""
    size = len(obj.spec.model_dump_json(exclude_defaults=True))
    if not isinstance(obj, ScopeGrant):
        return size
    spec = obj.spec
    copies = len(spec.to_users) + bool(spec.to)
    names = sum(len(name) for name in (*spec.scopes, *spec.roles))
    return size + names * max(copies - 1, 0) + _ROLE_BYTES * len(spec.roles) * copies


@dataclass(slots=True)
class _Share:
    """The objects of one kind in one namespace."""

    order: list[_Place] = field(default_factory=list)
    sizes: dict[Ref, tuple[_Place, int]] = field(default_factory=dict)
    size: int = 0
    first_beyond: _Place | None = None
    """The oldest object that is beyond the limits; younger ones are beyond them too."""


class NamespaceLimits:
    """`put` and `drop` return the objects that come within the limits or leave them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shares: defaultdict[tuple[str, str], _Share] = defaultdict(_Share)

    def put(self, obj: Declared) -> Keys:
        ref = ref_of(obj)
        share = self._shares[ref.kind, ref.namespace]
        place = (obj.metadata.creation_timestamp or _UNDATED, ref)
        size = _size(obj)
        if share.sizes.get(ref) == (place, size):
            return set()
        self._remove(share, ref)
        bisect.insort(share.order, place)
        share.sizes[ref] = (place, size)
        share.size += size
        return self._update(share)

    def drop(self, ref: Ref) -> Keys:
        share = self._shares[ref.kind, ref.namespace]
        self._remove(share, ref)
        changed = self._update(share)
        if not share.order:
            del self._shares[ref.kind, ref.namespace]
        return changed

    def refusal(self, ref: Ref) -> Rejected | None:
        """Why the object is not served; None if it is within the limits."""
        share = self._shares.get((ref.kind, ref.namespace))
        if share is None or share.first_beyond is None or ref not in share.sizes:
            return None
        if share.sizes[ref][0] < share.first_beyond:
            return None
        limits, within = self._limits, bisect.bisect_left(share.order, share.first_beyond)
        return Rejected(
            "NamespaceLimit",
            f"namespace {ref.namespace} has more {ref.kind}s than the platform's configuration allows "
            f"(limits.objectsPerNamespace: {limits.objects_per_namespace}, limits.bytesPerNamespace: "
            f"{limits.bytes_per_namespace}): the oldest {within} are served, and this one is not; delete some, make "
            "them smaller, or ask the platform team to raise the limit",
        )

    @staticmethod
    def _remove(share: _Share, ref: Ref) -> None:
        if (known := share.sizes.pop(ref, None)) is not None:
            place, size = known
            del share.order[bisect.bisect_left(share.order, place)]
            share.size -= size

    def _update(self, share: _Share) -> Keys:
        """Set `first_beyond`. Return the objects between its earlier and its new value."""
        before, share.first_beyond = share.first_beyond, self._first_beyond(share)
        if before == share.first_beyond:
            return set()
        bounds = [b for b in (before, share.first_beyond) if b is not None]
        first = bisect.bisect_left(share.order, min(bounds))
        last = len(share.order) if len(bounds) == 1 else bisect.bisect_left(share.order, max(bounds))
        return {ref for _, ref in share.order[first:last]}

    def _first_beyond(self, share: _Share) -> _Place | None:
        limits = self._limits
        if len(share.order) <= limits.objects_per_namespace and share.size <= limits.bytes_per_namespace:
            return None
        size = 0
        for place in share.order[: limits.objects_per_namespace]:
            size += share.sizes[place[1]][1]
            if size > limits.bytes_per_namespace:
                return place
        return share.order[limits.objects_per_namespace]
