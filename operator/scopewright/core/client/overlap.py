"""Overlap: how long a replaced credential is still accepted, extended while it is used."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from scopewright.api.rotation import Rotation
from scopewright.core.records.client import Credential

LAST_CHECK: Final = timedelta(seconds=5)

LastUse = Mapping[str, datetime]
"""Last use of credentials by their SHA-256, as far as it was reported. Only a hint."""


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
    """Return the credentials for the record: without revoked and expired ones, and with an expiry on those that
    `current` has replaced. With `unneeded`, and without a current one, all of them get an expiry.

    The overlap begins now, after the Secret's write was seen, so that it is never too short.
    """
    replaced = credentials[: credentials.index(current)] if current else credentials if unneeded else ()
    latest = current or (credentials[-1] if credentials else None)
    remaining = [c for c in credentials if c.accepted_at(now) and not (before and c.issue_time < before)]
    return tuple(
        _extend_overlap(c, latest, rotation, last_use, now) if latest and c in replaced else c for c in remaining
    )


def _extend_overlap(
    credential: Credential, latest: Credential, rotation: Rotation, last_use: LastUse, now: datetime
) -> Credential:
    if credential.expiration_time is None:
        return replace(credential, replaced_time=now, expiration_time=now + rotation.overlap)
    if now < decision_time(credential, rotation) or not can_extend(credential, latest, rotation):
        return credential
    used, extension = last_use.get(credential.sha256), extension_length(rotation)
    if used is None or used < now - extension:
        return credential
    extended = min(credential.expiration_time + extension, _limit(credential, rotation))
    return replace(credential, expiration_time=extended)


def can_extend(credential: Credential, latest: Credential, rotation: Rotation) -> bool:
    """Whether use can extend its overlap: not after `scopewright.dev/rotate`, because the user may be an attacker."""
    ends = credential.expiration_time
    return ends is not None and credential.rotate == latest.rotate and ends < _limit(credential, rotation)


def _limit(credential: Credential, rotation: Rotation) -> datetime:
    """Return the latest end of its overlap."""
    replaced = credential.replaced_time or credential.issue_time
    return replaced + rotation.longest_overlap


def was_extended(credential: Credential, rotation: Rotation) -> bool:
    ends, replaced = credential.expiration_time, credential.replaced_time
    return ends is not None and replaced is not None and ends > replaced + rotation.overlap


def extension_length(rotation: Rotation) -> timedelta:
    """Return the length of one extension, which is also how recent the use must be."""
    return rotation.overlap / 4


def decision_time(credential: Credential, rotation: Rotation) -> datetime:
    """Return when its use is first checked: some time before its end, so that issuers receive an extension."""
    ends = credential.expiration_time or datetime.max.replace(tzinfo=credential.issue_time.tzinfo)
    return ends - rotation.overlap / 8


def next_decision(credential: Credential, rotation: Rotation, now: datetime) -> datetime | None:
    """Return when to check its use next: at the decision time, then at shrinking intervals until its end.

    The last check is early enough for issuers to receive the extension before the end.
    """
    if credential.expiration_time is None:
        return None
    first = decision_time(credential, rotation)
    if now < first:
        return first
    left = (credential.expiration_time - now) / 4
    return credential.expiration_time - left if left > LAST_CHECK else None
