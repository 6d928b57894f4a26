"""Conditions of objects that are paused or are being deleted."""

from typing import Final

from scopewright.api.meta import ObjectMeta
from scopewright.core.objects import PAUSED_ANNOTATION, is_paused
from scopewright.core.plan import ConditionUpdate

MAX_FINALIZERS: Final = 5
"""Finalizers that a message names at most."""

PAUSED: Final = ConditionUpdate(
    "Paused",
    "True",
    "Paused",
    f"{PAUSED_ANNOTATION} is true: nothing but this status is written for the object until the annotation is removed",
)


def is_paused_or_deleting(meta: ObjectMeta) -> bool:
    """Whether the object is paused or being deleted. Its plan then does not overwrite the record of a predecessor."""
    return is_paused(meta.annotations) or meta.deletion_timestamp is not None


def deleting_conditions(meta: ObjectMeta, effect: str) -> tuple[ConditionUpdate, ...]:
    """The conditions of an object that is being deleted, with the finalizers that block it. A deletion is final."""
    named = ", ".join(meta.finalizers[:MAX_FINALIZERS])
    count = len(meta.finalizers[MAX_FINALIZERS:]) + meta.more_finalizers
    more = f" and {count} more" if count else ""
    kept = f"; it is kept by the finalizers {named}{more}, which their owners must remove" if named else ""
    return (
        ConditionUpdate("Ready", "False", "Deleting", f"deleted at {meta.deletion_timestamp:%FT%TZ}: {effect}{kept}"),
    )
