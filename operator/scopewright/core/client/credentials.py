"""The life of a client's credential: made, in the Secret, replaced, accepted through the overlap, gone.

A rotation is three writes, and a crash between any two of them leaves the client working: the new hash joins the
record, then the Secret changes, then the old hash gets its expiry.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final

from scopewright.api import OAuthClient, format_duration
from scopewright.api.rotation import Rotation
from scopewright.core.client.authentication import brings_own_credential, kind_of, managed_kind
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
from scopewright.core.records import ClientRecord, Credential

SECRET_TYPE: Final = "servicebinding.io/oauth2"  # noqa: S105 (a type, not a secret)
MAX_CREDENTIALS: Final = 4
UNCONFIRMED_GRACE: Final = timedelta(seconds=60)
"""A write of a process that has died or lost its Lease cannot arrive later than this: a Lease of 30 s at most, and 30 s
for a request."""


class SecretOwnership(Enum):
    """What a Secret of the client's secret name is to us."""

    ABSENT = "absent"
    FOREIGN = "not ours"
    SEALED = "ours, as we left it"
    EDITED = "ours, and edited since"


def secret_ownership(
    existing: Existing | None, client: OAuthClient, record: ClientRecord | None, seal_key: bytes, issuer: str
) -> SecretOwnership:
    """A Secret is the client's if its seal verifies, and if the OAuthClient's UID owns it, it has no owner, or it says
    that it outlives this client, whatever other owners it has.

    Without its seal, only a Secret that the UID owns, or that says it outlives this client, *and* that a record speaks
    of is the client's: everyone who may create Secrets can write both.
    """
    if existing is None:
        return SecretOwnership.ABSENT
    if _is_taken(existing, client):
        return SecretOwnership.FOREIGN
    stated, retained = existing.annotations, existing.is_retained
    issue_time, public_key = stated.get(ISSUE_TIME_ANNOTATION, ""), stated.get(PUBLIC_KEY_ANNOTATION, "")
    expected = seal(
        seal_key, issuer, client.client_id, issue_time, existing.entries, public_key,
        retained=retained, rotate=stated.get(ROTATE_DIGEST_ANNOTATION, "") if retained else "",
    )  # fmt: skip
    if verifies(stated.get(SEAL_ANNOTATION, ""), expected):
        return SecretOwnership.SEALED
    spoken_of = record is not None and (bool(record.credentials) or brings_own_credential(record))
    owned = client.metadata.uid in existing.owner_uids
    outlives = retained and existing.labels.get(CLIENT_LABEL) == client.name
    return SecretOwnership.EDITED if (owned or outlives) and spoken_of else SecretOwnership.FOREIGN


def _is_taken(existing: Existing, client: OAuthClient) -> bool:
    """Whether its type or its owners show that it is not managed for this client."""
    of_others = existing.owner_uids and client.metadata.uid not in existing.owner_uids
    return existing.type != SECRET_TYPE or (bool(of_others) and not existing.is_retained)


def current_credential(record: ClientRecord | None, existing: Existing | None) -> Credential | None:
    """The credential that the Secret holds and the record accepts without an end: the current one."""
    if record is None or existing is None:
        return None
    held = set(existing.entries.values())
    return next((c for c in record.credentials if c.sha256 in held and c.expiration_time is None), None)


def add_credential(
    credentials: tuple[Credential, ...],
    new: Credential,
    current: Credential | None,
    now: datetime,
    quiet_since: datetime | None = None,
) -> tuple[Credential, ...]:
    """`new` beside the others, at most four in all. The current one always stays: the Secret holds it until it changes.

    What makes room is a hash that never reached a Secret, once its write can no longer arrive; an overlap is not cut
    short by a rotation, which waits. Without a Secret no Pod can start: what expires first makes room then, then the
    latest hash; the oldest without an end is what Pods hold, and stays however often the Secret's write fails.

    A write with an unknown outcome, of this process or an earlier leader, may arrive until a while after `quiet_since`.
    """
    others = list(credentials)
    while len(others) >= MAX_CREDENTIALS:
        unlanded = [
            c for c in others if c != current and c.expiration_time is None and _cannot_arrive(c, quiet_since, now)
        ]
        ending = sorted((c for c in others if c.expiration_time), key=lambda c: c.expiration_time or now)
        held = next((c for c in others if c.expiration_time is None), None)
        room = unlanded if current else [*ending, *(c for c in reversed(unlanded) if c != held)]
        if not room:
            raise Unavailable("four credentials are accepted or on their way: waiting for one to end", retry_after=5)
        others.remove(room[0])
    return (*others, new)


