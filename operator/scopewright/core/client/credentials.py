"""Life cycle of a client's credential: created, in the Secret, replaced, accepted through the overlap, ended.

A rotation is three writes, and the client works after a crash between any two of them: the record gets the new
digest, then the Secret changes, then the old digest gets its expiry.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final

from scopewright.api import OAuthClient
from scopewright.api.rotation import Rotation
from scopewright.api.times import format_duration
from scopewright.core.client.authentication import brings_own_credential, is_public, kind_of, managed_kind
from scopewright.core.client.seal import seal, verifies
from scopewright.core.client.windows import first_opening
from scopewright.core.failures import Unavailable
from scopewright.core.objects import (
    CLIENT_LABEL,
    ISSUE_TIME_ANNOTATION,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    Existing,
    is_paused,
    requested_rotation,
)
from scopewright.core.records.client import ClientRecord, Credential

SECRET_TYPE: Final = "servicebinding.io/oauth2"  # noqa: S105 (a type, not a secret)
MAX_CREDENTIALS: Final = 4
UNCONFIRMED_GRACE: Final = timedelta(seconds=60)
"""Time after which no write of a dead process or a former leader can arrive: at most 30 s of Lease, and 30 s for a
request."""


class SecretOwnership(Enum):
    """Relation of an existing Secret with the client's secret name to Scopewright."""

    ABSENT = "absent"
    FOREIGN = "not managed for this client"
    SEALED = "managed, unchanged since the last write"
    EDITED = "managed, edited since the last write"


def secret_ownership(
    existing: Existing | None, client: OAuthClient, record: ClientRecord | None, seal_key: bytes, issuer: str
) -> SecretOwnership:
    """Return whether the Secret is managed for this client.

    A Secret whose seal verifies is, if the OAuthClient's UID owns it, it has no owner, or it is retained.

    Without a valid seal, the UID must own the Secret, or it must be retained for this client, *and* a record must show
    that the client had a Secret: any user who may create Secrets can write owners and annotations.
    """
    if existing is None:
        return SecretOwnership.ABSENT
    if _is_taken(existing, client):
        return SecretOwnership.FOREIGN
    annotations, retained = existing.annotations, existing.is_retained
    issue_time, public_key = annotations.get(ISSUE_TIME_ANNOTATION, ""), annotations.get(PUBLIC_KEY_ANNOTATION, "")
    expected = seal(
        seal_key, issuer, client.client_id, issue_time, existing.entries, public_key,
        retained=retained, rotate=annotations.get(ROTATE_DIGEST_ANNOTATION, "") if retained else "",
    )  # fmt: skip
    if verifies(annotations.get(SEAL_ANNOTATION, ""), expected):
        return SecretOwnership.SEALED
    had_secret = record is not None and (bool(record.credentials) or brings_own_credential(record))
    owned = client.metadata.uid in existing.owner_uids
    retained_for_client = retained and existing.labels.get(CLIENT_LABEL) == client.name
    return SecretOwnership.EDITED if (owned or retained_for_client) and had_secret else SecretOwnership.FOREIGN


def _is_taken(existing: Existing, client: OAuthClient) -> bool:
    """Whether its type or its owners exclude that it is managed for this client."""
    other_owner = existing.owner_uids and client.metadata.uid not in existing.owner_uids
    return existing.type != SECRET_TYPE or (bool(other_owner) and not existing.is_retained)


def current_credential(record: ClientRecord | None, existing: Existing | None) -> Credential | None:
    """Return the credential that the Secret holds and the record accepts without an end."""
    if record is None or existing is None:
        return None
    digests = set(existing.entries.values())
    return next((c for c in record.credentials if c.sha256 in digests and c.expiration_time is None), None)


def add_credential(
    credentials: tuple[Credential, ...],
    new: Credential,
    current: Credential | None,
    now: datetime,
    last_unanswered: datetime | None = None,
) -> tuple[Credential, ...]:
    """Return the credentials with `new`, at most four in all. `current` always stays: the Secret holds it.

    If there are four, a digest that never reached a Secret is dropped, once its write can no longer arrive. A rotation
    does not shorten an overlap; it waits. Without a Secret no Pod can start: then the digest that expires first is
    dropped instead, then the latest one. The oldest digest without an end stays, because Pods may hold it.

    A write with an unknown outcome may arrive until UNCONFIRMED_GRACE after `last_unanswered`. Raise `Unavailable` if
    none can be dropped.
    """
    others = list(credentials)
    while len(others) >= MAX_CREDENTIALS:
        unconfirmed = [
            c for c in others if c != current and c.expiration_time is None and _cannot_arrive(c, last_unanswered, now)
        ]
        ending = sorted((c for c in others if c.expiration_time), key=lambda c: c.expiration_time or now)
        oldest = next((c for c in others if c.expiration_time is None), None)
        droppable = unconfirmed if current else [*ending, *(c for c in reversed(unconfirmed) if c != oldest)]
        if not droppable:
            raise Unavailable(
                "four credentials are accepted or pending, the maximum: waiting for one to end", retry_after=5
            )
        others.remove(droppable[0])
    return (*others, new)


