"""Observes every replica: when each kid enters its JWKS, and whether it accepts each new value of a Secret."""

import asyncio
import time
from typing import Final

import httpx
import orjson

from bench.counts import Counts
from bench.failover import http
from bench.kubelet_mounts import KubeletMounts
from bench.loopback_transport import LoopbackTransport
from bench.replicas import HOST
from bench.workload import LABEL, Workload
from scopewright.stores import Change, Entries, Selection
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.follow import follow

POLL_INTERVAL_SECONDS: Final = 0.1
MAX_ATTEMPTS: Final = 6


class SecretWatcher:
    """Follows the clients' Secrets: updates the mounts, and tries each new value at every replica."""

    def __init__(self, api: Api, workload: Workload, ports: list[int], mounts: KubeletMounts, counts: Counts) -> None:
        self._api = api
        self._workload = workload
        self._ports = ports
        self._mounts = mounts
        self._counts = counts
        self._http = http(LoopbackTransport())
        self._trials: set[asyncio.Task[None]] = set()
        self.seen: dict[str, set[bytes]] = {}
        """Every value of `client_secret`, by client id."""

    async def run(self) -> None:
        async for change in follow(self._api, Selection("Secret", None, {LABEL: self._workload.run})):
            if isinstance(change, Change) and not change.deleted:
                self._on_change(change.entries)

    def _on_change(self, entries: Entries) -> None:
        client_id, secret = entries["client_id"].decode(), entries["client_secret"]
        values = self.seen.setdefault(client_id, set())
        if secret in values:
            return
        self._counts.credential_rotations += bool(values)
        values.add(secret)
        self._mounts.update(client_id, entries)
        for port in self._ports:
            trial = asyncio.create_task(self._try(client_id, secret.decode(), port))
            self._trials.add(trial)
            trial.add_done_callback(self._trials.discard)

    async def _try(self, client_id: str, secret: str, port: int) -> None:
        """Request a token with the value. A killed replica is skipped; a 503 is retried, as the replica is starting."""
        for _ in range(MAX_ATTEMPTS):
            try:
                response = await self._http.post(
                    f"http://{HOST}:{port}/token",
                    data={"grant_type": "client_credentials"},
                    auth=(client_id, secret),
                    timeout=10,
                )
            except httpx.TransportError:
                return
            if response.status_code != 503:
                break
            await asyncio.sleep(float(response.headers.get("retry-after", "1")))
        else:
            self._counts.record_failure("a value of a Secret could not be tried", client=client_id, port=port)
            return
        self._counts.secrets_tried += 1
        if response.status_code == 401:
            self._counts.secrets_refused += 1
            self._counts.record_failure(
                "a value of a Secret was refused", client=client_id, port=port, answer=response.text
            )

    async def finish(self) -> None:
        await asyncio.gather(*self._trials, return_exceptions=True)
        await self._http.aclose()


async def poll_jwks(ports: list[int], counts: Counts) -> None:
    """Run forever: record when each kid first is in the JWKS of any replica, and how far a ready replica lags."""
    etags: dict[int, str] = {}
    served: dict[int, set[str]] = {}
    async with http(LoopbackTransport()) as client:
        while True:
            for port in ports:
                headers = {"If-None-Match": etags[port]} if port in etags else {}
                try:
                    response = await client.get(f"http://{HOST}:{port}/jwks.json", headers=headers)
                    ready = await client.get(f"http://{HOST}:{port}/readyz")
                except httpx.TransportError:
                    continue
                now = time.time()
                if response.status_code == 200:
                    etags[port] = response.headers.get("etag", "")
                    served[port] = kids(response)
                    for kid in served[port]:
                        counts.first_published.setdefault(kid, now)
                if response.status_code in (200, 304) and ready.status_code == 200:
                    counts.record_jwks_lag(now, served[port])
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


def kids(jwks: httpx.Response) -> set[str]:
    return {key["kid"] for key in orjson.loads(jwks.content)["keys"]}


async def sample_loop_delay(counts: Counts) -> None:
    """Run forever: sample the delay of this process's event loop, which bounds the error of its observations."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + POLL_INTERVAL_SECONDS
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        counts.loop_delays.append(loop.time() - due)
