"""Follows a directory of manifests for `scopewright dev`; a broken manifest leaves its object as it was."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.manifests.load import DirectoryReader
from scopewright.manifests.validate import Diagnostic, Manifests
from scopewright.stores.directory.declared import DeclaredObjects, ManifestChange

SETTLE_SECONDS: Final = 0.2
"""Time without a change before a change or deletion of a file counts: editors write in several steps."""


class ManifestFollower:
    """Rescans a directory, and reports changes of the objects in force."""

    def __init__(
        self,
        declared: DeclaredObjects,
        fallbacks: tuple[dict[str, Any], ...] = (),
        additions: tuple[dict[str, Any], ...] = (),
        additions_with: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """`fallbacks` are manifests used where the directory declares none of their kind, `additions` where it declares
        no such object, and `additions_with` where it also declares an object of the kind that is their key.
        """
        self._declared = declared
        self._fallbacks = fallbacks
        self._additions = additions
        self._additions_with = additions_with or {}

    async def follow(self, directory: Path, interval: float = 0.3) -> AsyncIterator[ManifestChange]:
        """All objects in force first, then each change of objects or problems, without end."""
        reader = DirectoryReader(directory, self._fallbacks, self._additions, self._additions_with)
        last: Manifests | None = None
        reported: tuple[Diagnostic, ...] | None = None
        absent: frozenset[Ref] = frozenset()
        while True:
            manifests = await asyncio.to_thread(reader.read)
            missing = self._declared.missing(manifests) - absent
            if manifests is not last or absent:
                change = await self._applied(manifests, missing)
                if reported is None or not change.is_empty or change.problems != reported:
                    yield change
                last, reported = (manifests if change.applied else None), change.problems
            absent = missing
            await asyncio.sleep(min(interval, SETTLE_SECONDS) if absent or not reader.stable else interval)

    async def _applied(self, manifests: Manifests, spared: frozenset[Ref]) -> ManifestChange:
        """A STATE that cannot be written is reported as a problem until it can be."""
        try:
            return await asyncio.to_thread(self._declared.apply, manifests, spared)
        except (OSError, Unavailable) as error:
            fix = "free space or make it writable; the changes take effect then"
            problem = Diagnostic(str(self._declared.state), 1, f"the STATE cannot be written: {error}", fix)
            return ManifestChange({}, {}, (*manifests.problems, problem), applied=False)
