"""Follow objects of a store without end: failures are logged once and retried, and what is in memory stays."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Rejected, Unavailable
from scopewright.logs import OncePerProblem
from scopewright.stores import Change, ListCompleted, Reader, Selection

log: Final = logging.getLogger(__name__)

_EVENTS_BETWEEN_YIELDS: Final = 32
_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)


async def follow(reader: Reader, selection: Selection, apply: Callable[[Change | ListCompleted], None]) -> None:
    """Call `apply` for each event. Runs until cancelled."""
    failures = applied = 0
    warning = OncePerProblem(log, f"following {selection.kind}s in {selection.namespace}: %s")
    while True:
        try:
            async for event in reader.follow(selection):
                warning.clear()
                failures = 0
                apply(event)
                applied += 1
                if applied % _EVENTS_BETWEEN_YIELDS == 0:
                    # A list of ten thousand objects must not delay requests.
                    await asyncio.sleep(0)
            warning.report("the store ended the watch")
        except (Rejected, Unavailable) as failure:
            warning.report(failure.message)
        except Exception:
            log.exception("following %ss failed", selection.kind)
            warning.report("unexpected error")
        pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        await asyncio.sleep(with_jitter(pause))
        failures += 1
