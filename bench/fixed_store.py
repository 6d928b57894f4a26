"""The store of a measured issuer: objects that never change, in a file, so that its memory is that of the issuer."""

import asyncio
import pickle
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change, Entries, ListCompleted, Selection


class FixedStore:
    """The part of a store that an issuer reads. It is made before the workers fork; each opens the file itself."""

    def __init__(self, objects: Iterable[Change], file: Path) -> None:
        """`file` is overwritten."""
        self._file = file
        file.unlink(missing_ok=True)
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE object (kind, namespace, name, change)")
            database.executemany("INSERT INTO object VALUES (?, ?, ?, ?)", map(_row, objects))
            database.execute("CREATE UNIQUE INDEX ref ON object (kind, namespace, name)")
        database.close()

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        for change in self._select("namespace = ? AND name = ? AND kind = ?", ref.namespace, ref.name, ref.kind):
            return change.existing, change.entries
        return None

    async def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        refs = set()
        for change in self._select("kind = ?", selection.kind):
            refs.add(change.existing.ref)
            yield change
        yield ListCompleted(frozenset(refs))
        del refs
        await asyncio.Event().wait()

    def _select(self, condition: str, *values: str) -> Iterable[Change]:
        database = sqlite3.connect(self._file)
        try:
            for (change,) in database.execute(f"SELECT change FROM object WHERE {condition}", values):
                yield pickle.loads(change)
        finally:
            database.close()


def _row(change: Change) -> tuple[str, str, str, bytes]:
    ref = change.existing.ref
    return ref.kind, ref.namespace, ref.name, pickle.dumps(change)
