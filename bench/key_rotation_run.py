"""Asking for rotations, by the annotation `scopewright.dev/rotate`, and what is declared for that."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bench.counts import Counts
from bench.seeing import Secrets
from bench.waiting import PATIENCE, within
from bench.workload import EVERYBODYS, LABEL, Manifest, Workload
from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import ROTATE_ANNOTATION
from scopewright.stores.kube_api import Api
from scopewright.stores.kubernetes import declared_path

LOOK_EVERY: Final = 0.05
KEY_PATIENCE: Final = 120.0
"""Seconds: operators are killed meanwhile, and the Lease of a dead one has to end first."""
NO_OFTENER: Final = 4.0
"""Seconds between rotations of one client: its record holds four credentials, and a mount is late by up to six seconds.
"""


@dataclass(frozen=True, slots=True)
class Periods:
    """In seconds, all scaled down together."""

    publish_ahead: int
    jwks_max_age: int
    replica_lag: int
    overlap: int
    token_lifetime: int

    @property
    def settings(self) -> dict[str, Any]:
        """Of the operator's configuration file."""
        return {"jwksMaxAge": f"{self.jwks_max_age}s", "replicaLag": f"{self.replica_lag}s"}


@dataclass(frozen=True, slots=True)
class Turning(Workload):
    """Clients of one API, with short overlaps."""

    periods: Periods

    def apis(self) -> Iterator[Manifest]:
        tokens = {"lifetime": f"{self.periods.token_lifetime}s"}
        server = self._server(self.directory, EVERYBODYS)
        yield {**server, "spec": {**server["spec"], "tokens": tokens}}
        yield self.everybodys_grant()

    def oauth_client(self, n: int) -> Manifest:
        spec = {
            "access": [{"resourceServer": EVERYBODYS, "namespace": self.directory, "scopes": [f"{EVERYBODYS}.read"]}],
            "rotation": {"every": "24h", "overlap": f"{self.periods.overlap}s"},
            "credentials": {"secretTemplate": {"labels": {LABEL: self.run}}},
        }
        return self._manifest("OAuthClient", self.callers[n % len(self.callers)], f"service-{n:05}", spec)

    def signing_key(self) -> Manifest:
        """Its `every` is as short as may be declared; rotations are asked for."""
        every = self.periods.publish_ahead + 20 * 60
        rotation = {"every": f"{every}s", "publishAhead": f"{self.periods.publish_ahead}s"}
        return self._manifest("SigningKey", self.system, "default", {"rotation": rotation})


class Rotator:
    """Asks only for what has nothing outstanding: a second request before the first is met would be lost in it."""

    def __init__(self, api: Api, workload: Turning, secrets: Secrets, counts: Counts) -> None:
        self._api = api
        self._workload = workload
        self._secrets = secrets
        self._counts = counts
        self._asked: dict[str, tuple[int, float]] = {}
        self._turn = 0

    async def credentials(self, rate: float) -> None:
        """For ever: so many a second, client by client."""
        manifests = list(self._workload.oauth_clients())
        due = time.monotonic()
        while True:
            for manifest in manifests:
                if not self._is_its_turn(manifest):
                    continue
                due = max(due + 1 / rate, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())
                client_id = _client_id(manifest)
                self._asked[client_id] = len(self._secrets.seen[client_id]), time.monotonic()
                await self.ask(manifest)
            await asyncio.sleep(LOOK_EVERY)

    def _is_its_turn(self, manifest: Manifest) -> bool:
        client_id = _client_id(manifest)
        seen, at = self._asked.get(client_id, (0, float("-inf")))
        return len(self._secrets.seen[client_id]) > seen and time.monotonic() >= at + NO_OFTENER

    async def keys(self, every: float, rotations: int) -> None:
        """So many, at least that far apart: the next when the last one's key is public."""
        manifest = self._workload.signing_key()
        for _ in range(rotations):
            public = len(self._counts.published)
            began = time.monotonic()
            await self.ask(manifest)
            await asyncio.sleep(began + every - time.monotonic())
            async with within(KEY_PATIENCE, "the key that was asked for to be published"):
                while len(self._counts.published) == public:  # noqa: ASYNC110 (counted in many places)
                    await asyncio.sleep(LOOK_EVERY)

    async def ask(self, manifest: Manifest) -> None:
        self._turn += 1

        def rotate(found: Manifest) -> None:
            found["metadata"].setdefault("annotations", {})[ROTATE_ANNOTATION] = str(self._turn)

        await self._change(manifest, rotate)

    async def revoke_keys(self, before: datetime) -> None:
        def revoke(found: Manifest) -> None:
            found["spec"]["revokedBefore"] = f"{before:%FT%TZ}"

        await self._change(self._workload.signing_key(), revoke)

    async def _change(self, manifest: Manifest, change: Callable[[Manifest], None]) -> None:
        meta = manifest["metadata"]
        path = f"{declared_path(manifest['kind'], meta['namespace'])}/{meta['name']}"
        async with within(PATIENCE, f"the API server to take a change of {manifest['kind']} {meta['name']}"):
            while True:
                with suppress(Conflict, Unavailable):
                    found = await self._api.get(path)
                    change(found)
                    await self._api.request("PUT", path, body=found)
                    return
                await asyncio.sleep(LOOK_EVERY)


def _client_id(manifest: Manifest) -> str:
    return f"{manifest['metadata']['namespace']}.{manifest['metadata']['name']}"
