"""Where objects live: a Kubernetes API server, or a directory, behind one small interface."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from scopewright.core.objects import Deletion, Desired, Existing, FollowedKind, Ref
from scopewright.stores.kubernetes.contact import Contact

__all__ = [
    "Change",
    "Entries",
    "Existence",
    "ListCompleted",
    "Listener",
    "Objects",
    "Reader",
    "Selection",
    "ServiceAccountIssuer",
    "Store",
]

Existence = Literal["present", "gone", "unknown"]
"""Of a declared object: `unknown` where neither is proven."""

Entries = Mapping[str, bytes]
"""The content of a Secret or ConfigMap, by entry."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to follow: one kind, in one namespace (None: in all), with all of these labels."""

    kind: FollowedKind
    namespace: str | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An object of the selection is there (or `gone`). `entries` are handed over once and kept by nobody here."""

    existing: Existing
    entries: Entries = field(repr=False)
    gone: bool = False


@dataclass(frozen=True, slots=True)
class ListCompleted:
    """The list is complete: what was followed before and is not among `refs` is gone. Sent after each (re-)list.

    With `version`, the resourceVersion of the list, that is not so for what is newer than the list.
    """

    refs: frozenset[Ref]
    version: str = ""


class Reader(Protocol):
    """What an issuer needs of a store."""

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        """The object as it is this moment, or None. `Rejected` names a right that is missing; else `Unavailable`."""
        ...

    def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        """Everything selected, then every change, for ever: errors are met with patience, silence with a new list."""
        ...


class Objects(Protocol):
    """What a reconciliation needs of a store. A write that meets another's raises `Conflict`."""

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        """As `Reader.read`."""
        ...

    async def write(self, desired: Desired) -> Existing:
        """Create, or replace exactly `desired.replaces`, keeping labels and annotations that are not ours."""
        ...

    async def preview(self, desired: Desired) -> Existing | None:
        """What `write` would store now, without storing it; None where that cannot be known."""
        ...

    async def delete(self, deletion: Deletion) -> None: ...

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace the status under the manifest's resourceVersion; the object as it is then."""
        ...

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Existence:
        """Whether the declared object with this UID, known `since` then, is gone for certain; or `unknown`."""
        ...


class Store(Reader, Objects, Protocol):
    """What the controller needs of one."""


@runtime_checkable
class Listener(Protocol):
    """A store that is far away, and tells when it was last heard."""

    def heard(self, kind: str) -> float | None:
        """Seconds since the epoch when what is followed of this kind last brought anything, were it only a sign of
        life; the earliest, where several selections are. None: nothing yet.
        """
        ...

    @property
    def contact(self) -> Contact:
        """Whether it answers."""
        ...


@runtime_checkable
class ServiceAccountIssuer(Protocol):
    """An API server, as the one that issues ServiceAccount tokens."""

    async def discover(self) -> tuple[str, Mapping[str, Any]]:
        """The `iss` of its tokens, and the JWKS that they verify with (OIDC discovery)."""
        ...

    async def review(self, token: str, audience: str) -> bool:
        """Whether it takes the token for this audience (TokenReview): its Pod and ServiceAccount are still there."""
        ...