def _cannot_arrive(unlanded: Credential, quiet_since: datetime | None, now: datetime) -> bool:
    sent = max(unlanded.issue_time, quiet_since) if quiet_since else unlanded.issue_time
    return sent + UNCONFIRMED_GRACE < now


def next_free_time(credentials: tuple[Credential, ...], current: Credential | None, now: datetime) -> datetime:
    """When, at the latest, one of four credentials makes room for another: later than `now`."""
    ends = (c.expiration_time or c.issue_time + UNCONFIRMED_GRACE for c in credentials if c != current)
    return min((end for end in ends if end > now), default=now + UNCONFIRMED_GRACE)


class CauseKind(StrEnum):
    """Why a credential is made, as metrics name it."""

    FIRST = "first"
    AGE = "age"
    ANNOTATION = "rotate_annotation"
    REVOKED_BEFORE = "revoked_before"
    HEAL = "heal"
    METHOD = "method_change"
    SECRET_NAME = "secret_name"  # noqa: S105 (a field of the spec)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a new credential is to be made."""

    reason: str
    message: str
    kind: CauseKind

    @property
    def heal(self) -> bool:
        return self.kind is CauseKind.HEAL


def cause_for_new(
    client: OAuthClient, record: ClientRecord | None, current: Credential | None, found: SecretOwnership, now: datetime
) -> Cause | None:
    """The reason to make a credential now, or None. Level-triggered: it asks what is, not what was done."""
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
    if current is None and rotate_value(client) not in ("", record.credentials[-1].rotate):
        return _asked_for()
    if current is None:
        what = "was gone" if found is SecretOwnership.ABSENT else "no longer held the credential"
        return Cause("CredentialHealed", f"Secret {client.secret_name} {what}", CauseKind.HEAL)
    if not client.spec.disabled and kind_of(current) != (wanted := managed_kind(client)):
        return Cause("CredentialChanged", f"the method changed, and asks for a {wanted}", CauseKind.METHOD)
    return cause_to_rotate(client, current, now)


def overdue_cause(
    client: OAuthClient, record: ClientRecord | None, existing: Existing | None, now: datetime
) -> Cause | None:
    """The reason why another credential is due, as far as the record and the Secret's digests show it.

    Seals are not checked, so that it costs little to ask for every client. None where the client is paused or its
    Secret's name is taken.
    """
    meta = client.metadata
    if is_paused(meta.annotations) or meta.deletion_timestamp:
        return None
    own = record if record and record.uid == client.uid else None
    current = current_credential(own, existing)
    if managed_kind(client) is None:
        return cause_to_rotate(client, current, now) if current else None
    if current is None and existing is not None and _is_taken(existing, client):
        return None
    return cause_for_new(client, own, current, SecretOwnership.EDITED if existing else SecretOwnership.ABSENT, now)


def cause_to_rotate(client: OAuthClient, current: Credential, now: datetime) -> Cause | None:
    """The reason to make another one of its kind."""
    if client.spec.disabled:
        return None
    if rotate_value(client) not in ("", current.rotate):
        return _asked_for()
    due = rotation_time(client.spec.rotation, current, now)
    if due is not None and now >= due:
        message = f"it was {format_duration(client.spec.rotation.every)} old"
        return Cause("CredentialRotated", message, CauseKind.AGE)
    return None


def _asked_for() -> Cause:
    message = "the annotation scopewright.dev/rotate asked for a new one"
    return Cause("CredentialRotated", message, CauseKind.ANNOTATION)


def rotation_time(rotation: Rotation, current: Credential, now: datetime) -> datetime | None:
    """When the current credential gives way by its age: when it is due, or when the next window opens after that."""
    if rotation.suspend:
        return None
    due = current.issue_time + rotation.every
    return first_opening(rotation.windows, max(due, now)) if rotation.windows else due


def revoked_before(client: OAuthClient, now: datetime) -> datetime | None:
    """`spec.rotation.revokedBefore`, once that instant has come: what is made before it would be revoked by it."""
    before = client.spec.rotation.revoked_before
    return before if before and before <= now else None


def latest(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant), default=None)


def rotate_value(client: OAuthClient) -> str:
    return requested_rotation(client.metadata.annotations)
