"""Before a refusal: read the one record afresh, so that nobody is refused from ignorance.

Reads are few whatever comes in: one in flight for an id, none again within a second, and a budget for ids that are
known and another for those that are not, so that made-up ids cannot use up what a rotated secret needs.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records import CLIENT_TYPE, client_record_name
from scopewright.issuer.errors import Slowed
from scopewright.issuer.registry import Registry
from scopewright.stores import Reader

log: Final = logging.getLogger(__name__)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Budget:
    """Reads a second, and how many at once after a pause."""

    rate: float
    burst: int


KNOWN: Final = Budget(rate=50.0, burst=100)
UNKNOWN: Final = Budget(rate=20.0, burst=40)


class TokenBucket:
    def __init__(self, budget: Budget, monotonic: Clock) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._level = float(budget.burst)
        self._since = monotonic()

    @property
    def level(self) -> float:
        now = self._monotonic()
        self._level = min(self._budget.burst, self._level + (now - self._since) * self._budget.rate)
        self._since = now
        return self._level

    def take(self) -> bool:
        if self.level < 1:
            return False
        self._level -= 1
        return True


class FreshReads:
    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        *,
        clock: Clock,
        monotonic: Clock,
        known: Budget = KNOWN,
        unknown: Budget = UNKNOWN,
        remember: float = 1.0,
        timeout: float = 2.0,
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._known = TokenBucket(known, monotonic)
        self._unknown = TokenBucket(unknown, monotonic)
        self._remember = remember
        self._timeout = timeout
        self._running: dict[str, asyncio.Task[None]] = {}
        self._done: dict[str, float] = {}

    @property
    def spent(self) -> bool:
        """Whether the next unknown or wrong id, known or made up, could not be read for."""
        return self._known.level < 1 or self._unknown.level < 1

    async def refresh(self, client_id: str) -> None:
        """Afterwards the registry knows this client's record as it is, or was within the last second.

        `Unavailable` or `Rejected` where it could not be read, `Slowed` where it was not: then nothing is known.
        """
        running = self._running.get(client_id)
        if running is None:
            now = self._monotonic()
            self._forget(now)
            if client_id in self._done:
                return
            bucket = self._unknown if self._registry.client(client_id) is None else self._known
            if not bucket.take():
                raise Slowed("too many refusals to check")
            running = asyncio.create_task(self._read(client_id), name="fresh read")
            running.add_done_callback(_retrieve)
            self._running[client_id] = running
        await asyncio.shield(running)

    def _forget(self, now: float) -> None:
        """They were added in order of time: those that are over come first."""
        while self._done:
            first = next(iter(self._done))
            if now < self._done[first]:
                return
            del self._done[first]

    async def _read(self, client_id: str) -> None:
        namespace, _, name = client_id.partition(".")
        ref = Ref("Secret", self._registry.namespace, client_record_name(namespace, name))
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._reader.read(ref)
        except (Rejected, Unavailable):
            raise
        except TimeoutError:
            raise Unavailable("the store does not answer") from None
        except Exception as error:
            log.exception("a fresh read failed")
            raise Unavailable("the store failed") from error
        finally:
            self._running.pop(client_id, None)
        if found is not None and found[0].type == CLIENT_TYPE:
            self._registry.apply_fresh(*found, self._clock())
        self._done[client_id] = self._monotonic() + self._remember


def _retrieve(task: asyncio.Task[None]) -> None:
    """Whoever waited has gone: its failure is nobody's any more."""
    if not task.cancelled():
        task.exception()
