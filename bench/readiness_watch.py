"""Watches for the results of reconciliation: Secrets that hold credentials, and OAuthClients that are Ready."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.benchmark import BenchmarkError
from bench.timeouts import TIMEOUT_SECONDS, time_limit
from bench.workload import LABEL, Manifest, Workload
from scopewright.core.failures import Unavailable
from scopewright.stores import Entries, ListCompleted, Selection
from scopewright.stores.kubernetes.answers import Gone
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.follow import follow
from scopewright.stores.kubernetes.store import declared_path


class ReadinessWatch:
    """Async context manager; what exists when it is entered counts too."""

    def __init__(self, api: Api, workload: Workload) -> None:
        self._api = api
        self._workload = workload
        self._path = declared_path("OAuthClient")
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._listed = [asyncio.Event(), asyncio.Event()]
        self.credentials: dict[str, Entries] = {}
        """By client id."""
        self.ready: set[str] = set()
        """Ids of the clients whose conditions Ready and AccessGranted are True."""

    async def __aenter__(self) -> "ReadinessWatch":
        self._tasks = [asyncio.create_task(self._secrets()), asyncio.create_task(self._clients())]
        async with time_limit(TIMEOUT_SECONDS, "the first lists of Secrets and OAuthClients"):
            for listed in self._listed:
                await listed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> float:
        """Wait until the condition is true; return that instant of `time.perf_counter`. BenchmarkError on timeout."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            reached = f"{len(self.credentials)} Secrets, {len(self.ready)} ready"
            raise BenchmarkError(f"{what}: not within {seconds:.0f} s ({reached})") from None
        return time.perf_counter()

    async def _secrets(self) -> None:
        selection = Selection("Secret", None, {LABEL: self._workload.run})
        async for change in follow(self._api, selection):
            if isinstance(change, ListCompleted):
                self._listed[0].set()
            elif not change.deleted:
                self.credentials[change.entries["client_id"].decode()] = change.entries
            self._changed.set()

    async def _clients(self) -> None:
        version = ""
        while True:
            try:
                if not version:
                    listed = await self._api.get(self._path)
                    for client in listed["items"]:
                        self._record_ready(client)
                    version = listed["metadata"]["resourceVersion"]
                    self._listed[1].set()
                async for event in self._api.watch(self._path, {"resourceVersion": version}):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._record_ready(event["object"])
            except Gone:
                version = ""
            except Unavailable:
                await asyncio.sleep(0.2)

    def _record_ready(self, client: Manifest) -> None:
        if client["spec"].get("issuer") != self._workload.run:
            return
        conditions: list[Any] = client.get("status", {}).get("conditions", [])
        if {c["type"] for c in conditions if c["status"] == "True"} >= {"Ready", "AccessGranted"}:
            self.ready.add(f"{client['metadata']['namespace']}.{client['metadata']['name']}")
            self._changed.set()
