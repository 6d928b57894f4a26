"""Maintenance windows: the times at which a due rotation may be carried out."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from scopewright.api.rotation import Window
from scopewright.core.failures import Rejected

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = timedelta(days=1)


def first_opening(windows: Iterable[Window], instant: datetime) -> datetime:
    """Return the first time from `instant` on at which a window is open; without windows, `instant`.

    A window opens at its local time on its days and stays open for its duration, also across a change of daylight
    saving time; a local time that is skipped is one hour later. A window in an unknown time zone is ignored: a rotation
    outside of the windows is better than none.
    """
    zoned = ((window, _zone(window.time_zone)) for window in windows)
    return min((_opening(window, zone, instant) for window, zone in zoned if zone), default=instant)


def refuse_unknown_zone(windows: Iterable[Window]) -> None:
    """Raise `Rejected` if the time zone of a window is unknown."""
    for window in windows:
        if _zone(window.time_zone) is None:
            raise Rejected(
                "UnknownTimeZone",
                f"{window.time_zone} is not a time zone: write it as Europe/Berlin, or omit timeZone for UTC",
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
    # ZoneInfo searches the disk for an unknown name, and remembers no failure.
    return _loaded(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)
def _loaded(name: str) -> ZoneInfo | None:
    """`name` is one of `_names`, which are about 600."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
