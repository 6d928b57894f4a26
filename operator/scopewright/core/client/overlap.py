"""How long a credential that has been replaced goes on working: its overlap, and longer on evidence of its use."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from scopewright.api.rotation import Rotation
from scopewright.core.records import Credential

LAST_CHECK: Final = timedelta(seconds=5)

LastUse = Mapping[str, datetime]
"""When credentials were last used, by their SHA-256; what nobody has reported is left out. A hint, never more."""


def apply_overlap(
    credentials: tuple[Credential, ...],
    current: Credential | None,
    before: datetime | None,
    rotation: Rotation,
    last_use: LastUse,
    now: datetime,
    *,
    unneeded: bool = False,
) -> tuple[Credential, ...]:
    """What the record should hold: nothing revoked, nothing expired, and an expiry on what `current` has replaced, or
    on all of them where, without a current one, credentials are `unneeded`.

    The overlap counts from now, which is after the Secret's write was seen: later than it happened, never earlier.
    """
    replaced = credentials[: credentials.index(current)] if current else credentials if unneeded else ()
    latest = current or (credentials[-1] if credentials else None)
    kept = [c for c in credentials if c.accepted_at(now) and not (before and c.issue_time < before)]
    return tuple(_extend_overlap(c, latest, rotation, last_use, now) if latest and c in replaced else c for c in kept)


def _extend_overlap(
    credential: Credential, latest: Credential, rotation: Rotation, last_use: LastUse, now: datetime
) -> Credential:
    if credential.expiration_time is None:
        return replace(credential, replaced_time=now, expiration_time=now + rotation.overlap)
    if now < decision_time(credential, rotation) or not can_extend(credential, latest, rotation):
        return credential
    used = last_use.get(credential.sha256)
    if used is None or used < now - step(rotation):
        return credential
    return replace(
        credential, expiration_time=min(credential.expiration_time + step(rotation), _limit(credential, rotation))
    )


def can_extend(credential: Credential, latest: Credential, rotation: Rotation) -> bool:
    """Whether use can lengthen its overlap: not after `scopewright.dev/rotate`, for the use may be an attacker's."""
    ends = credential.expiration_time
    return ends is not None and credential.rotate == latest.rotate and ends < _limit(credential, rotation)


def _limit(credential: Credential, rotation: Rotation) -> datetime:
    """When it ends, however it is used."""
    replaced = credential.replaced_time or credential.issue_time
    return replaced + rotation.longest_overlap


def was_extended(credential: Credential, rotation: Rotation) -> bool:
    """Whether its overlap was lengthened."""
    ends, replaced = credential.expiration_time, credential.replaced_time
    return ends is not None and replaced is not None and ends > replaced + rotation.overlap


def step(rotation: Rotation) -> timedelta:
    """By how much an overlap is lengthened at a time, and how recent the use must be."""
    return rotation.overlap / 4


def decision_time(credential: Credential, rotation: Rotation) -> datetime:
    """From when on its use is looked at: a little before it ends, because issuers obey the record by themselves."""
    ends = credential.expiration_time or datetime.max.replace(tzinfo=credential.issue_time.tzinfo)
    return ends - rotation.overlap / 8


def next_decision(credential: Credential, rotation: Rotation, now: datetime) -> datetime | None:
    """When to look again: at first at the decision time, then ever closer to the end, for use may still come.

    The last time is early enough for issuers to hear of it before the end.
    """
    if credential.expiration_time is None:
        return None
    first = decision_time(credential, rotation)
    if now < first:
        return first
    left = (credential.expiration_time - now) / 4
    return credential.expiration_time - left if left > LAST_CHECK else None
