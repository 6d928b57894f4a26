"""What a change of manifests would bring about, as data: nothing in it is secret, or made from what is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from scopewright.core.objects import Ref

Action = Literal[
    "made", "changed", "deleted", "rotated", "revoked", "moved", "disabled", "enabled", "adopted", "retired"
]


NOT_READ: Final = "NotRead"
"""The reason of a refusal that leaves open what is declared there: nobody may take the rest for all there is."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line (from 1) of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to refuse or to warn of. The message says what to do about it.

    `field` leads to the part of the manifest that it is about. Without `place` the manifest is not among those that
    were given. What is not `new` was so before.
    """

    subject: Ref | None
    reason: str
    message: str
    field: tuple[str | int, ...] = ()
    place: Place | None = None
    new: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """That tokens of a client may carry a scope of a resource server; both are `<namespace>/<name>`.

    `via` are the ScopeGrants (`<namespace>/<name>`) that say so, none within a namespace; it ends at `until`.
    """

    client: str
    server: str
    scope: str
    via: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccessChange:
    """Access that is had before or after; with both, it ends at another time. `because` says why it is lost."""

    before: Access | None
    after: Access | None
    because: str = ""

    @property
    def access(self) -> Access:
        found = self.after or self.before
        if found is None:
            raise AssertionError("a change of access has a before or an after")
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one object, credential, key or Secret; `detail` is a sentence or a list of fields."""

    subject: Ref
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that differs, each in an order that does not depend on chance."""

    refusals: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    access: tuple[AccessChange, ...] = ()
    credentials: tuple[Change, ...] = ()
    keys: tuple[Change, ...] = ()
    secrets: tuple[Change, ...] = ()
    objects: tuple[Change, ...] = ()
    ignored: int = 0
    """Objects whose `spec.issuer` names another installation."""
    places: Mapping[Ref, Place] = field(default_factory=dict)
    """Where the objects are declared that were given."""
