"""Leadership: one Lease, held by renewing it in time.

Any failure to renew is a failed renewal, time is the monotonic clock, and writes stop at the renew deadline, before
anybody else may lead. (`kubernetes.aio.leaderelection` goes on leading through a connection error.)
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from scopewright.core.config import LeaseTimes
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kube_api import Api, NotFound

JITTER: Final = 0.2
"""The share by which a pause may be longer, at random: replicas and installations do not ask all at once."""
SLOW: Final = 0.4
"""The share of the renew deadline after which a renewal that takes longer is logged."""

log = logging.getLogger(__name__)


class Lease:
    """`leads` may be asked at any moment, and is false from the renew deadline on."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        monotonic: Callable[[], float] = time.monotonic,
        times: LeaseTimes | None = None,
    ) -> None:
        times = times or LeaseTimes()
        self._duration = times.duration.total_seconds()
        self._deadline = times.renew_deadline.total_seconds()
        self._period = times.retry_period.total_seconds()
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._meta = {"name": name, "namespace": namespace}
        self._identity = identity
        self._monotonic = monotonic
        self._until = float("-inf")
        self._seen: tuple[Any, float] = (None, float("-inf"))
        """What the Lease held when last it changed, and when that was by our own clock: others' clocks may be wrong."""

    @property
    def leads(self) -> bool:
        return self._monotonic() < self._until

    async def campaign(self) -> None:
        """Return once we lead."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._pause())
        log.info("%s leads", self._identity)

    async def keep(self) -> None:
        """Renew until the deadline passes without success, or until cancelled.

        A renewal that succeeds after the deadline is another term: what was left undone meanwhile is looked at anew.
        """
        while True:
            await asyncio.sleep(self._pause())
            until, began = self._until, self._monotonic()
            await self._try()
            if (took := self._monotonic() - began) > SLOW * self._deadline:
                log.warning("renewing the Lease took %.1f s", took)
            if not self.leads or self._monotonic() >= until:
                break
        log.warning("%s leads no more", self._identity)

    def _pause(self) -> float:
        return self._period * (1 + JITTER * random.random())  # noqa: S311 (spreads load, hides nothing)

    async def release(self) -> None:
        """Let the next one lead at once; whoever waits need not wait for the Lease to end."""
        if not self.leads:
            return
        self._until = float("-inf")
        try:
            lease = await self._api.get(f"{self._path}/{self._meta['name']}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._put(lease)
        except (Conflict, NotFound, Rejected, Unavailable) as error:
            log.info("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        began = self._monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                held = await self._acquire()
        except (Conflict, NotFound, Rejected, Unavailable, TimeoutError) as error:
            log.log(logging.WARNING if self.leads else logging.DEBUG, "the Lease was not renewed: %s", error)
            held = False
        if held:
            self._until = began + self._deadline
        return held and self.leads

    async def _acquire(self) -> bool:
        try:
            lease = await self._api.get(f"{self._path}/{self._meta['name']}")
        except NotFound:
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": self._meta}
            await self._api.request("POST", self._path, body={**body, "spec": self._spec({})})
            return True
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") not in (self._identity, "", None) and not self._expired(spec):
            return False
        lease["spec"] = self._spec(spec)
        await self._put(lease)
        return True

    def _expired(self, spec: dict[str, Any]) -> bool:
        now, held = self._monotonic(), (spec.get("holderIdentity"), spec.get("renewTime"))
        if held != self._seen[0]:
            self._seen = (held, now)
        return now >= self._seen[1] + float(spec.get("leaseDurationSeconds") or self._duration)

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if ours else 1),
        }

    async def _put(self, lease: dict[str, Any]) -> None:
        await self._api.request("PUT", f"{self._path}/{self._meta['name']}", body=lease, timeout=self._deadline)
