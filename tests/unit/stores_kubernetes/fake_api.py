"""A fake API server with prepared answers, which records requests."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from scopewright.stores.contact import Contact
from scopewright.stores.kubernetes.api import Api

Answer = dict[str, Any] | BaseException


class SleepingContact(Contact):
    """Pauses as `asyncio.sleep` does, which tests may replace."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeApi:
    """`answers` by `METHOD path`; the last one is repeated. `watches` are lists of events; an exception is raised."""

    host = "https://fake"
    contact = SleepingContact()

    def __init__(self) -> None:
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.watches: deque[list[Any]] = deque()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []

    def answer(self, what: str, *answers: Answer) -> None:
        self.answers[what].extend(answers)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self.request("GET", path, query=query)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, timeout: float = 0
    ) -> dict[str, Any]:
        self.requests.append((method, path, dict(query or {})))
        self.bodies.append(body)
        waiting = self.answers[f"{method} {path}"]
        if not waiting:
            raise AssertionError(f"unexpected request: {method} {path}")
        given = waiting.popleft() if len(waiting) > 1 else waiting[0]
        if isinstance(given, BaseException):
            raise given
        return given

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(("WATCH", path, dict(query)))
        for event in self.watches.popleft() if self.watches else [ScriptEnded()]:
            if isinstance(event, BaseException):
                raise event
            yield event

    def as_api(self) -> Api:
        return cast("Api", self)


class ScriptEnded(Exception):
    """There are no more prepared watches."""


def secret(name: str, version: str, value: str = "eA==", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "leave",
            "name": name,
            "uid": f"uid of {name}",
            "resourceVersion": version,
            "creationTimestamp": "2026-11-22T12:00:00Z",
            **meta,
        },
        "type": "servicebinding.io/oauth2",
        "data": {"client_secret": value},
    }


def page(version: str, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version, "continue": more}, "items": list(items)}
