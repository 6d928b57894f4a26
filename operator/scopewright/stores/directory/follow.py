"""Following Secrets and ConfigMaps in a directory: rescans that read only what differs, woken by one's own writes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change, ListCompleted, Selection
from scopewright.stores.directory import layout as versions
from scopewright.stores.directory.layout import Version
from scopewright.stores.directory.state_dir import StateDirectory

Trace = tuple[object, ...]
Source = tuple[Callable[[Ref], Version | None], Callable[[], str]]
"""How to read an object, and the resourceVersion of now."""

_SHARE: Final = 10
"""A rescan may take a tenth of the time: with very many objects they become rarer."""


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
                for told in await asyncio.to_thread(scan.run):
                    yield told
            pause = max(interval, _SHARE * (time.monotonic() - began))
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), pause)
    finally:
        followers.discard(woken)


class _Scan:
    def __init__(self, state: StateDirectory, selection: Selection, source: Source) -> None:
        self._state = state
        self._selection = selection
        self._read, self._mark = source
        self._traces: dict[Ref, Trace] = {}
        self._known: dict[Ref, Existing] = {}
        self._listed = False

    def run(self) -> list[Change | ListCompleted]:
        """What to tell: changes, what is gone, and the complete list where it is the first or something is gone."""
        self._state.check()
        version = self._mark()
        traces = {ref: self._trace(ref) for ref in self._state.objects(self._selection.kind, self._selection.namespace)}
        told: list[Change | ListCompleted] = []
        known = dict(self._known)
        for ref, trace in traces.items():
            if self._traces.get(ref) != trace:
                try:
                    told += self._changed(ref, known)
                except OSError:
                    traces[ref] = self._traces.get(ref, ())
        for ref in [ref for ref in known if ref not in traces]:
            told.append(Change(known.pop(ref), {}, gone=True))
        self._state.check()
        if not self._listed or any(isinstance(t, Change) and t.gone for t in told):
            told.append(ListCompleted(frozenset(known), version))
        self._traces, self._known, self._listed = traces, known, True
        return told

    def _trace(self, ref: Ref) -> Trace:
        """One object that cannot be read just now stays as it was, and holds up no other."""
        try:
            return versions.trace(self._state.place(ref))
        except OSError:
            return self._traces.get(ref, ())

    def _changed(self, ref: Ref, known: dict[Ref, Existing]) -> list[Change | ListCompleted]:
        version = self._read(ref)
        before = known.get(ref)
        if version is None or not _selected(version.existing.labels, self._selection.labels):
            return [Change(known.pop(ref), {}, gone=True)] if before else []
        if before == version.existing:
            return []
        known[ref] = version.existing
        return [Change(version.existing, version.entries)]


def _selected(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    return all(labels.get(key) == value for key, value in (wanted or {}).items())
