"""Writes into the status of an object that no installation serves its `spec.issuer`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from scopewright.controller.index import status_target
from scopewright.core.claims import Claim
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared, ref_of
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.unserved_issuer import REASON, unserved_status
from scopewright.stores import Objects

MAX_WRITES: Final = 500
"""Statuses that one resync writes; the others follow with the next ones."""

log = logging.getLogger(__name__)


class UnservedIssuers:
    """`check` is called with each object of another issuer during a resync, and `report` or `discard` after it.

    `claims` are those that exist when the resync begins.
    """

    def __init__(
        self,
        store: Objects,
        config: Config,
        clock: Callable[[], datetime],
        claims: Callable[[], Sequence[Claim]],
        may_write: Callable[[], bool],
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._claims = claims
        self._may_write = may_write
        self._pending: dict[Ref, tuple[Declared, Mapping[str, Any]]] = {}
        """Objects, and the status that each is to have."""

    def check(self, raw: Mapping[str, Any]) -> None:
        """Objects that an installation has reconciled, as their status shows, are ignored."""
        if len(self._pending) >= MAX_WRITES or not _is_open(raw):
            return
        try:
            obj = parse_declared(raw)
        except Rejected:
            return
        if status := unserved_status(obj, self._claims(), self._config, self._clock()):
            self._pending[ref_of(obj)] = (obj, status)

    def discard(self) -> None:
        """Write nothing after this resync, because the claims are not known."""
        self._pending = {}

    async def report(self) -> None:
        """Write the pending statuses. A write that fails is left to the next resync."""
        pending, self._pending = self._pending, {}
        for ref, (obj, status) in sorted(pending.items(), key=lambda item: item[0]):
            if not self._may_write():
                return
            try:
                await self._store.write_status(status_target(obj), status)
            except (Conflict, Rejected, Unavailable) as error:
                log.info("%s: the status IssuerNotServed was not written: %s", ref, error)
            else:
                log.info("%s: no installation serves its issuer %r", ref, obj.spec.issuer)


def _is_open(raw: Mapping[str, Any]) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    reasons = {condition.get("reason") for condition in conditions if condition.get("type") == "Ready"}
    return not raw["metadata"].get("deletionTimestamp") and reasons <= {"Pending", REASON}