def _cannot_arrive(credential: Credential, last_unanswered: datetime | None, now: datetime) -> bool:
    sent = max(credential.issue_time, last_unanswered) if last_unanswered else credential.issue_time
    return sent + UNCONFIRMED_GRACE < now


def next_free_time(credentials: tuple[Credential, ...], current: Credential | None, now: datetime) -> datetime:
    """Return when, at the latest, one of four credentials can be dropped for another. It is after `now`."""
    ends = (c.expiration_time or c.issue_time + UNCONFIRMED_GRACE for c in credentials if c != current)
    return min((end for end in ends if end > now), default=now + UNCONFIRMED_GRACE)


class CauseKind(StrEnum):
    """Why a credential is created, as a label of metrics."""

    FIRST = "first"
    AGE = "age"
    ANNOTATION = "rotate_annotation"
    REVOKED_BEFORE = "revoked_before"
    HEAL = "heal"
    METHOD = "method_change"
    SECRET_NAME = "secret_name"  # noqa: S105 (a field of the spec)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a new credential is due."""

    reason: str
    message: str
    kind: CauseKind

    @property
    def heal(self) -> bool:
        return self.kind is CauseKind.HEAL


def cause_for_new(
    client: OAuthClient,
    record: ClientRecord | None,
    current: Credential | None,
    ownership: SecretOwnership,
    now: datetime,
) -> Cause | None:
    """Return why a new credential is due, or None. It depends on the current state only."""
    before = revoked_before(client, now)
    if record is None or not record.credentials or (current is None and brings_own_credential(record)):
        return Cause("CredentialIssued", f"a first credential is in Secret {client.secret_name}", CauseKind.FIRST)
    known = (current,) if current else record.credentials
    if before and all(c.issue_time < before for c in known):
        message = f"credentials issued before {before:%FT%TZ} are revoked"
        return Cause("CredentialRevoked", message, CauseKind.REVOKED_BEFORE)
    if current is None and record.secret_name != client.secret_name:
        message = f"the credential moves to Secret {client.secret_name}"
        return Cause("CredentialMoved", message, CauseKind.SECRET_NAME)
    if current is None and rotate_request(client) not in ("", record.credentials[-1].rotate):
        return _requested_rotation()
    if current is None:
        what = "was deleted" if ownership is SecretOwnership.ABSENT else "no longer held the credential"
        return Cause("CredentialHealed", f"Secret {client.secret_name} {what}", CauseKind.HEAL)
    if not client.spec.disabled and kind_of(current) != (wanted := managed_kind(client)):
        return Cause("CredentialChanged", f"the method changed, and needs a {wanted}", CauseKind.METHOD)
    return cause_to_rotate(client, current, now)


def overdue_cause(
    client: OAuthClient, record: ClientRecord | None, existing: Existing | None, now: datetime
) -> Cause | None:
    """Return why a new credential is due, by the record and the Secret's digests.

    It does not check the seal, so that it is cheap enough for every client. None if the client is paused or public, or
    if its Secret's name is taken.
    """
    meta = client.metadata
    if is_paused(meta.annotations) or meta.deletion_timestamp:
        return None
    own = record if record and record.uid == client.uid else None
    if is_public(client):
        return None
    current = current_credential(own, existing)
    if managed_kind(client) is None:
        return cause_to_rotate(client, current, now) if current else None
    if current is None and existing is not None and _is_taken(existing, client):
        return None
    return cause_for_new(client, own, current, SecretOwnership.EDITED if existing else SecretOwnership.ABSENT, now)


def cause_to_rotate(client: OAuthClient, current: Credential, now: datetime) -> Cause | None:
    """Return why the current credential is due for rotation, or None."""
    if client.spec.disabled:
        return None
    if rotate_request(client) not in ("", current.rotate):
        return _requested_rotation()
    rotation = client.spec.rotation
    if now < current.issue_time + rotation.every:
        return None  # windows are looked up only for a credential of that age: each resync asks about all clients
    due = rotation_time(rotation, current, now)
    if due is not None and now >= due:
        message = f"the credential was {format_duration(rotation.every)} old"
        return Cause("CredentialRotated", message, CauseKind.AGE)
    return None


def _requested_rotation() -> Cause:
    message = "the annotation scopewright.dev/rotate requested a new credential"
    return Cause("CredentialRotated", message, CauseKind.ANNOTATION)


def rotation_time(rotation: Rotation, current: Credential, now: datetime) -> datetime | None:
    """Return when the current credential is rotated by its age: when it is due, or in the first window after that."""
    if rotation.suspend:
        return None
    due = current.issue_time + rotation.every
    return first_opening(rotation.windows, max(due, now)) if rotation.windows else due


def revoked_before(client: OAuthClient, now: datetime) -> datetime | None:
    """Return `spec.rotation.revokedBefore` once that time has come. Before, it would revoke new credentials too."""
    before = client.spec.rotation.revoked_before
    return before if before and before <= now else None


def latest(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant), default=None)


def rotate_request(client: OAuthClient) -> str:
    return requested_rotation(client.metadata.annotations)
