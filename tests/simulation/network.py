"""Replaces `stores.kubernetes.api.Api`: the same methods, and all faults between a process and the server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.contact import Contact
from scopewright.stores.kubernetes.answers import Gone, NotFound
from scopewright.stores.kubernetes.api import REQUEST_TIMEOUT
from tests.simulation.loop import RUNNING
from tests.simulation.process import Process
from tests.simulation.server import Event, Raw, Server, labels_of, locate, selected


class _Contact(Contact):
    """Pauses do not end early: the end of an outage is noticed by the next attempt."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Network:
    """The connections of one incarnation of a process; `cut` when it has been killed."""

    host = "https://simulated"

    def __init__(self, server: Server, process: Process) -> None:
        self.contact = _Contact()
        self._server = server
        self._process = process
        self._incarnation = process.incarnation
        self._watches: list[_Watch] = []
        self._hanging: list[asyncio.Future[Raw]] = []
        self._reads: Counter[str] = Counter()
        self.last_failure = float("-inf")
        """When a request last failed, or the watches broke."""

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
        if not process.link.healthy:
            self.last_failure = loop.now
        if method == "GET":
            self._reads[path.rsplit("/", 1)[-1]] += 1
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
        """Send the request. It arrives even if the sender is killed afterwards."""
        process = self._process
        delay, arrives, failure = self._outcome(method, path, timeout)
        writes = method != "GET" and "leases" not in path
        if writes and arrives and (refused := self._refusal_of(method, path, body)):
            arrives, failure = refused
        crashes = writes and self._crashes_now()
        if crashes:
            arrives = process.rng.random() < 0.5
        late = process.rng.uniform(0.0, process.link.late) if writes and process.link.late else 0.0

        def arrive() -> None:
            result: Raw = {}
            error = failure
            try:
                if arrives:
                    result = self._server.ask(process.name, method, locate(path), query, body)
            except (Conflict, NotFound, Rejected) as refusal:
                error = error or refusal
            if late:
                process.loop.call_later(late, self._finish, answer, error, result)
            else:
                self._finish(answer, error, result)

        process.loop.call_later(delay, arrive)

    def _refusal_of(self, method: str, path: str, body: Any) -> tuple[bool, Exception] | None:
        """If the server refuses this operator's write: whether it is carried out all the same, and the answer."""
        where = locate(path)
        if method == "POST":
            where = where._replace(name=body.get("metadata", {}).get("name", ""))
        for refusal in self._server.refusals if self._process.name.startswith("operator") else ():
            if failure := refusal.of(method, where):
                return refusal.done, failure
        return None

    def _crashes_now(self) -> bool:
        """Whether the process crashes with this write."""
        process = self._process
        if process.writes_until_crash is None:
            return False
        process.writes_until_crash -= 1
        if process.writes_until_crash >= 0:
            return False
        process.writes_until_crash = None
        process.loop.call_soon(process.kill)
        return True

    def _finish(self, answer: "asyncio.Future[Raw]", error: Exception | None, result: Raw) -> None:
        if self.cut:
            error = Unavailable("the process is dead")
        if not answer.done():
            answer.set_exception(error) if error else answer.set_result(result)

    def _outcome(self, method: str, path: str, timeout: float) -> tuple[float, bool, Exception | None]:
        """The delay in seconds, whether the request arrives, and the answer if not the server's."""
        link, rng = self._process.link, self._process.rng
        delay = rng.uniform(0.002, 0.02)
        if link.forbidden and "leases" not in path:
            return delay, False, Rejected("Forbidden", "a right is missing: injected")
        if not link.flaky or rng.random() >= link.flaky:
            return delay, True, None
        conflict = Conflict("injected") if method in ("PUT", "DELETE") else Unavailable("429")
        outcomes: list[tuple[float, bool, Exception | None]] = [
            (delay, False, Unavailable("503")),
            (delay, False, conflict),
            (delay, False, Unavailable("no answer in time")),
            (delay, True, Unavailable("no answer in time")),
            (rng.uniform(0.1, min(timeout, 20.0)), True, None),
        ]
        return rng.choice(outcomes)

    def heal(self) -> None:
        """Restore the network: hanging requests fail, and watches break."""
        for answer in self._hanging:
            if not answer.done():
                answer.set_exception(Unavailable("the connection was reset"))
        self._hanging.clear()
        self.disconnect()

    def disconnect(self) -> None:
        self.last_failure = self._process.loop.now
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
                watch.deliver(event)
            while True:
                yield await watch.next()
        finally:
            watch.close()
            self._watches.remove(watch)


class _Watch:
    """One watch: events in the order of versions, each with its own delay."""

    def __init__(self, server: Server, process: Process, path: str, query: Mapping[str, str]) -> None:
        self.where = locate(path)
        self._server, self._process = server, process
        self._labels = labels_of(query.get("labelSelector", ""))
        self._queue: asyncio.Queue[Raw | Exception] = asyncio.Queue()
        self._last = 0.0
        self._subscription = (self.where.plural, self.deliver)
        server.subscribers.append(self._subscription)

    def close(self) -> None:
        self._server.subscribers.remove(self._subscription)

    def fail(self, error: Exception) -> None:
        self._queue.put_nowait(error)

    def deliver(self, event: Event) -> None:
        raw = self._as_seen(event)
        if raw is None or self._process.link.down:
            return
        loop, rng = self._process.loop, self._process.rng
        late = rng.uniform(0.005, 0.05) + (rng.uniform(0, self._process.link.slow) if self._process.link.slow else 0)
        self._last = max(self._last + 1e-5, loop.now + late)
        token = RUNNING.set(None)
        loop.call_at(self._last, self._arrive, raw)
        RUNNING.reset(token)

    def _arrive(self, raw: Raw) -> None:
        if not self._process.link.down:
            self._queue.put_nowait(raw)

    def _as_seen(self, event: Event) -> Raw | None:
        """An object that leaves the selection is reported as deleted."""
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
