"""Secrets as mounted directories, updated atomically some seconds after a change, as the kubelet does."""

import asyncio
import itertools
import shutil
from pathlib import Path
from random import Random
from typing import Final

from bench.counts import Counts
from scopewright.stores import Entries

_SERIAL: Final = itertools.count()


def swap(folder: Path, entries: Entries) -> None:
    """As the kubelet's AtomicWriter: write a new directory, then replace the link `..data` in one step."""
    data = folder / "..data"
    old = data.readlink() if data.is_symlink() else None
    version = folder / f"..version-{next(_SERIAL):06}"
    version.mkdir(parents=True)
    for name, value in entries.items():
        (version / name).write_bytes(value)
    new = folder / "..data_tmp"
    new.symlink_to(version.name)
    new.replace(data)
    for name in entries:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    if old is not None:
        shutil.rmtree(folder / old)


class KubeletMounts:
    """One directory for each client id. An update writes the entries that the Secret has at that time."""

    def __init__(self, root: Path, max_delay: float, random: Random, counts: Counts) -> None:
        self._root = root
        self._max_delay = max_delay
        self._random = random
        self._counts = counts
        self._latest: dict[str, Entries] = {}
        self._scheduled: dict[str, asyncio.Task[None]] = {}
        self.mounted: dict[str, Path] = {}

    def update(self, client_id: str, entries: Entries) -> None:
        self._latest[client_id] = entries
        if client_id not in self._scheduled:
            delay = self._random.uniform(0, self._max_delay) if client_id in self.mounted else 0.0
            self._scheduled[client_id] = asyncio.create_task(self._sync(client_id, delay))

    async def _sync(self, client_id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        entries = self._latest[client_id]
        folder = self._root / client_id
        await asyncio.to_thread(swap, folder, entries)
        self._counts.mounts_swapped += client_id in self.mounted
        self.mounted[client_id] = folder
        del self._scheduled[client_id]
        if self._latest[client_id] is not entries:
            self.update(client_id, self._latest[client_id])

    async def close(self) -> None:
        waiting = list(self._scheduled.values())
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
