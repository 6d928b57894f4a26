"""Durations and timestamps: parsing from manifests, formatting, and the types of model fields."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer, WithJsonSchema

DURATION_PATTERN = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
# Kubernetes durations have no days or weeks. The schema accepts them, so that a CEL rule can say what to write instead.
DURATION_SCHEMA_PATTERN = "^([0-9]{1,5}(w|d|h|m|s|ms)){1,4}$"
NO_DAYS = "write days and weeks in hours: 720h for 30d, 336h for 2w"
_DURATION_PART = re.compile(r"([0-9]{1,5})(ms|w|d|h|m|s)")
_LONG_UNITS = {"w": timedelta(weeks=1), "d": timedelta(days=1)}
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}

_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
# `format: date-time` of the API server accepts values that a datetime cannot hold: year 0, leap seconds, offset 99:00.
TIMESTAMP_PATTERN = rf"^[12][0-9]{{3}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]{_CLOCK})$"


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `720h` or `1h30m`. Raises ValueError with the expected form."""
    if not re.fullmatch(DURATION_PATTERN, text):
        if re.fullmatch(DURATION_SCHEMA_PATTERN, text):
            raise ValueError(f"a duration must use the units h, m, s and ms; {NO_DAYS}")
        raise ValueError("a duration must be one to four numbers with a unit (h, m, s or ms), such as 720h or 1h30m")
    return _sum_parts(text)


def _sum_parts(text: str) -> timedelta:
    units = _UNITS | _LONG_UNITS
    return sum((int(number) * units[unit] for number, unit in _DURATION_PART.findall(text)), timedelta())


def format_duration(value: timedelta) -> str:
    """Format a duration for `parse_duration`, up to 99999h. Fractions of a millisecond are dropped."""
    parts = []
    for unit, length in _UNITS.items():
        count, value = divmod(value, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_timestamp(value: datetime) -> str:
    """Format a timestamp as Kubernetes does: RFC 3339, UTC with `Z`, whole seconds. Fractions are dropped."""
    return value.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"


def _read_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _sum_parts(value) if re.fullmatch(DURATION_SCHEMA_PATTERN, value) else parse_duration(value)


def _read_timestamp(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(TIMESTAMP_PATTERN, value):
        raise ValueError("must be an RFC 3339 timestamp with a time zone, such as 2026-11-22T10:00:00Z")
    return datetime.fromisoformat(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_SCHEMA_PATTERN, "maxLength": 28}),
]
"""A duration: timedelta in Python, text such as `720h` in a manifest."""

Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_read_timestamp),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": TIMESTAMP_PATTERN, "maxLength": 35}),
]
"""A timestamp: aware datetime in Python, text such as `2026-11-22T10:00:00Z` (RFC 3339) in a manifest."""
