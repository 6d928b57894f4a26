"""A replaced credential works until its overlap ends; its use extends the overlap up to a limit."""

from datetime import timedelta

import pytest

from scopewright.api.rotation import Rotation
from scopewright.core.client.overlap import apply_overlap, next_decision, was_extended
from scopewright.core.records.client import Credential
from tests.unit.core.builders import NOW

HOUR = timedelta(hours=1)
ROTATION = Rotation(overlap=24 * HOUR)
CURRENT = Credential("new", NOW)
OLD = Credential("old", NOW - 720 * HOUR)


def through(hours: float, used_until: float, old: Credential = OLD, current: Credential = CURRENT) -> list[float]:
    """The ends that the old credential gets, quarter by quarter of an hour, in hours after the Secret changed.

    It is used until `used_until`.
    """
    ends: list[float] = []
    credentials: tuple[Credential, ...] = (old, current)
    for quarter in range(int(hours * 4)):
        now = NOW + quarter * HOUR / 4
        used = {"old": min(now, NOW + used_until * HOUR)}
        credentials = apply_overlap(credentials, current, None, ROTATION, used, now)
        if credentials[0].sha256 != "old":
            break
        assert credentials[0].expiration_time is not None
        ends.append((credentials[0].expiration_time - NOW) / HOUR)
    return ends


def test_an_unused_credential_ends_with_its_overlap() -> None:
    assert set(through(200, used_until=12)) == {24.0}


def test_a_credential_in_use_is_extended_and_ends_soon_after_its_last_use() -> None:
    ends = through(200, used_until=40)
    assert ends == sorted(ends)
    assert 40 < ends[-1] <= 40 + 6 + 6 + 3


def test_a_credential_in_use_ends_after_four_overlaps() -> None:
    assert max(through(400, used_until=400)) == 96.0


def test_a_credential_that_was_rotated_on_request_is_not_extended() -> None:
    asked = Credential("new", NOW, rotate="leak")
    assert set(through(200, used_until=200, current=asked)) == {24.0}


def test_a_later_scheduled_rotation_does_not_extend_a_credential_that_was_rotated_on_request() -> None:
    asked, scheduled = Credential("b", NOW - HOUR, rotate="leak"), Credential("c", NOW, rotate="leak")
    old = Credential("old", OLD.issue_time, replaced_time=NOW - HOUR, expiration_time=NOW + HOUR)
    used = {"old": NOW, "b": NOW}
    kept = apply_overlap((old, asked, scheduled), scheduled, None, ROTATION, used, NOW)
    assert [c.expiration_time for c in kept] == [NOW + HOUR, NOW + 24 * HOUR, None]


def test_a_revoked_credential_is_removed_from_the_record() -> None:
    assert apply_overlap((OLD, CURRENT), CURRENT, NOW, ROTATION, {"old": NOW}, NOW) == (CURRENT,)


def test_an_old_use_does_not_extend_a_credential() -> None:
    old = Credential("old", OLD.issue_time, replaced_time=NOW - 23 * HOUR, expiration_time=NOW + HOUR)
    kept = apply_overlap((old, CURRENT), CURRENT, None, ROTATION, {"old": NOW - 7 * HOUR}, NOW)
    assert kept[0] == old


@pytest.mark.parametrize("minutes", [1, 60, 179, 180])
def test_a_credential_is_checked_again_before_its_end(minutes: int) -> None:
    left = timedelta(minutes=minutes)
    old = Credential("old", OLD.issue_time, replaced_time=NOW + left - 24 * HOUR, expiration_time=NOW + left)
    assert not was_extended(old, ROTATION)
    again = next_decision(old, ROTATION, NOW)
    assert again is not None
    assert NOW < again < NOW + left
