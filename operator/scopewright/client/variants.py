"""Objects that share a credential and differ in the parameters of their token, such as the API or the caller."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from scopewright.bounded import BoundedDict
from scopewright.client.grant import TokenParameters
from scopewright.forks import restart_in_children

T = TypeVar("T")
_MAX_VARIANTS = 1000


class Variants(Generic[T]):
    """The last 1000 that were used, by their parameters."""

    def __init__(self) -> None:
        self._by_parameters = BoundedDict[TokenParameters, T](_MAX_VARIANTS)
        self._lock = threading.Lock()
        restart_in_children(self)

    def __len__(self) -> int:
        return len(self._by_parameters)

    def after_fork(self) -> None:
        """Called in a forked child: the lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def get(self, parameters: TokenParameters, make: Callable[[], T]) -> T:
        """The same object for the same parameters."""
        with self._lock:
            found = self._by_parameters.get(parameters)
            if found is None:
                found = make()
            self._by_parameters[parameters] = found  # the last one that is dropped
            return found
