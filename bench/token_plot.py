"""Draws the figures of `tokens`."""

from pathlib import Path
from typing import Any, Final

_SCOPEWRIGHT_COLOUR: Final = "#2f7d4f"
_PEER_COLOUR: Final = "#b9b9b9"


def draw(file: Path, figures: dict[str, Any]) -> None:
    """Draw responses a second, and CPU time of a response with its floor, a bar for each case."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    cases = list(figures["cases"].values())[::-1]
    labels = [case["about"] for case in cases]
    colours = [_SCOPEWRIGHT_COLOUR if case["is_issuer"] else _PEER_COLOUR for case in cases]
    plot, (rate, cost) = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(cases) + 1.4), sharey=True, layout="constrained")
    drawn = rate.barh(labels, [case["per_second"] for case in cases], color=colours)
    rate.bar_label(drawn, fmt=lambda value: f"{value:,.0f}", padding=3)
    rate.set_title(f"responses a second, {figures['workers']} processes", loc="left", fontsize=10)
    drawn = cost.barh(labels, [case["cpu_us"] for case in cases], color=colours)
    cost.bar_label(drawn, fmt="%.0f", padding=3)
    for n, case in enumerate(cases):
        if "floor_us" in case:
            cost.vlines(case["floor_us"], n - 0.4, n + 0.4, color="black", linewidth=1.5)
    cost.set_title("CPU time of a response, in µs (line: floor)", loc="left", fontsize=10)
    for axes in (rate, cost):
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.18)
    plot.savefig(file, dpi=110)
    pyplot.close(plot)
