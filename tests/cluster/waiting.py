"""A cluster gets there in its own time: ask again rather than sleep."""

import time
from collections.abc import Callable

from kubernetes import client


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
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
