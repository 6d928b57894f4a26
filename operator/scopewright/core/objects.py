"""Secrets and ConfigMaps in the core: existing ones, with digests for entries, and writes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from scopewright.core.failures import Conflict

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "scopewright"
CLIENT_LABEL: Final = "scopewright.dev/client"
"""On credential Secrets: the name of the OAuthClient. The watch selects by it; it is not proof of ownership."""

SEAL_ANNOTATION: Final = "scopewright.dev/seal"
ISSUE_TIME_ANNOTATION: Final = "scopewright.dev/issue-time"
PUBLIC_KEY_ANNOTATION: Final = "scopewright.dev/public-key"
"""On credential Secrets with a key pair: the public JWK, which is needed when a Secret is restored."""
TEMPLATE_ANNOTATION: Final = "scopewright.dev/template"
"""On credential Secrets: the keys of labels and annotations that come from `secretTemplate`, as JSON."""
DELETION_POLICY_ANNOTATION: Final = "scopewright.dev/deletion-policy"
"""On credential Secrets that outlive their OAuthClient: `Retain`. The seal covers it."""
RETAIN: Final = "Retain"
ROTATE_DIGEST_ANNOTATION: Final = "scopewright.dev/rotate-digest"
"""On the same Secrets: the SHA-256 of the value of `scopewright.dev/rotate` when the credential was created, if it had
one. The seal covers it.
"""
PAUSED_ANNOTATION: Final = "scopewright.dev/paused"
ROTATE_ANNOTATION: Final = "scopewright.dev/rotate"
MAX_ROTATE: Final = 64
"""Length of the longest value that is stored unchanged: that of a SHA-256 in hex."""

ManagedKind = Literal["Secret", "ConfigMap"]
FollowedKind = ManagedKind | Literal["ServiceAccount"]
"""ServiceAccounts are only read."""


def is_paused(annotations: Mapping[str, str]) -> bool:
    return annotations.get(PAUSED_ANNOTATION) == "true"


def bounded_rotate(value: str) -> str:
    """Return a value of `scopewright.dev/rotate` as it is stored: the SHA-256 of one longer than 64 characters."""
    return value if len(value) <= MAX_ROTATE else digest(value)


def requested_rotation(annotations: Mapping[str, str]) -> str:
    """Return the value of `scopewright.dev/rotate` as `bounded_rotate` does; empty if it is not set."""
    return bounded_rotate(annotations.get(ROTATE_ANNOTATION, ""))


def digest(value: bytes | str) -> str:
    """Return the SHA-256 in hex, which stands for an entry that was read or written."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Reference to an object. `kind` is `Secret`, `ConfigMap`, `ServiceAccount`, or one of the five kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner reference to one of the five kinds; it never blocks the owner's deletion."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Existing:
    """An object that was read. Its entries are digests, so that no secret stays in memory."""

    ref: Ref
    uid: str
    resource_version: str
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner_uids: tuple[str, ...] = ()
    entries: Mapping[str, str] = field(default_factory=dict)
    creation_time: datetime | None = None
    managers: tuple[str, ...] = ()
    """Field managers (Kubernetes' managedFields) other than Scopewright, latest first."""

    @property
    def is_retained(self) -> bool:
        """Whether its annotation says that it outlives its OAuthClient. That is proof only if its seal verifies."""
        return self.annotations.get(DELETION_POLICY_ANNOTATION) == RETAIN


@dataclass(frozen=True, slots=True)
class PreservedEntry:
    """An entry whose value a write keeps: the store copies that of `entry`, if its digest is still `sha256`."""

    entry: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Desired:
    """A Secret or ConfigMap to create, or to write in place of exactly the version `replaces`.

    Labels and annotations are merged with the existing ones; the keys in `without_labels` and `without_annotations` are
    removed. Entries and type replace the whole content. The owner reference with the UID `without_owner` is removed.
    """

    ref: Ref
    entries: Mapping[str, bytes | PreservedEntry] = field(repr=False)
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    replaces: Existing | None = None
    without_labels: frozenset[str] = frozenset()
    without_annotations: frozenset[str] = frozenset()
    without_owner: str = ""

    def labels_onto(self, before: Mapping[str, str]) -> dict[str, str]:
        """Return the labels after the write, given those before it."""
        return {**{k: v for k, v in before.items() if k not in self.without_labels}, **self.labels}

    def annotations_onto(self, before: Mapping[str, str]) -> dict[str, str]:
        """Return the annotations after the write, given those before it."""
        return {**{k: v for k, v in before.items() if k not in self.without_annotations}, **self.annotations}

    def owner_uids_onto(self, before: tuple[str, ...]) -> tuple[str, ...]:
        """Return the UIDs of the owners after the write, given those before it."""
        others = tuple(uid for uid in before if uid != self.without_owner)
        return others if self.owner is None or self.owner.uid in others else (*others, self.owner.uid)

    @property
    def changes_nothing(self) -> bool:
        """Whether the object that it replaces needs no change."""
        return self.replaces is not None and not differences(self, self.replaces)

    def digests(self) -> dict[str, str]:
        return {name: v.sha256 if isinstance(v, PreservedEntry) else digest(v) for name, v in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to delete, if it is still exactly that version."""

    existing: Existing


Write = Desired | Deletion


def contains_desired(existing: Existing | None, desired: Desired) -> bool:
    """Whether the object has all that is to be written, and perhaps more."""
    return (
        existing is not None
        and desired.digests().items() <= existing.entries.items()
        and desired.labels.items() <= existing.labels.items()
        and desired.annotations.items() <= existing.annotations.items()
    )


def require_unchanged(ref: Ref, current: Existing | None, read: Existing | None) -> None:
    """Raise `Conflict` unless the stored object is the version that was read; None: it does not exist."""
    if (current and (current.uid, current.resource_version)) != (read and (read.uid, read.resource_version)):
        raise Conflict(f"{ref} has changed since it was read" if read else f"{ref} exists already")


def is_progress(desired: Desired, stored: Existing) -> bool:
    """Whether a write that another program altered, with the result `stored`, is still worth making.

    It is if a new entry arrives unchanged or, without new entries, if the object has fewer differences than before.
    """
    before = desired.replaces
    new = desired.digests().items() - (before.entries.items() if before else set())
    if new or before is None:
        return bool(new & stored.entries.items())
    return len(differences(desired, stored)) < len(differences(desired, before))


def differences(desired: Desired, existing: Existing) -> tuple[str, ...]:
    """Describe the differences between an object and its desired state, without values. Additional labels and
    annotations are not differences, unless they are to be removed.
    """
    wanted, found = desired.digests(), existing.entries
    return (
        *(("type is different",) if existing.type != desired.type else ()),
        *(f"entry {name} was added" for name in sorted(found.keys() - wanted.keys())),
        *(f"entry {name} is missing" for name in sorted(wanted.keys() - found.keys())),
        *(f"entry {name} was changed" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]),
        *_metadata_differences("label", existing.labels, desired.labels, desired.without_labels),
        *_metadata_differences("annotation", existing.annotations, desired.annotations, desired.without_annotations),
        *(
            ("owner references were changed",)
            if set(desired.owner_uids_onto(existing.owner_uids)) != set(existing.owner_uids)
            else ()
        ),
    )


def _metadata_differences(
    what: str, found: Mapping[str, str], wanted: Mapping[str, str], unwanted: frozenset[str]
) -> Iterator[str]:
    for key, value in wanted.items():
        if found.get(key) != value:
            yield f"{what} {key} {'was changed' if key in found else 'is missing'}"
    yield from (f"{what} {key} was added" for key in sorted(unwanted & found.keys()))
