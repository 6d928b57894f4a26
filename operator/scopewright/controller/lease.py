"""Leader election: one Lease, held by renewing it in time.

Any failure to renew is a failed renewal, time is the monotonic clock, and writes stop at the renew deadline, before
anybody else may lead. (`kubernetes.aio.leaderelection` goes on leading through a connection error.)
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from scopewright.controller.claims import Claims
from scopewright.core.config import LeaseTimes
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api

PAUSE_JITTER: Final = 0.2
"""The share by which a pause may be longer, at random: replicas and installations do not ask all at once."""
SLOW_RENEWAL_SHARE: Final = 0.4
"""The share of the renew deadline after which a renewal that takes longer is logged."""

COLLISION_RETRY_SECONDS: Final = 5.0
"""Seconds between attempts while another installation has our name."""

_NOBODY: Final = {"holderIdentity": "", "leaseDurationSeconds": 1}
"""The spec of a Lease that anybody may take at once."""

log = logging.getLogger(__name__)


class Lease:
    """`leads` may be asked at any moment, and is false from the renew deadline on.

    It is also the installation's claim to its name (`claims`): nobody leads where another installation has that.
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
        self._claims = claims
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._meta = {"name": name, "namespace": namespace}
        self._identity = identity
        self._monotonic = monotonic
        self._until = float("-inf")
        self._term = 0
        """Counts how often the name was secured: what was left undone before is looked at anew."""
        self._refusal = ""
        """What was last refused: it is logged once."""
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
            await asyncio.sleep(self._pause(COLLISION_RETRY_SECONDS if self._claims.rival else self._period))
        log.info("%s is the leader", self._identity)

    async def keep(self) -> None:
        """Renew until the deadline passes without success, or until cancelled.

        A renewal that succeeds after the deadline is another term: what was left undone meanwhile is looked at anew.
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
        return period * (1 + PAUSE_JITTER * random.random())  # noqa: S311 (spreads load, hides nothing)

    async def release(self) -> None:
        """Let the next one lead at once; whoever waits need not wait for the Lease to end."""
        if not self.leads:
            return
        self._until = float("-inf")
        try:
            lease = await self._api.get(f"{self._path}/{self._meta['name']}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] = {**lease["spec"], **_NOBODY}
                await self._put(lease)
        except (Conflict, NotFound, Rejected, Unavailable) as error:
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
        if self.leads and lease and spec.get("holderIdentity") == self._identity and not self._claims.rival:
            await self._write(lease, {}, True)
            return True
        # Its deletion may have given the name to another installation.
        self._until = float("-inf")
        self._term += 1
        return await self._claims.secure(lease, self._write)

    async def look_at_claims(self) -> None:
        """While we lead, which ends where an older claim of our name has come up."""
        await self._claims.look_while_leading(await self._read())
        if self._claims.rival:
            self._until = float("-inf")

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._api.get(f"{self._path}/{self._meta['name']}")
        except NotFound:
            return None

    async def _write(self, lease: Mapping[str, Any] | None, stated: Mapping[str, str], ours: bool) -> dict[str, Any]:
        """See `claims.Write`."""
        spec = self._spec((lease or {}).get("spec") or {})
        if not ours:
            spec = {**spec, **_NOBODY}
        if lease is None:
            meta: dict[str, Any] = {**self._meta, "annotations": dict(stated)}
            meta["ownerReferences"] = await self._claims.owner()
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            return await self._api.request("POST", self._path, body=body)
        annotations = {**(lease["metadata"].get("annotations") or {}), **stated}
        return await self._put({**lease, "metadata": {**lease["metadata"], "annotations": annotations}, "spec": spec})

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

    async def _put(self, lease: dict[str, Any]) -> dict[str, Any]:
        path = f"{self._path}/{self._meta['name']}"
        return await self._api.request("PUT", path, body=lease, timeout=self._deadline)
