"""Follows a directory of manifests: `scopewright dev` keeps in force what was declared correctly before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.manifests.load import DirectoryReader
from scopewright.manifests.validate import Diagnostic, Manifests
from scopewright.stores.directory.declared import DeclaredObjects, ManifestChange

SETTLE: Final = 0.2
"""Seconds that a file must stand still, or be gone, before it is believed: editors write in several steps."""


class ManifestFollower:
    """Looks at a directory again and again, and says what changed in force."""

    def __init__(self, ledger: DeclaredObjects, fallbacks: tuple[dict[str, Any], ...] = ()) -> None:
        """`fallbacks` are manifests that count where the directory declares none of their kind."""
        self._ledger = ledger
        self._fallbacks = fallbacks

    async def follow(self, directory: Path, interval: float = 0.3) -> AsyncIterator[ManifestChange]:
        """First everything in force, even if that is nothing; then each change of objects or problems, for ever."""
        look = DirectoryReader(directory, self._fallbacks)
        last: Manifests | None = None
        told: tuple[Diagnostic, ...] | None = None
        absent: frozenset[Ref] = frozenset()
        while True:
            seen = await asyncio.to_thread(look.take)
            missing = self._ledger.missing(seen) - absent
            if seen is not last or absent:
                change = await self._applied(seen, missing)
                if told is None or change.added_or_changed or change.removed or change.problems != told:
                    yield change
                last, told = (seen if change.problems == seen.problems else None), change.problems
            absent = missing
            await asyncio.sleep(min(interval, SETTLE) if absent or not look.settled else interval)

    async def _applied(self, seen: Manifests, spared: frozenset[Ref]) -> ManifestChange:
        """A STATE that cannot be written is a problem beside the others, until it can."""
        try:
            return await asyncio.to_thread(self._ledger.apply, seen, spared)
        except (OSError, Unavailable) as error:
            fix = "make room and make it writable; what changed comes into force then"
            problem = Diagnostic(str(self._ledger.state), 1, f"the STATE cannot be written: {error}", fix)
            return ManifestChange({}, {}, (*seen.problems, problem))
