"""Credential usage is reported in batches, and merged with the reports of other replicas."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from scopewright.core.config import Config
from scopewright.core.installation import plan_usage, usage_ref
from scopewright.core.records.codec import decode
from scopewright.core.records.names import ENTRY
from scopewright.core.records.written_by_issuers import UsageRecord, usage_key
from scopewright.issuer.observability.usage import CredentialUsage
from scopewright.stores import Store
from scopewright.stores.directory.store import DirectoryStore

ISSUER = "http://127.0.0.1:8080"
CONFIG = Config(issuer=ISSUER)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO, DELETED = (bytes([n]) * 32 for n in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    opened = DirectoryStore.open(tmp_path / "state", ISSUER)
    yield opened
    opened.close()


def usage(store: DirectoryStore) -> CredentialUsage:
    return CredentialUsage(store, CONFIG.namespace, lambda: [ONE, TWO], NOW.timestamp)


async def reported(store: DirectoryStore) -> dict[str, int]:
    found = await store.read(usage_ref(CONFIG))
    return decode(UsageRecord, found[1][ENTRY]).used if found else {}


def minutes(ago: float = 0.0) -> int:
    return int((NOW.timestamp() - ago) // 60)


async def test_usage_is_reported_by_the_minute(store: DirectoryStore) -> None:
    await store.write(plan_usage(CONFIG, NOW))
    noting = usage(store)
    noting.note(ONE, NOW.timestamp() - 100)
    noting.note(ONE, NOW.timestamp())
    await noting.report()
    assert await reported(store) == {usage_key(ONE.hex()): minutes()}


async def test_reports_of_replicas_are_merged_and_the_latest_use_is_kept(store: DirectoryStore) -> None:
    await store.write(plan_usage(CONFIG, NOW))
    first, second = usage(store), usage(store)
    first.note(ONE, NOW.timestamp())
    second.note(ONE, NOW.timestamp() - 600)
    second.note(TWO, NOW.timestamp() - 600)
    await first.report()
    await second.report()
    assert await reported(store) == {usage_key(ONE.hex()): minutes(), usage_key(TWO.hex()): minutes(600)}


async def test_concurrent_reports_lose_no_use(store: DirectoryStore) -> None:
    """As when a process with many workers stops."""
    await store.write(plan_usage(CONFIG, NOW))
    digests = [bytes([n]) * 32 for n in range(8)]
    workers = [CredentialUsage(store, CONFIG.namespace, lambda: digests, NOW.timestamp) for _ in digests]
    for worker, digest in zip(workers, digests, strict=True):
        worker.note(digest, NOW.timestamp())
    await asyncio.gather(*(worker.report() for worker in workers))
    assert await reported(store) == {usage_key(digest.hex()): minutes() for digest in digests}


async def test_unknown_credential_leaves_the_report_after_a_day(store: DirectoryStore) -> None:
    await store.write(plan_usage(CONFIG, NOW))
    noting = usage(store)
    noting.note(DELETED, NOW.timestamp() - 90_000)
    await noting.report()
    assert await reported(store) == {}
    noting.note(DELETED, NOW.timestamp() - 80_000)
    await noting.report()
    assert await reported(store) == {usage_key(DELETED.hex()): minutes(80_000)}


async def test_repeated_use_within_a_minute_writes_nothing(store: DirectoryStore) -> None:
    await store.write(plan_usage(CONFIG, NOW))
    noting = usage(store)
    for _ in range(2):
        noting.note(ONE, NOW.timestamp())
        await noting.report()
        found = await store.read(usage_ref(CONFIG))
        assert found is not None
        version = found[0].resource_version
    noting.note(ONE, NOW.timestamp() + 1)
    await noting.report()
    found = await store.read(usage_ref(CONFIG))
    assert found is not None
    assert found[0].resource_version == version


async def test_read_only_store_is_logged_once(
    store: DirectoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.write(plan_usage(CONFIG, NOW))
    reading = CredentialUsage(
        DirectoryStore.open_readonly(tmp_path / "state"), CONFIG.namespace, lambda: [ONE], NOW.timestamp
    )
    reading.note(ONE, NOW.timestamp())
    await reading.report()
    await reading.report()
    assert len([r for r in caplog.records if "not reported" in r.getMessage()]) == 1


async def test_report_without_a_usage_record_does_nothing(store: DirectoryStore) -> None:
    noting = usage(store)
    noting.note(ONE, NOW.timestamp())
    await noting.report()
    assert await reported(store) == {}


class Hanging:
    """A store that never answers a read."""

    async def read(self, ref: object) -> None:
        await asyncio.Event().wait()


async def test_last_report_times_out_when_the_issuer_stops(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scopewright.issuer.merge_write.LAST_WRITE_TIMEOUT_SECONDS", 0.05)
    noting = CredentialUsage(cast("Store", Hanging()), CONFIG.namespace, lambda: [ONE], NOW.timestamp)
    noting.note(ONE, NOW.timestamp())
    await asyncio.wait_for(noting.finish(), 20)
    assert "the last credential usage is not reported" in caplog.text
