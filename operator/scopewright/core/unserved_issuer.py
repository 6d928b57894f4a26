"""Status of an object whose `spec.issuer` no installation serves."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from scopewright.core.claims import Claim, served_names
from scopewright.core.config import Config
from scopewright.core.declared import Declared
from scopewright.core.failures import Rejected
from scopewright.core.objects import is_paused
from scopewright.core.plan import merge_conditions, stalled

REASON: Final = "IssuerNotServed"
MAX_NAMES: Final = 10


def unserved_status(
    obj: Declared,
    claims: Iterable[Claim],
    config: Config,
    now: datetime,
) -> dict[str, Any] | None:
    """Return the status to write; None if its issuer is served, or another installation has to write it.

    The first installation that sees the object writes the first status. Only the oldest installation updates it, so
    that operators of different versions do not overwrite each other.
    """
    covering = [claim for claim in claims if claim.covers(obj.namespace)]
    names = set(served_names(covering, obj.namespace)) | {config.name}
    if obj.spec.issuer in names or is_paused(obj.metadata.annotations):
        return None
    was = obj.condition("Ready")
    if was is not None and was.reason == REASON and not _writes_first(covering, config):
        return None
    why = Rejected(REASON, _message(obj.spec.issuer, sorted(names)))
    previous = obj.status.conditions if obj.status else []
    conditions, _ = merge_conditions(stalled(why), previous, obj.metadata.generation, now)
    before = obj.status.to_dict() if obj.status else {}
    status = {**before, "observedGeneration": obj.metadata.generation, "conditions": [c.to_dict() for c in conditions]}
    return None if status == before else status


def _writes_first(covering: Iterable[Claim], config: Config) -> bool:
    """Whether this installation has the oldest of these claims, or there are none."""
    oldest = next(iter(covering), None)
    return oldest is None or (oldest.name, oldest.namespace) == (config.name, config.namespace)


def _message(issuer: str, names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return (
        f"no installation serves spec.issuer {issuer!r} in this namespace; served are: "
        f"{', '.join(names[:MAX_NAMES])}{more}. The field is immutable: delete this object and create it again with "
        "one of these"
    )
