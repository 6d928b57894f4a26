"""Durations and timestamps: parsing and formatting."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from scopewright.api.times import Duration, Timestamp, format_duration, format_timestamp, parse_duration


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("720h", timedelta(days=30)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("10m", timedelta(minutes=10)),
        ("1500ms", timedelta(seconds=1.5)),
        ("30m1h", timedelta(hours=1, minutes=30)),
        ("5h5h", timedelta(hours=10)),
        ("0s", timedelta(0)),
    ],
)
def test_duration_is_parsed(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text", ["", "h", "1", "1d", "2 weeks", "-1h", "1.5h", "1h ", "1h\n", "١h", "123456h", "1h1h1h1h1h", "P30D"]
)
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="720h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["720h", "1h30m", "10m", "1s500ms", "0s"])
def test_duration_is_formatted_as_it_was_parsed(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@given(st.integers(min_value=0, max_value=99_999 * 3_600_000))
def test_formatted_duration_parses_to_the_same_value(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


def test_timestamp_is_formatted_in_utc_and_whole_seconds() -> None:
    there = datetime(2026, 11, 22, 11, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert format_timestamp(there) == "2026-11-22T10:00:00Z"
    assert TypeAdapter(Timestamp).dump_json(there) == b'"2026-11-22T10:00:00Z"'


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00+01:00", "2026-11-22T10:00:00.000000000Z"]
)
def test_timestamp_is_parsed(text: str) -> None:
    assert TypeAdapter(Timestamp).validate_python(text) == datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22 10:00:00Z",
        "2026-11-22T10:00:60Z",
        "2026-02-30T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-22T10:00:00+99:00",
        "1732269600",
    ],
)
def test_invalid_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Timestamp).validate_python(text)


def test_timestamp_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Timestamp).validate_python(datetime(2026, 11, 22))  # noqa: DTZ001


def test_duration_is_a_timedelta_in_python_and_text_in_json() -> None:
    adapter = TypeAdapter(Duration)
    assert adapter.validate_python("1h") == timedelta(hours=1)
    assert adapter.dump_python(timedelta(hours=1)) == timedelta(hours=1)
    assert adapter.dump_json(timedelta(hours=1)) == b'"1h"'
