"""Takes the objects out of the answers that kopf gets, and delivers them itself.

kopf would start a task for each object, and look for handlers, differences and progress at each event. That is most of
the CPU time of a watch, and memory for each object. It gets lists without objects instead, and in place of events a
bookmark: the version from which it continues.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import aiohttp
import orjson

from scopewright.api import KINDS
from scopewright.api.meta import without_managed_fields
from scopewright.core.failures import Unavailable
from scopewright.stores.kubernetes.answers import watch_event

Event = tuple[str | None, dict[str, Any]]
"""The type (None for an object of the first list, else `ADDED`, `MODIFIED`, `DELETED`) and the object."""

Take = Callable[[Sequence[Event]], Awaitable[None]]
"""Takes events in their order, and returns once they are handled: no more are read meanwhile."""

PAUSE_SECONDS: Final = 1.0
"""Before another watch where a line was no event."""

_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_KINDS_BY_LIST: Final = {f"{kind}List": kind for kind in (*KINDS, "Namespace")}


def session(take: Take, connector: aiohttp.BaseConnector, headers: dict[str, str]) -> aiohttp.ClientSession:
    """A session for kopf's requests; `take` gets the objects in their answers."""

    class ResponseWithoutObjects(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if self.status == 200 and self.url.query.get("watch") == "true":
                watched: Any = EventsAsBookmarks(self.content, take, self.url.path)
                self.content = watched
            return self

        async def json(self, **options: Any) -> Any:
            content = await super().json(**{**options, "loads": orjson.loads})
            kind = _KINDS_BY_LIST.get(content.get("kind", "")) if isinstance(content, dict) else None
            if kind is None or self.status != 200:
                return content
            # The items of a list of Namespaces have no kind.
            await take([(None, trimmed({"kind": kind, **item})) for item in content.get("items") or ()])
            return {**content, "items": []}

    return aiohttp.ClientSession(
        connector=connector, headers=headers, trust_env=False, response_class=ResponseWithoutObjects
    )


class EventsAsBookmarks:
    """The body of a watch's answer, as far as aiohttp and kopf use one."""

    def __init__(self, stream: aiohttp.StreamReader, take: Take, path: str) -> None:
        self._stream = stream
        self._take = take
        self._path = path

    def exception(self) -> BaseException | None:
        return self._stream.exception()

    def set_exception(self, *exception: BaseException) -> None:
        self._stream.set_exception(*exception)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Lines, of any length together. Bookmarks and errors are passed on as they are."""
        rest = b""
        async for received in self._stream.iter_any():
            *lines, rest = (rest + received).split(b"\n")
            events, kept, version = [], [], ""
            for line in filter(None, lines):
                event = await self._event(line)
                if event["type"] in _CHANGES:
                    events.append((event["type"], trimmed(event["object"])))
                    version = event["object"]["metadata"]["resourceVersion"]
                else:
                    kept.append(line)
                    version = ""
            if events:
                await self._take(events)
            if version:
                kept.append(_bookmark(version))
            if kept:
                yield b"".join(line + b"\n" for line in kept)

    async def _event(self, line: bytes) -> dict[str, Any]:
        """Raises an error after which kopf watches again at once, from the last version."""
        try:
            return watch_event(line, self._path)
        except Unavailable as error:
            await asyncio.sleep(PAUSE_SECONDS)
            raise aiohttp.ClientPayloadError(error.message) from None


def _bookmark(version: str) -> bytes:
    return orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})


def trimmed(raw: dict[str, Any]) -> dict[str, Any]:
    """The object without what is not read: thousands of a first list wait for their turn."""
    if "managedFields" in raw["metadata"]:
        raw["metadata"] = without_managed_fields(raw["metadata"])
    return raw
