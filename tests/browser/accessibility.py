"""What axe-core finds on a page, and whether it fits a narrow screen (WCAG 2.2 AA)."""

from functools import cache
from pathlib import Path
from typing import Final

from tests.browser.chromium import Chromium
from tests.interop.toolchains import build_node, built_from

_AXE: Final = Path(__file__).parent / "axe"
_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_RUN: Final = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: arguments[0], resultTypes: ['violations', 'incomplete']}).then(
  found => done([...found.violations, ...found.incomplete].flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.html} ${node.failureSummary || ''}`))),
  error => done([String(error)]));
"""
_TOO_WIDE: Final = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def check_page(chromium: Chromium) -> None:
    """The current page has no violation, nothing that axe-core cannot decide, and does not scroll sideways."""
    chromium.script(_source())
    found = chromium.script_async(_RUN, _TAGS)
    assert not found, f"{chromium.url}: " + "\n".join(found)
    assert chromium.script(_TOO_WIDE) <= 0, f"{chromium.url} is wider than the screen"


@cache
def _source() -> str:
    home = built_from("node", {file.name: file.read_bytes() for file in sorted(_AXE.iterdir())}, build_node)
    return (home / "node_modules/axe-core/axe.min.js").read_text()
