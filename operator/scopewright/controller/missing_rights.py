"""Permissions that the API server refuses the operator, for longer than a restart or a rollout of RBAC takes."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

MIN_MISSING_SECONDS: Final = 60.0
"""Seconds that a right may be missing before it is reported."""
MEMORY_SECONDS: Final = 180.0
"""Seconds from the last refusal until a right is forgotten: no request has needed it since."""
MAX_RIGHTS: Final = 500
"""Missing rights in memory; in a cluster of many namespaces one right may be missing in each."""
MAX_NAMED: Final = 5

_VERBS: Final = {"POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch", "WATCH": "watch"}


class Right(NamedTuple):
    """A rule of RBAC; `namespace` is "" for all namespaces and for resources of the cluster."""

    group: str
    resource: str
    verb: str
    namespace: str

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''} {where}"


class MissingRights:
    """`answered` is called for every answer of the API server."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._missing: dict[Right, tuple[float, float]] = {}
        """The times of the first and of the last refusal."""

    def answered(self, method: str, path: str, forbidden: bool) -> None:
        """`method` is that of HTTP, or WATCH; `forbidden` means that the right was missing."""
        if not forbidden and not self._missing:
            return
        right = right_of(method, path)
        if right is None:
            return
        if not forbidden:
            self._missing.pop(right, None)
        elif right in self._missing or len(self._missing) < MAX_RIGHTS:
            now = self._monotonic()
            self._missing[right] = (self._missing.get(right, (now, now))[0], now)

    def _lasting(self) -> dict[Right, float]:
        """Rights that are missing for at least `MIN_MISSING_SECONDS`, each with the seconds."""
        now = self._monotonic()
        self._missing = {right: times for right, times in self._missing.items() if now - times[1] < MEMORY_SECONDS}
        return {right: now - since for right, (since, _) in self._missing.items() if now - since >= MIN_MISSING_SECONDS}

    @property
    def count(self) -> int:
        """The number of rights that are missing for at least `MIN_MISSING_SECONDS`."""
        return len(self._lasting())

    @property
    def problems(self) -> list[str]:
        """A line for each of them, at most `MAX_NAMED`, and a line with the number of the others."""
        lasting = self._lasting()
        named = [f"a right is missing for {age:.0f} s: {right}" for right, age in list(lasting.items())[:MAX_NAMED]]
        return [*named, f"and {len(lasting) - MAX_NAMED} more rights"] if len(lasting) > MAX_NAMED else named


def right_of(method: str, path: str) -> Right | None:
    """The right that a request needs; None for a path that is not of a resource."""
    kind, *rest = path.strip("/").split("/")
    if kind not in ("api", "apis") or len(rest) < (2 if kind == "api" else 3):
        return None
    group, rest = (rest[0], rest[2:]) if kind == "apis" else ("", rest[1:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = f"{rest[0]}/{rest[2]}" if len(rest) > 2 else rest[0]
    verb = _VERBS.get(method) or ("get" if len(rest) > 1 else "list")
    return Right(group, resource, verb, namespace)
