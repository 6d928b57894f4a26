"""Maintenance windows: when a rotation that is due may happen."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scopewright.api.rotation import Window
from scopewright.core.failures import Rejected

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = timedelta(days=1)


def first_opening(windows: Iterable[Window], instant: datetime) -> datetime:
    """The first instant, from this one on, at which one of the windows is open; without windows, this one.

    A window opens at its local time on its days and is open for its duration, whatever daylight saving does meanwhile:
    a time that the clocks skip counts as the one an hour later. One in a time zone that nobody knows counts as none: it
    would never open, and what is never replaced is worse than what is replaced at an odd hour.
    """
    zoned = ((window, _zone(window.time_zone)) for window in windows)
    return min((_opening(window, zone, instant) for window, zone in zoned if zone), default=instant)


def refuse_unknown_zone(windows: Iterable[Window]) -> None:
    """`Rejected` where one of them is in a time zone that nobody knows."""
    for window in windows:
        if _zone(window.time_zone) is None:
            raise Rejected(
                "UnknownTimeZone",
                f"{window.time_zone} is no time zone: write it as Europe/Berlin, or leave timeZone out for UTC",
            )


def _opening(window: Window, zone: ZoneInfo, instant: datetime) -> datetime:
    hour, minute = map(int, window.start.split(":"))
    day = instant.astimezone(zone).date() - _DAY
    while True:
        if not window.days or DAYS[day.weekday()] in window.days:
            start = datetime.combine(day, time(hour, minute), zone).astimezone(instant.tzinfo)
            if instant < start + window.duration:
                return max(instant, start)
        day += _DAY


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
