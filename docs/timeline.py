"""The picture in docs/rotation.md, from the core's own states and figures: `python docs/timeline.py [--check]`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from made import keep

from scopewright.api import SigningKey
from scopewright.api.rotation import Rotation
from scopewright.api.times import format_duration
from scopewright.core.client.overlap import apply_overlap
from scopewright.core.config import Config
from scopewright.core.records.client import Credential
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.keys import KeyState, Timing, key_state, successor_due, with_times

PICTURE = Path(__file__).with_name("rotation.svg")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=75)
LEFT, WIDTH, RIGHT = 120, 760, 40
ROW, BAR = 30, 18
LIGHT = {"paper": "#ffffff", "ink": "#24292f", "faint": "#6a737d", "grid": "#d8dee4"}
DARK = {"paper": "#161b22", "ink": "#e6edf3", "faint": "#9198a1", "grid": "#30363d"}
STATES = {
    "Signing keys": {
        "Pending": ("#7fb2e5", "#58a6ff"),
        "Active": ("#2f7d4f", "#3fb950"),
        "Retiring": ("#d9962b", "#d29922"),
    },
    "Client credentials": {
        "in the Secret": ("#5a55c4", "#a5a0ff"),
        "overlap": ("#d16fb0", "#f778ba"),
    },
}
"""Title of each group of rows → state → its colour in a light and in a dark scheme. No colour stands for two states."""


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
        records.append(with_times(record, timing, due))
        due = successor_due(tuple(records), timing)
    return [bar for record in records for bar in _states(record, tuple(records))]


def _states(record: KeyRecord, among: tuple[KeyRecord, ...]) -> list[Bar]:
    """The state of a key or credential in each hour, by the core, as bars."""
    bars: list[Bar] = []
    now = max(record.creation_time, BEGIN)
    while now < BEGIN + SPAN and record.published_at(now):
        there = tuple(r for r in among if r.creation_time <= now)
        is_now = (
            KeyState.PENDING if now == record.creation_time and not record.at_once else key_state(record, there, now)
        )
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
        ends = apply_overlap((old, new), new, None, rotation, {}, following)[0].expiration_time or following
        bars.append(Bar(f"credential {number + 1}", "in the Secret", made, following))
        bars.append(Bar(f"credential {number + 1}", "overlap", following, ends))
    return bars


def draw(groups: dict[str, list[Bar]]) -> str:
    """The SVG: for each group its title, the states of its bars, and a row for each key or credential."""
    height = sum(ROW * (1 + len(_rows(bars))) + 14 for bars in groups.values()) + 34
    width = LEFT + WIDTH + RIGHT
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    about = f"{' and '.join(groups).capitalize()} over {SPAN.days} days, with the default periods"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{about}</title>',
        *_style(),
        '<rect class="paper" width="100%" height="100%"/>',
    ]
    for day in range(0, SPAN.days + 1, 15):
        x = _x(BEGIN + timedelta(days=day))
        lines.append(f'<line class="grid" x1="{x}" y1="{ROW + 8}" x2="{x}" y2="{height - 30}"/>')
        lines.append(f'<text class="faint" x="{x}" y="{height - 12}" text-anchor="middle">day {day}</text>')
    top = 10
    for title, bars in groups.items():
        lines += _group(title, bars, top)
        top += ROW * (1 + len(_rows(bars))) + 14
    return "\n".join([*lines, "</svg>", ""])


def _group(title: str, bars: list[Bar], top: int) -> list[str]:
    rows = _rows(bars)
    lines = [
        f'<rect class="paper" x="0" y="{top}" width="{LEFT + WIDTH + RIGHT}" height="{ROW - 2}"/>',
        f'<text class="title" x="10" y="{top + 20}">{title}</text>',
    ]
    for place, name in enumerate(STATES[title]):
        x = LEFT + 60 + place * 140
        lines.append(f'<rect class="{_class(name)}" x="{x}" y="{top + 8}" width="14" height="14" rx="2"/>')
        lines.append(f'<text x="{x + 21}" y="{top + 20}">{name}</text>')
    for place, row in enumerate(rows):
        lines.append(f'<text x="10" y="{top + ROW * (1 + place) + 14}">{row}</text>')
    for bar in bars:
        x, end, y = _x(bar.begin), _x(min(bar.end, BEGIN + SPAN)), top + ROW * (1 + rows.index(bar.row))
        if end > x:
            lines.append(f'<rect class="{_class(bar.what)}" x="{x}" y="{y}" width="{end - x}" height="{BAR}"/>')
    return lines


def _rows(bars: list[Bar]) -> list[str]:
    return list(dict.fromkeys(bar.row for bar in bars))


def _class(key_state: str) -> str:
    return key_state.lower().replace(" ", "-")


def _style() -> list[str]:
    """The colours of both schemes; the picture follows the reader's."""
    states = [(_class(name), *colours) for group in STATES.values() for name, colours in group.items()]
    schemes = []
    for place, names in enumerate((LIGHT, DARK)):
        rules = [
            f".paper {{ fill: {names['paper']} }} .grid {{ stroke: {names['grid']} }}",
            f"text {{ fill: {names['ink']} }} .faint {{ fill: {names['faint']} }}",
            " ".join(f".{name} {{ fill: {colours[place]} }}" for name, *colours in states),
        ]
        schemes.append("\n".join(rules))
    light, dark = schemes
    return [
        "<style>",
        "text { font: 13px system-ui, sans-serif } .title { font-weight: 600 }",
        light,
        f"@media (prefers-color-scheme: dark) {{\n{dark}\n}}",
        "</style>",
    ]


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
        "lead": format_duration(timing.lead_time),
        "tail": format_duration(timing.verification_period),
        "outage budget": format_duration(timing.outage_budget),
        "every": format_duration(timing.every),
        "overlap": format_duration(rotation.overlap),
        "longest overlap": format_duration(rotation.longest_overlap),
    }


def main() -> None:
    keep(PICTURE, draw({"Signing keys": keys(), "Client credentials": credentials()}))


if __name__ == "__main__":
    main()
