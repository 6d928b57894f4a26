"""Figures of several runs, as one figure each."""

from statistics import median


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure; all runs have the same figures."""
    return {name: round(median(run[name] for run in runs), 3) for name in runs[0]}


def spread(values: list[float]) -> dict[str, float]:
    return {"min": round(min(values), 3), "median": round(median(values), 3), "max": round(max(values), 3)}
