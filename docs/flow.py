"""The picture in docs/architecture.md: `python docs/flow.py [--check]`.

The kinds and the packages come from the code. Colours follow the reader's light or dark scheme.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from made import keep

from scopewright.api import KINDS

PICTURE: Final = Path(__file__).with_name("flow.svg")
WIDTH: Final = 960
HEIGHT: Final = 736
LINE: Final = 19
"""Pixels from one line of text to the next."""

WALKS: Final = {1: "manifest to Secret", 2: "request to token", 3: "bearer to claims", 4: "plan", 5: "key rotation"}
"""The walks of docs/architecture.md."""

LIGHT: Final = {
    "page": "#ffffff", "group": "#f3f5f7", "box": "#ffffff", "edge": "#818b98", "text": "#1f2328", "quiet": "#59636e",
    "on": "#ffffff", "w1": "#0969da", "w2": "#1a7f37", "w3": "#8250df", "w4": "#9a6700", "w5": "#cf222e",
}  # fmt: skip
DARK: Final = {
    "page": "#0d1117", "group": "#1c2128", "box": "#0d1117", "edge": "#656c76", "text": "#f0f6fc", "quiet": "#b1bac4",
    "on": "#0d1117", "w1": "#58a6ff", "w2": "#3fb950", "w3": "#bc8cff", "w4": "#d29922", "w5": "#ff7b72",
}  # fmt: skip

Point = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """A rectangle with a title and lines of text; its code is in `package`, below `scopewright`."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    package: str = ""
    is_group: bool = False
    title_y: int = 25
    """Pixels from the top to the baseline of the title."""


@dataclass(frozen=True)
class Step:
    """One step inside a group."""

    x: int
    y: int
    width: int
    text: str


@dataclass(frozen=True)
class Arrow:
    """A line with a head at its last point. Its label, with the walks that go there, begins at `at`."""

    points: tuple[Point, ...]
    walks: tuple[int, ...] = ()
    label: str = ""
    at: Point = (0, 0)
    both_ways: bool = False


def boxes() -> list[Box]:
    *first, last = KINDS
    kinds = (", ".join(first[:2]) + ",", f"{', '.join(first[2:])}, {last}")
    records = (
        "client and resource server records,",
        "key records, JWKS; written by issuers:",
        "usage report, revocations",
    )
    return [
        Box(276, 16, 272, 70, "Manifests", ("kubectl, Argo CD, Flux, a directory",)),
        Box(704, 16, 240, 70, "Plan result", ("scopewright plan",), "plan"),
        Box(16, 134, 928, 154, "Store: the Kubernetes API, or a directory", (), "stores", is_group=True),
        Box(36, 172, 220, 98, "Credential Secret", ("client id, secret or key pair,", "where to ask for tokens")),
        Box(292, 172, 240, 98, "Declared objects", (*kinds, "with spec and status")),
        Box(568, 172, 356, 98, "Issuer's namespace", records),
        Box(120, 352, 412, 192, "Operator", (), "controller", is_group=True, title_y=171),
        Box(568, 352, 376, 192, "Issuer", (), "issuer", is_group=True),
        Box(16, 604, 240, 70, "Calling service", ("mounts the Secret",), "client"),
        Box(704, 604, 240, 70, "Called service", ("checks the token by itself",), "verifier"),
    ]


def steps() -> list[Step]:
    return [
        Step(292, 384, 90, "watch"),
        Step(402, 384, 80, "queue"),
        Step(140, 438, 372, "reconcile: plan, write, plan again"),
        Step(318, 502, 194, "core: state → plan"),
        Step(588, 392, 336, "registry: all records, in memory"),
        Step(580, 478, 74, "request"),
        Step(668, 478, 106, "authenticate"),
        Step(788, 478, 82, "authorise"),
        Step(884, 478, 48, "sign"),
    ]


def arrows() -> list[Arrow]:
    return [
        Arrow(((516, 86), (516, 172)), (1, 5), "apply", (526, 116)),
        Arrow(((548, 50), (704, 50)), (4,), "read", (600, 40)),
        Arrow(((800, 134), (800, 86)), (4,), "current state", (810, 116)),
        Arrow(((337, 270), (337, 384)), (1, 5), "watch", (347, 340)),
        Arrow(((160, 438), (160, 270)), (1,), "Secret", (170, 340)),
        Arrow(((272, 438), (272, 316), (312, 316), (312, 270)), (1,), "status", (196, 308)),
        Arrow(((500, 438), (500, 322), (620, 322), (620, 270)), (1, 5), "records, JWKS", (630, 318)),
        Arrow(((824, 270), (824, 392)), (2, 5), "follow", (834, 330)),
        Arrow(((382, 400), (402, 400))),
        Arrow(((442, 416), (442, 438))),
        Arrow(((415, 470), (415, 502)), both_ways=True),
        Arrow(((721, 424), (721, 478))),
        Arrow(((829, 424), (829, 478))),
        Arrow(((908, 424), (908, 478))),
        Arrow(((654, 494), (668, 494))),
        Arrow(((774, 494), (788, 494))),
        Arrow(((870, 494), (884, 494))),
        Arrow(((66, 270), (66, 604)), (1, 2), "mounted", (76, 582)),
        Arrow(((256, 624), (617, 624), (617, 510)), (2,), "POST /token", (300, 614), both_ways=True),
        Arrow(((256, 656), (704, 656)), (3,), "request with the token as bearer", (300, 646)),
        Arrow(((864, 544), (864, 604)), (3, 5), "JWKS, revocation feed", (634, 580)),
    ]


