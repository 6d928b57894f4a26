"""What a process has instead of `kube_api.Api`: the same methods, and between it and the server all that goes wrong."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.contact import Contact
from scopewright.stores.kubernetes.api import REQUEST_TIMEOUT, Gone, NotFound
from tests.simulation.loop import RUNNING
from tests.simulation.process import Process
from tests.simulation.server import Event, Raw, Server, labels_of, locate, selected

SILENCE = 150.0
"""Seconds without a line after which a watch counts as broken: longer than in life, as all periods are here."""


class _Contact(Contact):
    """Nobody is woken early: an outage that ends is noticed by trying."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Network:
    """One incarnation's connections; `cut` when the process is dead."""

    host = "https://simulated"

    def __init__(self, server: Server, process: Process) -> None:
        self.contact = _Contact()
        self._server = server
        self._process = process
        self._incarnation = process.incarnation
        self._watches: list[_Watch] = []
        self._hanging: list[asyncio.Future[Raw]] = []
        self._reads: Counter[str] = Counter()
        self.troubled = float("-inf")
        """When something last went wrong with it."""

    @property
    def cut(self) -> bool:
        return not self._process.alive or self._process.incarnation != self._incarnation

    def reads_of(self, name: str) -> int:
        """How often the object of this name was read."""
        return self._reads[name.removeprefix("/")]

    async def get(self, path: str, **query: str) -> Raw:
        return await self.request("GET", path, query=query)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Raw:  # fmt: skip
        process, loop = self._process, self._process.loop
        if not process.link.whole:
            self.troubled = loop.now
        if method == "GET":
            self._reads[path.rsplit("/", 1)[-1]] += 1
        process.requests += 1
        if self.cut:
            raise Unavailable("the process is dead")
        answer: asyncio.Future[Raw] = loop.create_future()
        if process.link.down:
            self._hanging.append(answer)
            return await answer
        token = RUNNING.set(None)
        try:
            self._send(answer, method, path, query or {}, body, timeout)
        finally:
            RUNNING.reset(token)
        return await answer

    def _send(
        self, answer: "asyncio.Future[Raw]", method: str, path: str, query: Mapping[str, str], body: Any, timeout: float
    ) -> None:
        """From here on the request is on its way, whatever becomes of who sent it."""
        process = self._process
        delay, arrives, trouble = self._fate(method, path, timeout)
        writes = method != "GET" and "leases" not in path
        if writes and arrives and (refused := self._refused(method, path, body)):
            arrives, trouble = refused
        dies = writes and self._dies_of_it()
        if dies:
            arrives = process.chance.random() < 0.5
        late = process.chance.uniform(0.0, process.link.late) if writes and process.link.late else 0.0

        def arrive() -> None:
            result: Raw = {}
            error = trouble
            try:
                if arrives:
                    result = self._server.ask(process.name, method, locate(path), query, body)
            except (Conflict, NotFound, Rejected) as refusal:
                error = error or refusal
            if late:
                process.loop.call_later(late, self._settle, answer, error, result)
            else:
                self._settle(answer, error, result)

        process.loop.call_later(delay, arrive)

    def _refused(self, method: str, path: str, body: Any) -> tuple[bool, Exception] | None:
        """Whether it is done all the same, and what is answered, where the server refuses this operator's write."""
        where = locate(path)
        if method == "POST":
            where = where._replace(name=body.get("metadata", {}).get("name", ""))
        for refusal in self._server.refusals if self._process.name.startswith("operator") else ():
            if failure := refusal.of(method, where):
                return refusal.done, failure
        return None

    def _dies_of_it(self) -> bool:
        """Whether this write is the one that the process does not survive."""
        process = self._process
        if process.crash_in is None:
            return False
        process.crash_in -= 1
        if process.crash_in >= 0:
            return False
        process.crash_in = None
        process.loop.call_soon(process.die)
        return True

    def _settle(self, answer: "asyncio.Future[Raw]", error: Exception | None, result: Raw) -> None:
        if self.cut:
            error = Unavailable("the process is dead")
        if not answer.done():
            answer.set_exception(error) if error else answer.set_result(result)

    def _fate(self, method: str, path: str, timeout: float) -> tuple[float, bool, Exception | None]:
        """When it arrives, whether it does, and what the answer is instead of the server's."""
        link, chance = self._process.link, self._process.chance
        delay = chance.uniform(0.002, 0.02)
        if link.forbidden and "leases" not in path:
            return delay, False, Rejected("Forbidden", "a right is missing: injected")
        if not link.flaky or chance.random() >= link.flaky:
            return delay, True, None
        conflict = Conflict("injected") if method in ("PUT", "DELETE") else Unavailable("429")
        fates: list[tuple[float, bool, Exception | None]] = [
            (delay, False, Unavailable("503")),
            (delay, False, conflict),
            (delay, False, Unavailable("no answer in time")),
            (delay, True, Unavailable("no answer in time")),
            (chance.uniform(0.1, min(timeout, 20.0)), True, None),
        ]
        return chance.choice(fates)

    def heal(self) -> None:
        """The network is back: what hung has failed, and watches that were cut notice it."""
        for answer in self._hanging:
            if not answer.done():
                answer.set_exception(Unavailable("the connection was reset"))
        self._hanging.clear()
        self.disconnect()

    def disconnect(self) -> None:
        self.troubled = self._process.loop.now
        for watch in list(self._watches):
            watch.fail(Unavailable("the connection was reset"))

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Raw]:
        if self.cut:
            raise Unavailable("the process is dead")
        if self._process.link.down:
            hang: asyncio.Future[Raw] = self._process.loop.create_future()
            self._hanging.append(hang)
            await hang
        if self._process.link.forbidden:
            raise Rejected("Forbidden", "a right is missing: injected")
        version = int(query["resourceVersion"])
        if version < self._server.compacted:
            raise Gone("too old resource version")
        watch = _Watch(self._server, self._process, path, query)
        self._watches.append(watch)
        try:
            for event in self._server.since(watch.where.plural, version):
                watch.tell(event)
            while True:
                yield await watch.next()
        finally:
            watch.close()
            self._watches.remove(watch)


