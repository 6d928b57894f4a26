"""Maintenance windows: the first instant at or after a given one at which a window is open."""

from datetime import datetime

import pytest

from scopewright.api.rotation import Window
from scopewright.core.client.windows import first_opening, refuse_unknown_zone
from scopewright.core.failures import Rejected


def window(**given: object) -> Window:
    return Window.model_validate({"start": "02:00", "duration": "2h", **given})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "Z")


@pytest.mark.parametrize(
    ("given", "instant", "opens"),
    [
        ({}, "2026-11-22T03:00:00", "2026-11-22T03:00:00"),
        ({}, "2026-11-22T02:00:00", "2026-11-22T02:00:00"),
        ({}, "2026-11-22T01:59:59", "2026-11-22T02:00:00"),
        ({}, "2026-11-22T04:00:00", "2026-11-23T02:00:00"),
        ({"start": "23:00"}, "2026-11-22T00:30:00", "2026-11-22T00:30:00"),
        ({"days": ["Sat"]}, "2026-11-22T02:00:00", "2026-11-28T02:00:00"),
        ({"days": ["Sat"], "start": "23:00"}, "2026-11-22T00:30:00", "2026-11-22T00:30:00"),
        ({"days": ["Sun"], "start": "23:00"}, "2026-11-22T00:30:00", "2026-11-22T23:00:00"),
        ({"timeZone": "Europe/Berlin"}, "2026-11-22T00:30:00", "2026-11-22T01:00:00"),
        ({"timeZone": "Europe/Berlin"}, "2026-07-22T00:30:00", "2026-07-22T00:30:00"),
        # The clocks of Berlin skip from 02:00 to 03:00 on 29 March 2026, and repeat 02:00 to 03:00 on 25 October.
        ({"timeZone": "Europe/Berlin", "start": "02:30"}, "2026-03-28T23:00:00", "2026-03-29T01:30:00"),
        ({"timeZone": "Europe/Berlin", "start": "02:30"}, "2026-10-24T23:00:00", "2026-10-25T00:30:00"),
        ({"timeZone": "Pacific/Kiritimati", "days": ["Mon"]}, "2026-11-22T11:00:00", "2026-11-22T12:00:00"),
    ],
)
def test_a_window_opens_at_its_local_time_on_its_days(given: dict[str, object], instant: str, opens: str) -> None:
    assert first_opening([window(**given)], at(instant)) == at(opens)


def test_the_first_of_several_windows_to_open_is_used() -> None:
    windows = [window(days=["Sat"]), window(days=["Wed"], start="12:00")]
    assert first_opening(windows, at("2026-11-22T12:00:00")) == at("2026-11-25T12:00:00")


def test_without_windows_each_instant_is_allowed() -> None:
    assert first_opening([], at("2026-11-22T12:00:00")) == at("2026-11-22T12:00:00")


@pytest.mark.parametrize("name", ["Europe/Berln", "Europe", "Mars/Olympus", "localtime/x"])
def test_a_window_in_an_unknown_time_zone_is_reported_and_ignored(name: str) -> None:
    unknown, saturdays = window(timeZone=name), window(days=["Sat"])
    with pytest.raises(Rejected, match=f"{name} is not a time zone"):
        refuse_unknown_zone([saturdays, unknown])
    assert first_opening([unknown], at("2026-11-22T12:00:00")) == at("2026-11-22T12:00:00")
    assert first_opening([unknown, saturdays], at("2026-11-22T12:00:00")) == at("2026-11-28T02:00:00")


def test_an_unknown_time_zone_is_not_searched_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each resync asks for the windows of all clients that are due."""

    def searched(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr("scopewright.core.client.windows.ZoneInfo", searched)
    assert first_opening([window(timeZone="Europe/Berln")], at("2026-11-22T12:00:00")) == at("2026-11-22T12:00:00")
