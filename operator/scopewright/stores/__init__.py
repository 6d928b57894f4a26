"""Interface of the stores of objects: a Kubernetes API server, or a directory."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from scopewright.core.objects import Deletion, Desired, Existing, FollowedKind, Ref
from scopewright.stores.contact import Contact

Existence = Literal["present", "deleted", "unknown"]
"""Whether a declared object exists; `unknown` where neither is proven."""

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
    """An object of the selection was created or changed, or is `deleted`. The store keeps no `entries`."""

    existing: Existing
    entries: Entries = field(repr=False)
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ListCompleted:
    """Sent after each list. Objects followed before that are not among `refs` are deleted.

    `version` is the resourceVersion of the list: objects newer than it are not affected.
    """

    refs: frozenset[Ref]
    version: str = ""


class Reader(Protocol):
    """The store as an issuer uses it."""

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        """The current object, or None. `Rejected` names a missing right; other failures are `Unavailable`."""
        ...

    def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        """All selected objects, then every change, without end: errors are retried, and a silent watch is replaced."""
        ...


class Objects(Protocol):
    """The store as a reconciliation uses it. A write raises `Conflict` where the object has changed."""

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        """As `Reader.read`."""
        ...

    async def write(self, desired: Desired) -> Existing:
        """Create, or replace exactly `desired.replaces`; labels and annotations of other owners stay."""
        ...

    async def preview(self, desired: Desired) -> Existing | None:
        """The object that `write` would store (dry run); None where the store has no dry run."""
        ...

    async def delete(self, deletion: Deletion) -> None: ...

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace the status under the manifest's resourceVersion; returns the stored object."""
        ...

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Existence:
        """Whether the declared object with this UID, last seen at `since`, is deleted for certain."""
        ...


class Store(Reader, Objects, Protocol):
    """The store as the controller uses it."""


@runtime_checkable
class Listener(Protocol):
    """A remote store that reports when it last answered."""

    def last_activity(self, kind: str) -> float | None:
        """Return when the stream of this kind last delivered an event or a bookmark, in seconds since the epoch; the
        earliest of several streams, None before the first event.
        """
        ...

    @property
    def contact(self) -> Contact: ...


@runtime_checkable
class ServiceAccountIssuer(Protocol):
    """An API server, as the one that issues ServiceAccount tokens."""

    async def discover(self) -> tuple[str, Mapping[str, Any]]:
        """Return the `iss` of its tokens and the JWKS that verifies them (OIDC discovery)."""
        ...

    async def review(self, token: str, audience: str) -> bool:
        """Whether it accepts the token for this audience (TokenReview): its Pod and ServiceAccount exist."""
        ...
