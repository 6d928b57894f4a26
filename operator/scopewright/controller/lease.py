"""Leadership: one Lease, held by renewing it in time.

Any failure to renew is a failed renewal, time is the monotonic clock, and writes stop at the renew deadline, before
anybody else may lead. (`kubernetes.aio.leaderelection` goes on leading through a connection error.)
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kube_api import Api, NotFound

DURATION: Final = 8.0
DEADLINE: Final = 5.0
PERIOD: Final = 1.0
SLOW: Final = 2.0
"""Seconds. A renewal that takes longer is told: the deadline is not far."""

log = logging.getLogger(__name__)


class Lease:
    """`leads` may be asked at any moment, and is false from the renew deadline on."""

    def __init__(
        self, api: Api, namespace: str, name: str, identity: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
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
            await asyncio.sleep(PERIOD)
        log.info("%s leads", self._identity)

    async def keep(self) -> None:
        """Renew until the deadline passes without success, or until cancelled.

        A renewal that succeeds after the deadline is another term: what was left undone meanwhile is looked at anew.
        """
        while True:
            await asyncio.sleep(PERIOD)
            until, began = self._until, self._monotonic()
            await self._try()
            if (took := self._monotonic() - began) > SLOW:
                log.warning("renewing the Lease took %.1f s", took)
            if not self.leads or self._monotonic() >= until:
                break
        log.warning("%s leads no more", self._identity)

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
            async with asyncio.timeout(DEADLINE):
                held = await self._acquire()
        except (Conflict, NotFound, Rejected, Unavailable, TimeoutError) as error:
            log.log(logging.WARNING if self.leads else logging.DEBUG, "the Lease was not renewed: %s", error)
            held = False
        if held:
            self._until = began + DEADLINE
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
        return now >= self._seen[1] + float(spec.get("leaseDurationSeconds") or DURATION)

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if ours else 1),
        }

    async def _put(self, lease: dict[str, Any]) -> None:
        await self._api.request("PUT", f"{self._path}/{self._meta['name']}", body=lease, timeout=DEADLINE)
