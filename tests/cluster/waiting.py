"""Waits that poll a condition."""

import time
from collections.abc import Callable
from typing import TypeVar

from kubernetes import client

from tests.harness.waiting import poll

T = TypeVar("T")


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def until(
    look: Callable[[], T | None], seen: Callable[[], object] = lambda: "", seconds: float = 60, pause: float = 0.03
) -> T:
    """Wait until `look` returns a true value, and return it. A timeout shows the result of `seen`."""
    return poll(look, seen, seconds, pause)


def throughout(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition is true in every poll for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.05)
    return True


def returns_status(status: int, request: Callable[[], object]) -> bool:
    """Whether the request is answered with this status; 200 means any success."""
    try:
        request()
    except client.ApiException as error:
        return bool(error.status == status)
    return status == 200
