"""Leader election: one Lease, held by renewing it in time.

Any failure to renew is a failed renewal, time is the monotonic clock, and writes stop at the renew deadline, before
another replica may lead. (`kubernetes.aio.leaderelection` continues to lead after a connection error.)
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from scopewright.backoff import with_jitter
from scopewright.controller.claims import Claims
from scopewright.core.config import LeaseTimes
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api

PAUSE_JITTER: Final = 0.2
"""The share by which a pause may be longer, at random: replicas and installations do not all try at once."""
SLOW_RENEWAL_SHARE: Final = 0.4
"""The share of the renew deadline after which a renewal that takes longer is logged."""

COLLISION_RETRY_SECONDS: Final = 5.0
"""Seconds between attempts while another installation has this name."""

_UNHELD: Final = {"holderIdentity": "", "leaseDurationSeconds": 1}
"""The spec of a Lease that any replica may take at once."""

log = logging.getLogger(__name__)


class Lease:
    """`leads` may be read at any moment, and is false from the renew deadline on.

    The Lease is also the installation's claim to its name (`claims`): no replica leads if another installation has it.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        claims: Claims,
        monotonic: Callable[[], float] = time.monotonic,
        times: LeaseTimes | None = None,
    ) -> None:
        times = times or LeaseTimes()
        self._duration = times.duration.total_seconds()
        self._deadline = times.renew_deadline.total_seconds()
        self._period = times.retry_period.total_seconds()
        self._api = api
        self.claims = claims
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._meta = {"name": name, "namespace": namespace}
        self._identity = identity
        self._monotonic = monotonic
        self._until = float("-inf")
        self._term = 0
        """Counts how often the name was secured: each time, pending work is computed anew."""
        self._refusal = ""
        """The last refusal: it is logged once."""
        self._last_change: tuple[Any, float] = (None, float("-inf"))
        """Holder and renewal of the Lease when it last changed, and when that was by this process's own clock: other
        clocks may be wrong."""

    @property
    def leads(self) -> bool:
        return self._monotonic() < self._until

    async def campaign(self) -> None:
        """Return once this replica leads."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._pause(COLLISION_RETRY_SECONDS if self.claims.rival else self._period))
        log.info("%s is the leader", self._identity)

    async def keep(self) -> None:
        """Renew until the deadline passes without success, or until cancelled.

        A renewal that succeeds after the deadline is another term: pending work is computed anew.
        """
        while True:
            await asyncio.sleep(self._pause(self._period))
            term, until, began = self._term, self._until, self._monotonic()
            await self._try()
            if (took := self._monotonic() - began) > SLOW_RENEWAL_SHARE * self._deadline:
                log.warning("renewing the Lease took %.1f s", took)
            if not self.leads or self._monotonic() >= until or self._term != term:
                break
        log.warning("%s lost leadership", self._identity)

    @staticmethod
    def _pause(period: float) -> float:
        return with_jitter(period, 1.0, 1.0 + PAUSE_JITTER)

    async def release(self) -> None:
        """Let the next replica lead at once, without waiting for the Lease to expire."""
        if not self.leads:
            return
        self._until = float("-inf")
        try:
            async with asyncio.timeout(self._deadline):
                lease = await self._api.get(self._path)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    await self._put({**lease, "spec": {**spec, **_UNHELD}})
        except (Conflict, NotFound, Rejected, Unavailable, TimeoutError) as error:
            log.info("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        began = self._monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                held = await self._acquire()
        except (Conflict, NotFound, Rejected, Unavailable, TimeoutError) as error:
            log.log(self._level(error), "the Lease was not renewed: %s", error)
            held = False
        if held:
            self._until = began + self._deadline
        return held and self.leads

    def _level(self, error: Exception) -> int:
        refusal, self._refusal = self._refusal, str(error) if isinstance(error, Rejected) else ""
        return logging.WARNING if self.leads or self._refusal != refusal else logging.DEBUG

    async def _acquire(self) -> bool:
        lease = await self._read()
        spec = (lease or {}).get("spec") or {}
        if spec.get("holderIdentity") not in (self._identity, "", None) and not self._expired(spec):
            return False
        if self.leads and lease and spec.get("holderIdentity") == self._identity and not self.claims.rival:
            await self._write(lease, {}, True)
            return True
        # Its deletion may have given the name to another installation.
        self._until = float("-inf")
        self._term += 1
        return await self.claims.secure(lease, self._write)

    async def check_claims(self) -> None:
        """While this replica leads. It stops leading if there is an older claim of the name."""
        await self.claims.refresh_while_leading(await self._read())
        if self.claims.rival:
            self._until = float("-inf")

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._api.get(self._path)
        except NotFound:
            return None

    async def _write(self, lease: Mapping[str, Any] | None, stated: Mapping[str, str], held: bool) -> dict[str, Any]:
        """See `claims.Write`."""
        spec = {**self._spec((lease or {}).get("spec") or {}), **({} if held else _UNHELD)}
        if lease is None:
            meta = {**self._meta, "annotations": dict(stated), "ownerReferences": await self.claims.owner()}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            return await self._api.request("POST", self._collection, body=body)
        annotations = {**(lease["metadata"].get("annotations") or {}), **stated}
        return await self._put({**lease, "metadata": {**lease["metadata"], "annotations": annotations}, "spec": spec})

    def _expired(self, spec: dict[str, Any]) -> bool:
        now, held = self._monotonic(), (spec.get("holderIdentity"), spec.get("renewTime"))
        if held != self._last_change[0]:
            self._last_change = (held, now)
        return now >= self._last_change[1] + float(spec.get("leaseDurationSeconds") or self._duration)

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        renewed = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": before.get("acquireTime", now) if renewed else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not renewed),
        }

    async def _put(self, lease: dict[str, Any]) -> dict[str, Any]:
        return await self._api.request("PUT", self._path, body=lease, timeout=self._deadline)
