"""The picture in docs/rotation.md, from the core's own states and figures: `python docs/timeline.py [--check]`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from made import keep

from scopewright.api import SigningKey, format_duration
from scopewright.api.rotation import Rotation
from scopewright.core.config import Config
from scopewright.core.keys import KeyState, Timing, published, state, successor_due
from scopewright.core.overlap import overlapping
from scopewright.core.records import Credential, KeyRecord

PICTURE = Path(__file__).with_name("rotation.svg")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=75)
LEFT, WIDTH, ROW = 130, 760, 34
COLOURS = {
    "Pending": "#b9d3ee",
    "Active": "#2f7d4f",
    "Retiring": "#e3b04b",
    "in the Secret": "#2f7d4f",
    "overlap": "#e3b04b",
}


@dataclass(frozen=True)
class Bar:
    row: str
    what: str
    begin: datetime
    end: datetime


def keys() -> list[Bar]:
    """Three keys in a row, each published when the core says that the successor is due."""
    declared = SigningKey.model_validate({"metadata": {"name": "default"}})
    timing = Timing.of(declared, Config(issuer="https://issuer.example.org"))
    records: list[KeyRecord] = []
    due: datetime | None = BEGIN
    while due is not None and len(records) < 3:
        record = KeyRecord(f"key {len(records) + 1}", "default", "ES256", "jwks", {}, due, at_once=not records)
        records.append(published(record, timing, due))
        due = successor_due(tuple(records), timing)
    return [bar for record in records for bar in _states(record, tuple(records))]


def _states(record: KeyRecord, among: tuple[KeyRecord, ...]) -> list[Bar]:
    """What the core says its state is, hour by hour, as bars."""
    bars: list[Bar] = []
    now = max(record.creation_time, BEGIN)
    while now < BEGIN + SPAN and record.published_at(now):
        there = tuple(r for r in among if r.creation_time <= now)
        is_now = KeyState.PENDING if now == record.creation_time and not record.at_once else state(record, there, now)
        if bars and bars[-1].what == is_now.value:
            bars[-1] = Bar(record.kid, is_now.value, bars[-1].begin, now + timedelta(hours=1))
        else:
            bars.append(Bar(record.kid, is_now.value, now, now + timedelta(hours=1)))
        now += timedelta(hours=1)
    return bars


def credentials() -> list[Bar]:
    """Three credentials, each accepted until the core's overlap ends."""
    rotation = Rotation()
    bars = []
    for number in range(3):
        made = BEGIN + number * rotation.every
        following = made + rotation.every
        old, new = Credential("old", made), Credential("new", following)
        ends = overlapping((old, new), new, None, rotation, {}, following)[0].expiration_time or following
        bars.append(Bar(f"credential {number + 1}", "in the Secret", made, following))
        bars.append(Bar(f"credential {number + 1}", "overlap", following, ends))
    return bars


def draw(bars: list[Bar]) -> str:
    rows = list(dict.fromkeys(bar.row for bar in bars))
    height = ROW * len(rows) + 70
    size = f'width="{LEFT + WIDTH + 20}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for day in range(0, SPAN.days + 1, 15):
        x = _x(BEGIN + timedelta(days=day))
        lines.append(f'<line x1="{x}" y1="10" x2="{x}" y2="{height - 50}" stroke="#ddd"/>')
        lines.append(f'<text x="{x}" y="{height - 34}" text-anchor="middle" fill="#555">day {day}</text>')
    for bar in bars:
        x, end, y = _x(bar.begin), _x(min(bar.end, BEGIN + SPAN)), 14 + ROW * rows.index(bar.row)
        if end > x:
            lines.append(f'<rect x="{x}" y="{y}" width="{end - x}" height="20" fill="{COLOURS[bar.what]}"/>')
    lines += [f'<text x="8" y="{29 + ROW * place}">{row}</text>' for place, row in enumerate(rows)]
    for place, (what, colour) in enumerate(COLOURS.items()):
        x = LEFT + place * 150
        lines.append(f'<rect x="{x}" y="{height - 22}" width="14" height="14" fill="{colour}"/>')
        lines.append(f'<text x="{x + 20}" y="{height - 10}">{what}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _x(instant: datetime) -> int:
    return LEFT + round(WIDTH * min((instant - BEGIN) / SPAN, 1))


def figures() -> dict[str, str]:
    """Durations that the text of docs/rotation.md gives, by what it calls them."""
    config, declared = (
        Config(issuer="https://issuer.example.org"),
        SigningKey.model_validate({"metadata": {"name": "x"}}),
    )
    timing, rotation = Timing.of(declared, config), Rotation()
    return {
        "lead": format_duration(timing.lead),
        "tail": format_duration(timing.tail),
        "outage budget": format_duration(timing.outage),
        "every": format_duration(timing.every),
        "overlap": format_duration(rotation.overlap),
        "longest overlap": format_duration(rotation.longest_overlap),
    }


def main() -> None:
    keep(PICTURE, draw([*keys(), *credentials()]))


if __name__ == "__main__":
    main()
