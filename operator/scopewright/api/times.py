"""Durations and instants, as manifests write them and as Python holds them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer, WithJsonSchema

DURATION_PATTERN = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
# Kubernetes' durations have no days. The schema lets them pass to a rule, whose message says what to write instead.
WRITTEN_PATTERN = "^([0-9]{1,5}(w|d|h|m|s|ms)){1,4}$"
NO_DAYS = "write days and weeks in hours: 720h for 30d, 336h for 2w"
_DURATION_PART = re.compile(r"([0-9]{1,5})(ms|w|d|h|m|s)")
_DAYS = {"w": timedelta(weeks=1), "d": timedelta(days=1)}
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}

_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
# The API server's `format: date-time` takes what a datetime cannot hold: the year 0, a leap second, an offset of 99 h.
TIMESTAMP_PATTERN = rf"^[12][0-9]{{3}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]{_CLOCK})$"


def parse_duration(text: str) -> timedelta:
    """Read `720h` or `1h30m`; ValueError says which form is expected."""
    if not re.fullmatch(DURATION_PATTERN, text):
        if re.fullmatch(WRITTEN_PATTERN, text):
            raise ValueError(f"a duration has the units h, m, s and ms: {NO_DAYS}")
        raise ValueError("a duration is one to four numbers with a unit, h, m, s or ms: 720h, 1h30m")
    return _sum(text)


def _sum(text: str) -> timedelta:
    units = _UNITS | _DAYS
    return sum((int(number) * units[unit] for number, unit in _DURATION_PART.findall(text)), timedelta())


def format_duration(value: timedelta) -> str:
    """Write what `parse_duration` reads back, up to 99999h; anything below a millisecond is dropped."""
    parts = []
    for unit, length in _UNITS.items():
        count, value = divmod(value, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_timestamp(value: datetime) -> str:
    """Write an instant as Kubernetes does: UTC, whole seconds, `Z`."""
    return value.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"


def _read_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _sum(value) if re.fullmatch(WRITTEN_PATTERN, value) else parse_duration(value)


def _read_timestamp(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(TIMESTAMP_PATTERN, value):
        raise ValueError("an instant is written as 2026-11-22T10:00:00Z, with its time zone")
    return datetime.fromisoformat(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": WRITTEN_PATTERN, "maxLength": 28}),
]
"""A timedelta in Python, `720h` in a manifest."""

Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_read_timestamp),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": TIMESTAMP_PATTERN, "maxLength": 35}),
]
"""An aware datetime in Python, `2026-11-22T10:00:00Z` in a manifest."""
