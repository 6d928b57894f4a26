"""Write to a record that several replicas write: each merges what it knows into what is stored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Ref
from scopewright.core.records.names import ENTRY, RECORD_LABEL
from scopewright.stores import Store

log: Final = logging.getLogger(__name__)

LAST_WRITE_TIMEOUT_SECONDS: Final = 2.0
"""Of each write when the issuer stops."""
_MAX_ATTEMPTS: Final = 8
_MAX_FIRST_PAUSE_SECONDS: Final = 0.05


async def merge_and_write(
    store: Store,
    ref: Ref,
    kind: str,
    merge: Callable[[bytes], bytes | None],
    pause: Callable[[int], float] = lambda attempt: 0.0,
) -> bool:
    """False if the record does not exist: the operator creates it.

    `merge` takes the stored content and returns the new one, or None if nothing changes. After a conflict it is called
    again, `pause(0, 1, …)` seconds later. `kind` is the value of the record's label.
    Raises `Unavailable` after too many conflicts; else what the store and `merge` raise.
    """
    for attempt in range(_MAX_ATTEMPTS):
        found = await store.read(ref)
        if found is None:
            return False
        existing, entries = found
        content = merge(entries.get(ENTRY, b""))
        if content is None:
            return True
        labels = {MANAGED_BY: MANAGER, RECORD_LABEL: kind}
        try:
            await store.write(Desired(ref, entries={ENTRY: content}, labels=labels, replaces=existing))
        except Conflict:
            await asyncio.sleep(pause(attempt))
        else:
            return True
    raise Unavailable("other replicas write at the same time")


def pause_after_conflict(attempt: int, fraction: float) -> float:
    """Return a pause in seconds for `merge_and_write`: `fraction`, a random number from 0 to 1, of the maximum, which
    doubles with each further conflict.
    """
    return _MAX_FIRST_PAUSE_SECONDS * (1 << attempt) * fraction


async def last_write(write: Awaitable[object], failure: str) -> None:
    """Await the last write before the issuer stops. If it fails, `failure` is logged."""
    try:
        async with asyncio.timeout(LAST_WRITE_TIMEOUT_SECONDS):
            await write
    except TimeoutError:
        log.warning("%s: the issuer stops, and the store took longer than %s s", failure, LAST_WRITE_TIMEOUT_SECONDS)
    except Exception:
        log.exception(failure)
