"""Requests rotations by the annotation `scopewright.dev/rotate`, and declares the objects of `rotation`."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bench.counts import Counts
from bench.jwks_lag import SecretWatcher
from bench.timeouts import TIMEOUT_SECONDS, time_limit
from bench.workload import LABEL, SHARED_API, Manifest, Workload
from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import ROTATE_ANNOTATION
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import declared_path

POLL_INTERVAL_SECONDS: Final = 0.05
KEY_TIMEOUT_SECONDS: Final = 120.0
"""Operators are killed meanwhile, and the Lease of a killed one has to expire first."""
MIN_ROTATION_INTERVAL_SECONDS: Final = 4.0
"""Interval for one client: its record holds four credentials, and a mount is up to six seconds late."""


@dataclass(frozen=True, slots=True)
class Periods:
    """Durations in seconds, scaled down from those of production."""

    publish_ahead: int
    jwks_max_age: int
    replica_lag: int
    overlap: int
    token_lifetime: int

    @property
    def settings(self) -> dict[str, Any]:
        """The durations that belong in the operator's configuration file."""
        return {"jwksMaxAge": f"{self.jwks_max_age}s", "replicaLag": f"{self.replica_lag}s"}


@dataclass(frozen=True, slots=True)
class RotationWorkload(Workload):
    """Clients of one API, with short overlaps."""

    periods: Periods

    def apis(self) -> Iterator[Manifest]:
        tokens = {"lifetime": f"{self.periods.token_lifetime}s"}
        server = self._server(self.directory, SHARED_API)
        yield {**server, "spec": {**server["spec"], "tokens": tokens}}
        yield self.shared_grant()

    def oauth_client(self, n: int) -> Manifest:
        spec = {
            "access": [{"resourceServer": SHARED_API, "namespace": self.directory, "scopes": [f"{SHARED_API}.read"]}],
            "rotation": {"every": "24h", "overlap": f"{self.periods.overlap}s"},
            "credentials": {"secretTemplate": {"labels": {LABEL: self.run}}},
        }
        return self._manifest(
            "OAuthClient", self.client_namespaces[n % len(self.client_namespaces)], f"service-{n:05}", spec
        )

    def signing_key(self) -> Manifest:
        """A SigningKey with the shortest `every` that is allowed; the benchmark requests its rotations."""
        every = self.periods.publish_ahead + 20 * 60
        rotation = {"every": f"{every}s", "publishAhead": f"{self.periods.publish_ahead}s"}
        return self._manifest("SigningKey", self.system, "default", {"rotation": rotation})


class Rotator:
    """Requests a rotation only when the previous one is complete: two pending requests cause one rotation."""

    def __init__(self, api: Api, workload: RotationWorkload, secrets: SecretWatcher, counts: Counts) -> None:
        self._api = api
        self._workload = workload
        self._secrets = secrets
        self._counts = counts
        self._requested: dict[str, tuple[int, float]] = {}
        self._serial = 0

    async def credentials(self, rate: float) -> None:
        """Run forever: request `rate` rotations a second, client by client."""
        manifests = list(self._workload.oauth_clients())
        due = time.monotonic()
        while True:
            for manifest in manifests:
                if not self._may_rotate(manifest):
                    continue
                due = max(due + 1 / rate, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())
                client_id = _client_id(manifest)
                self._requested[client_id] = len(self._secrets.seen[client_id]), time.monotonic()
                await self.request_rotation(manifest)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def _may_rotate(self, manifest: Manifest) -> bool:
        client_id = _client_id(manifest)
        seen, at = self._requested.get(client_id, (0, float("-inf")))
        return len(self._secrets.seen[client_id]) > seen and time.monotonic() >= at + MIN_ROTATION_INTERVAL_SECONDS

    async def keys(self, every: float, rotations: int) -> None:
        """Request that many rotations, at least `every` seconds apart, each after the last key is published."""
        manifest = self._workload.signing_key()
        for _ in range(rotations):
            public = len(self._counts.first_published)
            started = time.monotonic()
            await self.request_rotation(manifest)
            await asyncio.sleep(started + every - time.monotonic())
            async with time_limit(KEY_TIMEOUT_SECONDS, "the requested key to be published"):
                while len(self._counts.first_published) == public:  # noqa: ASYNC110 (counted in many places)
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def request_rotation(self, manifest: Manifest) -> None:
        self._serial += 1

        def rotate(current: Manifest) -> None:
            current["metadata"].setdefault("annotations", {})[ROTATE_ANNOTATION] = str(self._serial)

        await self._change(manifest, rotate)

    async def revoke_keys(self, before: datetime) -> None:
        def revoke(current: Manifest) -> None:
            current["spec"]["revokedBefore"] = f"{before:%FT%TZ}"

        await self._change(self._workload.signing_key(), revoke)

    async def _change(self, manifest: Manifest, change: Callable[[Manifest], None]) -> None:
        meta = manifest["metadata"]
        path = f"{declared_path(manifest['kind'], meta['namespace'])}/{meta['name']}"
        async with time_limit(
            TIMEOUT_SECONDS, f"the API server to accept a change of {manifest['kind']} {meta['name']}"
        ):
            while True:
                with suppress(Conflict, Unavailable):
                    current = await self._api.get(path)
                    change(current)
                    await self._api.request("PUT", path, body=current)
                    return
                await asyncio.sleep(POLL_INTERVAL_SECONDS)


def _client_id(manifest: Manifest) -> str:
    return f"{manifest['metadata']['namespace']}.{manifest['metadata']['name']}"
