"""Draws the figures of `tokens`."""

from pathlib import Path
from typing import Any, Final

_SCOPEWRIGHT_COLOUR: Final = "#2f7d4f"
_PEER_COLOUR: Final = "#b9b9b9"


def draw(file: Path, figures: dict[str, Any]) -> None:
    """Draw responses a second, and CPU time of a response in bare signatures, a bar for each case."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    cases = list(figures["cases"].items())[::-1]
    labels = [case["about"] for _, case in cases]
    colours = [_PEER_COLOUR if name == "oidc-provider" else _SCOPEWRIGHT_COLOUR for name, _ in cases]
    plot, (rate, cost) = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(cases) + 1.4), sharey=True, layout="constrained")
    drawn = rate.barh(labels, [case["per_second"] for _, case in cases], color=colours)
    rate.bar_label(drawn, fmt=lambda value: f"{value:,.0f}", padding=3)
    rate.set_title(f"responses a second, {figures['workers']} processes", loc="left", fontsize=10)
    drawn = cost.barh(labels, [case["cpu_over_signature"] for _, case in cases], color=colours)
    cost.bar_label(drawn, fmt="%.1f", padding=3)
    cost.axvline(1, color="black", linewidth=0.8, linestyle=":")
    cost.set_title("CPU time of a response, in bare ES256 signatures", loc="left", fontsize=10)
    for axes in (rate, cost):
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.18)
    plot.savefig(file, dpi=110)
    pyplot.close(plot)
