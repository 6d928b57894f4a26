"""Follows Secrets and ConfigMaps in a directory by rescans, which read changed objects only."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change, ListCompleted, Selection
from scopewright.stores.directory import layout
from scopewright.stores.directory.layout import Version
from scopewright.stores.directory.state_dir import StateDirectory

Signature = tuple[object, ...]
Source = tuple[Callable[[Ref], Version | None], Callable[[], str]]
"""How to read an object, and the resourceVersion of now."""

_SHARE: Final = 10
"""A rescan may take one part in so many of the time: with many objects, rescans are rarer."""


async def follow(
    state: StateDirectory, selection: Selection, source: Source, followers: set[asyncio.Event], interval: float
) -> AsyncIterator[Change | ListCompleted]:
    woken = asyncio.Event()
    followers.add(woken)
    scan = _Scan(state, selection, source)
    try:
        while True:
            woken.clear()
            began = time.monotonic()
            with suppress(OSError, Unavailable):
                for changes in await asyncio.to_thread(scan.run):
                    yield changes
            pause = max(interval, _SHARE * (time.monotonic() - began))
            with suppress(TimeoutError):
                # asyncio.wait_for of Python 3.11 loses a cancellation at the time of a write.
                async with asyncio.timeout(pause):
                    await woken.wait()
    finally:
        followers.discard(woken)


class _Scan:
    def __init__(self, state: StateDirectory, selection: Selection, source: Source) -> None:
        self._state = state
        self._selection = selection
        self._read, self._version_now = source
        self._signatures: dict[Ref, Signature] = {}
        self._known: dict[Ref, Existing] = {}
        self._listed = False

    def run(self) -> list[Change | ListCompleted]:
        """Changes, deletions, and `ListCompleted` after the first scan and after deletions."""
        self._state.check()
        version = self._version_now()
        refs = self._state.objects(self._selection.kind, self._selection.namespace)
        signatures = {ref: self._signature(ref) for ref in refs}
        changes: list[Change | ListCompleted] = []
        known = dict(self._known)
        for ref, signature in signatures.items():
            if self._signatures.get(ref) != signature:
                try:
                    changes += self._changed(ref, known)
                except OSError:
                    signatures[ref] = self._signatures.get(ref, ())
        for ref in [ref for ref in known if ref not in signatures]:
            changes.append(Change(known.pop(ref), {}, deleted=True))
        self._state.check()
        if not self._listed or any(isinstance(t, Change) and t.deleted for t in changes):
            changes.append(ListCompleted(frozenset(known), version))
        self._signatures, self._known, self._listed = signatures, known, True
        return changes

    def _signature(self, ref: Ref) -> Signature:
        """An object that cannot be read stays as it was, and does not delay others."""
        try:
            return layout.object_signature(self._state.directory_of(ref))
        except OSError:
            return self._signatures.get(ref, ())

    def _changed(self, ref: Ref, known: dict[Ref, Existing]) -> list[Change | ListCompleted]:
        version = self._read(ref)
        before = known.get(ref)
        if version is None or not _selected(version.existing.labels, self._selection.labels):
            return [Change(known.pop(ref), {}, deleted=True)] if before else []
        if before == version.existing:
            return []
        known[ref] = version.existing
        return [Change(version.existing, version.entries)]


def _selected(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    return all(labels.get(key) == value for key, value in (wanted or {}).items())
