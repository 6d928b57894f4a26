"""Jitter for pauses, so that many processes and watches do not send their requests at the same time."""

import random


def with_jitter(seconds: float, low: float = 0.8, high: float = 1.2) -> float:
    """The pause in seconds, multiplied by a random factor between `low` and `high`."""
    return seconds * random.uniform(low, high)  # noqa: S311 (spreads load, hides nothing)