class _Watch:
    """One stream: in the order of versions, each event after a while of its own."""

    def __init__(self, server: Server, process: Process, path: str, query: Mapping[str, str]) -> None:
        self.where = locate(path)
        self._server, self._process = server, process
        self._labels = labels_of(query.get("labelSelector", ""))
        self._queue: asyncio.Queue[Raw | Exception] = asyncio.Queue()
        self._last = 0.0
        self._told = (self.where.plural, self.tell)
        server.watchers.append(self._told)

    def close(self) -> None:
        self._server.watchers.remove(self._told)

    def fail(self, error: Exception) -> None:
        self._queue.put_nowait(error)

    def tell(self, event: Event) -> None:
        raw = self._as_seen(event)
        if raw is None or self._process.link.down:
            return
        loop, chance = self._process.loop, self._process.chance
        late = chance.uniform(0.005, 0.05) + (
            chance.uniform(0, self._process.link.slow) if self._process.link.slow else 0
        )
        self._last = max(self._last + 1e-5, loop.now + late)
        token = RUNNING.set(None)
        loop.call_at(self._last, self._arrive, raw)
        RUNNING.reset(token)

    def _arrive(self, raw: Raw) -> None:
        if not self._process.link.down:
            self._queue.put_nowait(raw)

    def _as_seen(self, event: Event) -> Raw | None:
        """What leaves the selection is deleted, as far as this watch can see."""
        now = event.type != "DELETED" and selected(event.object, self.where.namespace, self._labels)
        before = event.old is not None and selected(event.old, self.where.namespace, self._labels)
        if now:
            return {"type": "MODIFIED" if before else "ADDED", "object": event.object}
        return {"type": "DELETED", "object": event.object} if before else None

    async def next(self) -> Raw:
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item
