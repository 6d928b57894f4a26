"""Objects that are paused or are being deleted: what their status says."""

from typing import Final

from scopewright.api.meta import ObjectMeta
from scopewright.core.objects import PAUSED_ANNOTATION, is_paused
from scopewright.core.plan import ConditionUpdate

MAX_FINALIZERS: Final = 5
"""As many are named in a message."""

PAUSED: Final = ConditionUpdate(
    "Paused",
    "True",
    "Paused",
    f"{PAUSED_ANNOTATION} is true: nothing but this status is written for the object until the annotation is removed",
)


def is_halted(meta: ObjectMeta) -> bool:
    """Whether the object is paused or is being deleted: its plan then overwrites no record of a predecessor."""
    return is_paused(meta.annotations) or meta.deletion_timestamp is not None


def deleting_conditions(meta: ObjectMeta, effect: str) -> tuple[ConditionUpdate, ...]:
    """The condition of an object that is deleted and that finalizers keep. Kubernetes cannot take a deletion back."""
    named = ", ".join(meta.finalizers[:MAX_FINALIZERS])
    count = len(meta.finalizers[MAX_FINALIZERS:]) + meta.more_finalizers
    more = f" and {count} more" if count else ""
    held = f"; it is kept by the finalizers {named}{more}, which their owners must remove" if named else ""
    return (
        ConditionUpdate("Ready", "False", "Deleting", f"deleted at {meta.deletion_timestamp:%FT%TZ}: {effect}{held}"),
    )
