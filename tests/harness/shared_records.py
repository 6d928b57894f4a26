"""`SharedRecords`: records in a directory that several processes write, as they write to one API server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from scopewright.core.failures import Rejected
from scopewright.core.objects import Desired, Existing, Ref
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import ENTRY, RECORD_LABEL, USAGE_NAME
from scopewright.core.records.written_by_issuers import UsageRecord
from scopewright.stores import Change, Entries, ListCompleted, Selection
from scopewright.stores.directory.store import DirectoryStore
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import ISSUER, NAMESPACE

USAGE = Ref("ConfigMap", NAMESPACE, USAGE_NAME)


class SharedRecords:
    """The store of an issuer. A write waits until no other process writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reading = DirectoryStore.open_readonly(folder)

    @classmethod
    async def filled(cls, folder: Path, harness: IssuerHarness) -> "SharedRecords":
        """With what the harness has put, and an empty usage record."""
        harness.put_object("ConfigMap", USAGE_NAME, {ENTRY: encode(UsageRecord(START))}, label="usage")
        DirectoryStore.open(folder, ISSUER).close()
        filled = cls(folder)
        for stored in harness.store.objects.values():
            existing = stored.existing
            await filled.write(
                Desired(existing.ref, dict(stored.entries), type=existing.type, labels=dict(existing.labels))
            )
        return filled

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        return await self._reading.read(ref)

    def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        return self._reading.follow(selection, interval=0.05)

    async def write(self, desired: Desired) -> Existing:
        while True:
            try:
                writing = DirectoryStore.open(self._folder, ISSUER)
            except Rejected:  # another process has the lock
                await asyncio.sleep(0.01)
                continue
            try:
                return await writing.write(desired)
            finally:
                writing.close()

    async def reported_stores(self) -> int:
        """How many session stores issuers report."""
        found = await self.read(USAGE)
        assert found
        assert found[0].labels[RECORD_LABEL] == "usage"
        return len(decode(UsageRecord, found[1][ENTRY]).session_stores)
