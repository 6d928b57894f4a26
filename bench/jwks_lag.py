"""Looking at what is public and what is mounted: each value of a Secret is tried at once, each kid is dated."""

import asyncio
import time
from typing import Final

import httpx
import orjson

from bench.counts import Counts
from bench.failover import http
from bench.mounts import Mounts
from bench.replicas import HOST
from bench.wire import Wire
from bench.workload import LABEL, Workload
from scopewright.stores import Change, Entries, Selection
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_follow import follow

LOOK_EVERY: Final = 0.1
TRIES: Final = 6


class Secrets:
    """Follows the clients' Secrets: hands them to the kubelet's part, and tries each new value at every replica."""

    def __init__(self, api: Api, workload: Workload, ports: list[int], mounts: Mounts, counts: Counts) -> None:
        self._api = api
        self._workload = workload
        self._ports = ports
        self._mounts = mounts
        self._counts = counts
        self._http = http(Wire())
        self._trials: set[asyncio.Task[None]] = set()
        self.seen: dict[str, set[bytes]] = {}
        """Every value, by client id."""

    async def run(self) -> None:
        async for change in follow(self._api, Selection("Secret", None, {LABEL: self._workload.run})):
            if isinstance(change, Change) and not change.gone:
                self._see(change.entries)

    def _see(self, entries: Entries) -> None:
        client_id, secret = entries["client_id"].decode(), entries["client_secret"]
        values = self.seen.setdefault(client_id, set())
        if secret in values:
            return
        self._counts.credential_rotations += bool(values)
        values.add(secret)
        self._mounts.changed(client_id, entries)
        for port in self._ports:
            trial = asyncio.create_task(self._try(client_id, secret.decode(), port))
            self._trials.add(trial)
            trial.add_done_callback(self._trials.discard)

    async def _try(self, client_id: str, secret: str, port: int) -> None:
        """A replica that is dead says nothing; one that is starting says 503, and is asked again."""
        for _ in range(TRIES):
            try:
                answer = await self._http.post(
                    f"http://{HOST}:{port}/token",
                    data={"grant_type": "client_credentials"},
                    auth=(client_id, secret),
                    timeout=10,
                )
            except httpx.TransportError:
                return
            if answer.status_code != 503:
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        else:
            self._counts.tell("a value of a Secret could not be tried", client=client_id, port=port)
            return
        self._counts.secrets_tried += 1
        if answer.status_code == 401:
            self._counts.secrets_refused += 1
            self._counts.tell("a value of a Secret was refused", client=client_id, port=port, answer=answer.text)

    async def finish(self) -> None:
        await asyncio.gather(*self._trials, return_exceptions=True)
        await self._http.aclose()


async def look_at_keys(ports: list[int], counts: Counts) -> None:
    """For ever: when each kid was first in the JWKS of any replica, and how far behind that a replica was found."""
    etags: dict[int, str] = {}
    served: dict[int, set[str]] = {}
    async with http(Wire()) as client:
        while True:
            for port in ports:
                headers = {"If-None-Match": etags[port]} if port in etags else {}
                try:
                    answer = await client.get(f"http://{HOST}:{port}/jwks.json", headers=headers)
                    ready = await client.get(f"http://{HOST}:{port}/readyz")
                except httpx.TransportError:
                    continue
                now = time.time()
                if answer.status_code == 200:
                    etags[port] = answer.headers.get("etag", "")
                    served[port] = kids(answer)
                    for kid in served[port]:
                        counts.published.setdefault(kid, now)
                if answer.status_code in (200, 304) and ready.status_code == 200:
                    counts.behind(now, served[port])
            await asyncio.sleep(LOOK_EVERY)


def kids(jwks: httpx.Response) -> set[str]:
    return {key["kid"] for key in orjson.loads(jwks.content)["keys"]}


async def measure_lag(counts: Counts) -> None:
    """For ever: how late this process is to do what it means to do. What it observes may be late by as much."""
    loop = asyncio.get_running_loop()
    while True:
        meant = loop.time() + LOOK_EVERY
        await asyncio.sleep(LOOK_EVERY)
        counts.lags.append(loop.time() - meant)
