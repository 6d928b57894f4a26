"""The life of a client's credential: made, in the Secret, replaced, accepted through the overlap, gone.

A rotation is three writes, and a crash between any two of them leaves the client working: the new hash joins the
record, then the Secret changes, then the old hash gets its expiry.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from scopewright.api import OAuthClient, format_duration
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import ISSUE_TIME_ANNOTATION, SEAL_ANNOTATION, Existing
from scopewright.core.records import ClientRecord, Credential
from scopewright.core.seal import seal, verifies

SECRET_TYPE: Final = "servicebinding.io/oauth2"  # noqa: S105 (a type, not a secret)
MAX_CREDENTIALS: Final = 4
MAX_HEALS: Final = 3
HEAL_WINDOW: Final = timedelta(hours=1)
UNLANDED_GRACE: Final = timedelta(seconds=60)
"""A write of a process that has died or lost its Lease cannot arrive later than this: lease 8 s, request 30 s."""


class Standing(Enum):
    """What a Secret of the client's secret name is to us."""

    ABSENT = "absent"
    FOREIGN = "not ours"
    SEALED = "ours, as we left it"
    EDITED = "ours, and edited since"


def standing(
    existing: Existing | None, client: OAuthClient, record: ClientRecord | None, seal_key: bytes, issuer: str
) -> Standing:
    """Ours is what the OAuthClient's UID owns, or what nobody owns, if the seal verifies.

    Without its seal, only a Secret that the UID owns *and* that a record speaks of counts as ours: an owner
    reference is something that anybody who may create Secrets can write.
    """
    if existing is None:
        return Standing.ABSENT
    owned = client.metadata.uid in existing.owner_uids
    if existing.type != SECRET_TYPE or (existing.owner_uids and not owned):
        return Standing.FOREIGN
    expected = seal(
        seal_key, issuer, client.client_id, existing.annotations.get(ISSUE_TIME_ANNOTATION, ""), existing.entries
    )
    if verifies(existing.annotations.get(SEAL_ANNOTATION, ""), expected):
        return Standing.SEALED
    return Standing.EDITED if owned and record and record.credentials else Standing.FOREIGN


def landed(record: ClientRecord | None, existing: Existing | None, now: datetime) -> Credential | None:
    """The credential that the Secret holds and the record accepts without an end: the current one."""
    if record is None or existing is None:
        return None
    held = set(existing.entries.values())
    return next((c for c in record.credentials if c.sha256 in held and c.expiration_time is None), None)


def settled(
    credentials: tuple[Credential, ...],
    current: Credential | None,
    revoked_before: datetime | None,
    overlap: timedelta,
    now: datetime,
) -> tuple[Credential, ...]:
    """What the record should hold: nothing revoked, nothing expired, and an expiry on what `current` has replaced.

    The overlap counts from now, which is after the Secret's write was seen: later than it happened, never earlier.
    """
    kept: list[Credential] = []
    for c in credentials:
        if (revoked_before and c.issue_time < revoked_before) or not c.accepted_at(now):
            continue
        if current and c.expiration_time is None and c.issue_time < current.issue_time:
            c = Credential(c.sha256, c.issue_time, now + overlap)
        kept.append(c)
    return tuple(kept)


def with_new(
    credentials: tuple[Credential, ...], new: Credential, current: Credential | None, now: datetime
) -> tuple[Credential, ...]:
    """`new` beside the others, at most four in all. The current one always stays: the Secret holds it until it changes.

    What makes room is a hash that never reached a Secret, once its write can no longer arrive; else what expires first.
    """
    others = list(credentials)
    while len(others) >= MAX_CREDENTIALS:
        unlanded = [
            c for c in others if c != current and c.expiration_time is None and c.issue_time + UNLANDED_GRACE < now
        ]
        ending = sorted((c for c in others if c.expiration_time), key=lambda c: c.expiration_time or now)
        room = unlanded or ending
        if not room:
            raise Unavailable("four credentials are on their way already: waiting for one to arrive", retry_after=5)
        others.remove(room[0])
    return (*others, new)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a new credential is to be made."""

    reason: str
    message: str
    heal: bool = False


def cause_for_new(
    client: OAuthClient, record: ClientRecord | None, current: Credential | None, found: Standing, now: datetime
) -> Cause | None:
    """The reason to make a credential now, or None. Level-triggered: it asks what is, not what was done."""
    rotation = client.spec.rotation
    if record is None or not record.credentials:
        return Cause("CredentialIssued", f"a first credential is in Secret {client.secret_name}")
    if current is None:
        if rotation.revoked_before and all(c.issue_time < rotation.revoked_before for c in record.credentials):
            return Cause("CredentialRevoked", f"credentials issued before {rotation.revoked_before:%FT%TZ} are revoked")
        if record.secret_name != client.secret_name:
            return Cause("CredentialMoved", f"the credential moves to Secret {client.secret_name}")
        what = "was gone" if found is Standing.ABSENT else "no longer held the credential"
        return Cause("CredentialHealed", f"Secret {client.secret_name} {what}", heal=True)
    if rotation.revoked_before and current.issue_time < rotation.revoked_before:
        return Cause("CredentialRevoked", f"credentials issued before {rotation.revoked_before:%FT%TZ} are revoked")
    if rotate_value(client) not in ("", record.rotate):
        return Cause("CredentialRotated", "the annotation scopewright.dev/rotate asked for a new one")
    if not rotation.suspend and now >= current.issue_time + rotation.every:
        return Cause("CredentialRotated", f"it was {format_duration(rotation.every)} old")
    return None


def rotate_value(client: OAuthClient) -> str:
    return client.metadata.annotations.get("scopewright.dev/rotate", "")


def heals_after(record: ClientRecord | None, cause: Cause, now: datetime) -> tuple[datetime, ...]:
    """The heals of the last hour with this one, or `Rejected`: two controllers must not fight for ever."""
    recent = tuple(t for t in (record.heals if record else ()) if now - t < HEAL_WINDOW)
    if not cause.heal:
        return recent
    if len(recent) >= MAX_HEALS:
        raise Rejected(
            "HealingLimited",
            f"{cause.message}, and so {MAX_HEALS} times within an hour: find out what edits or deletes it; "
            f"healing goes on at {min(recent) + HEAL_WINDOW:%FT%TZ}",
        )
    return (*recent, now)
