"""Secrets and ConfigMaps as the core sees them: what exists, as digests, and what is to be written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "scopewright"
CLIENT_LABEL: Final = "scopewright.dev/client"
"""On credential Secrets: the name of the OAuthClient. It selects the watch and proves nothing."""

SEAL_ANNOTATION: Final = "scopewright.dev/seal"
ISSUE_TIME_ANNOTATION: Final = "scopewright.dev/issue-time"
PUBLIC_KEY_ANNOTATION: Final = "scopewright.dev/public-key"
"""On credential Secrets with a key pair: the public JWK, which a restored Secret must bring along."""
PAUSED_ANNOTATION: Final = "scopewright.dev/paused"
ROTATE_ANNOTATION: Final = "scopewright.dev/rotate"

OwnedKind = Literal["Secret", "ConfigMap"]
FollowedKind = OwnedKind | Literal["ServiceAccount"]
"""The last is only looked at."""


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether the object's owner has told us to leave it alone."""
    return annotations.get(PAUSED_ANNOTATION) == "true"


def digest(value: bytes | str) -> str:
    """SHA-256 as hex: what is kept of an entry once it is written."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Where an object is. `kind` is `Secret`, `ConfigMap`, `ServiceAccount`, or one of the four kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference of a kind of ours; it never blocks the owner's deletion."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Existing:
    """An object as read: its entries are digests only, so that nothing secret stays in memory."""

    ref: Ref
    uid: str
    resource_version: str
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner_uids: tuple[str, ...] = ()
    entries: Mapping[str, str] = field(default_factory=dict)
    creation_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that stays as it is, under whatever name it had: the writer copies it, if its digest is still this."""

    entry: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Desired:
    """A Secret or ConfigMap to be written: created, or, with `replaces`, put in place of exactly that version.

    Labels and annotations are added to what is there; entries and type are the whole content.
    """

    ref: Ref
    entries: Mapping[str, bytes | Kept] = field(repr=False)
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    replaces: Existing | None = None

    def digests(self) -> dict[str, str]:
        return {name: v.sha256 if isinstance(v, Kept) else digest(v) for name, v in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to be deleted, if it is still exactly that version."""

    existing: Existing


Write = Desired | Deletion


def in_place(desired: Desired) -> bool:
    """Whether what it replaces is like that already: the same entries, and at least these labels and annotations."""
    existing = desired.replaces
    return (
        existing is not None
        and desired.digests() == dict(existing.entries)
        and desired.labels.items() <= existing.labels.items()
        and desired.annotations.items() <= existing.annotations.items()
        and (desired.owner is None or desired.owner.uid in existing.owner_uids)
    )
