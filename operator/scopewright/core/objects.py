"""Secrets and ConfigMaps as the core sees them: what exists, as digests, and what is to be written."""

import hashlib
from collections.abc import Iterator, Mapping
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
TEMPLATE_ANNOTATION: Final = "scopewright.dev/template"
"""On credential Secrets: the keys of labels and annotations that come from `secretTemplate`, as JSON."""
DELETION_POLICY_ANNOTATION: Final = "scopewright.dev/deletion-policy"
"""On credential Secrets that outlive their OAuthClient: `Retain`. The seal covers it."""
RETAIN: Final = "Retain"
ROTATE_DIGEST_ANNOTATION: Final = "scopewright.dev/rotate-digest"
"""On the same Secrets: the SHA-256 of the value of `scopewright.dev/rotate` that the credential was made for, if there
was one. The seal covers it.
"""
PAUSED_ANNOTATION: Final = "scopewright.dev/paused"
ROTATE_ANNOTATION: Final = "scopewright.dev/rotate"
MAX_ROTATE: Final = 64
"""Characters of its value that are kept as they are: as many as a SHA-256 in hex has."""

OwnedKind = Literal["Secret", "ConfigMap"]
FollowedKind = OwnedKind | Literal["ServiceAccount"]
"""The last is only looked at."""


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether the object's owner has told us to leave it alone."""
    return annotations.get(PAUSED_ANNOTATION) == "true"


def bounded_rotate(value: str) -> str:
    """A value of `scopewright.dev/rotate` as it is compared and kept: one longer than 64 characters as its SHA-256."""
    return value if len(value) <= MAX_ROTATE else digest(value)


def requested_rotation(annotations: Mapping[str, str]) -> str:
    """What `scopewright.dev/rotate` asks for, as `bounded_rotate`; empty where it is not set."""
    return bounded_rotate(annotations.get(ROTATE_ANNOTATION, ""))


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
    managers: tuple[str, ...] = ()
    """Field managers (Kubernetes' managedFields) other than Scopewright, the last one first."""

    @property
    def is_retained(self) -> bool:
        """Whether it says that it outlives its OAuthClient, whatever other owners it has. That proves nothing unless
        its seal verifies.
        """
        return self.annotations.get(DELETION_POLICY_ANNOTATION) == RETAIN


@dataclass(frozen=True, slots=True)
class PreservedEntry:
    """An entry that stays as it is, under whatever name it had: the writer copies it, if its digest is still this."""

    entry: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Desired:
    """A Secret or ConfigMap to be written: created, or, with `replaces`, put in place of exactly that version.

    Labels and annotations are added to what is there, without the keys in `without_labels` and `without_annotations`.
    Entries and type are the whole content. The owner reference with the UID `without_owner` is removed.
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
        """The labels that the object has after the write, where it had these."""
        return {**{k: v for k, v in before.items() if k not in self.without_labels}, **self.labels}

    def annotations_onto(self, before: Mapping[str, str]) -> dict[str, str]:
        """The same for annotations."""
        return {**{k: v for k, v in before.items() if k not in self.without_annotations}, **self.annotations}

    def owner_uids_onto(self, before: tuple[str, ...]) -> tuple[str, ...]:
        """The same for the UIDs of its owners."""
        others = tuple(uid for uid in before if uid != self.without_owner)
        return others if self.owner is None or self.owner.uid in others else (*others, self.owner.uid)

    def digests(self) -> dict[str, str]:
        return {name: v.sha256 if isinstance(v, PreservedEntry) else digest(v) for name, v in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to be deleted, if it is still exactly that version."""

    existing: Existing


Write = Desired | Deletion


def holds(existing: Existing | None, desired: Desired) -> bool:
    """Whether everything that is to be written is there, whatever else is."""
    return (
        existing is not None
        and desired.digests().items() <= existing.entries.items()
        and desired.labels.items() <= existing.labels.items()
        and desired.annotations.items() <= existing.annotations.items()
    )


def is_progress(desired: Desired, stored: Existing) -> bool:
    """Whether a write that others alter, so that it ends as `stored`, is worth making: some entry is new and arrives
    as it was written or, where no entry is new, less of the object differs from what it should be than before.
    """
    before = desired.replaces
    new = desired.digests().items() - (before.entries.items() if before else set())
    if new or before is None:
        return bool(new & stored.entries.items())
    return len(differences(desired, stored)) < len(differences(desired, before))


def in_place(desired: Desired) -> bool:
    """Whether what it replaces is like that already."""
    return desired.replaces is not None and not differences(desired, desired.replaces)


def differences(desired: Desired, existing: Existing) -> tuple[str, ...]:
    """What of an object is not as it is to be, in words, without any value. Additional labels and annotations are not
    a difference, unless they are to be removed.
    """
    wanted, found = desired.digests(), existing.entries
    return (
        *(("type is another",) if existing.type != desired.type else ()),
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
