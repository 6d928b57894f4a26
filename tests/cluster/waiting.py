"""A cluster gets there in its own time: ask again rather than sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

from kubernetes import client

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
    """What `look` finds, once it finds something; where it does not, `seen` tells what there is instead."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not so within {seconds:.0f} s: {seen()}"
        time.sleep(pause)
    return found


def throughout(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it holds at every look for so long: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.05)
    return True


def answers(status: int, request: Callable[[], object]) -> bool:
    """Whether the request is refused with this status; 200 stands for any success."""
    try:
        request()
    except client.ApiException as error:
        return bool(error.status == status)
    return status == 200