def draw() -> str:
    lines = [
        *_opening(),
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        *(line for box in boxes() for line in _box(box)),
        *(line for step in steps() for line in _step(step)),
        *(line for arrow in arrows() for line in _arrow(arrow)),
        *_legend(),
        "</svg>",
    ]
    return "\n".join([*lines, ""])


def _opening() -> Iterator[str]:
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    about = 'role="img" aria-labelledby="title"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} {about} font-family="system-ui, sans-serif" font-size="14">'
    yield '<title id="title">From manifest to Secret, from request to token, from bearer to claims</title>'
    yield "<style>"
    yield from _rules(LIGHT)
    yield "@media (prefers-color-scheme: dark) {"
    yield from _rules(DARK)
    yield "}"
    yield "</style>"
    place = 'viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse"'
    yield f'<defs><marker id="head" {place}><path class="head" d="M0 0L10 5L0 10z"/></marker></defs>'


def _rules(colours: Mapping[str, str]) -> Iterator[str]:
    yield f".page {{ fill: {colours['page']} }}"
    yield f".group {{ fill: {colours['group']}; stroke: {colours['edge']} }}"
    yield f".box, .step {{ fill: {colours['box']}; stroke: {colours['edge']} }}"
    yield f".line {{ fill: none; stroke: {colours['quiet']}; stroke-width: 1.5 }}"
    yield f".head, .quiet {{ fill: {colours['quiet']} }}"
    yield f"text {{ fill: {colours['text']} }}"
    yield f".number {{ fill: {colours['on']} }}"
    yield from (f".w{number} {{ fill: {colours[f'w{number}']} }}" for number in WALKS)


def _box(box: Box) -> Iterator[str]:
    if box.package and find_spec(f"scopewright.{box.package}") is None:
        sys.exit(f"flow.py: there is no package scopewright.{box.package}")
    name = "group" if box.is_group else "box"
    size = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    yield f'<rect class="{name}" {size} rx="6"/>'
    x, y = box.x + 14, box.y + box.title_y
    package = f'<tspan class="quiet" font-weight="normal" dx="8">{box.package}/</tspan>' if box.package else ""
    yield f'<text x="{x}" y="{y}" font-weight="bold" font-size="15">{escape(box.title)}{package}</text>'
    for number, line in enumerate(box.lines, 1):
        yield f'<text class="quiet" x="{x}" y="{y + 2 + LINE * number}">{escape(line)}</text>'


def _step(step: Step) -> Iterator[str]:
    yield f'<rect class="step" x="{step.x}" y="{step.y}" width="{step.width}" height="32" rx="16"/>'
    middle = step.x + step.width // 2
    yield f'<text x="{middle}" y="{step.y + 21}" text-anchor="middle">{escape(step.text)}</text>'


def _arrow(arrow: Arrow) -> Iterator[str]:
    points = " ".join(f"{x},{y}" for x, y in arrow.points)
    start = ' marker-start="url(#head)"' if arrow.both_ways else ""
    yield f'<polyline class="line" points="{points}" marker-end="url(#head)"{start}/>'
    yield from _numbered(arrow.walks, arrow.label, *arrow.at)


def _numbered(walks: tuple[int, ...], label: str, x: int, y: int) -> Iterator[str]:
    for walk in walks:
        yield f'<circle class="w{walk}" cx="{x + 9}" cy="{y - 5}" r="9"/>'
        yield f'<text class="number" x="{x + 9}" y="{y}" text-anchor="middle" font-weight="bold">{walk}</text>'
        x += 22
    if label:
        yield f'<text x="{x + 3}" y="{y}">{escape(label)}</text>'


def _legend() -> Iterator[str]:
    x = 16
    for walk, name in WALKS.items():
        yield from _numbered((walk,), name, x, HEIGHT - 16)
        x += 192


def main() -> None:
    keep(PICTURE, draw(), "script draws")


if __name__ == "__main__":
    main()
