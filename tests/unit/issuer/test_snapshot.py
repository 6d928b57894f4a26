"""A start without the API server."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from scopewright.core.records.client import Credential
from scopewright.issuer.state.snapshot import SnapshotFile
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import client_record, sha256


async def run_once(path: Path) -> IssuerHarness:
    harness = IssuerHarness(snapshot=path)
    ends = START + timedelta(hours=1)
    harness.install_defaults()
    harness.put(
        client_record(credentials=(Credential(sha256("old"), START, ends), Credential(sha256("A" * 43), START)))
    )
    async with harness.running():
        await harness.issuer.ready()
    return harness


async def test_issuer_started_from_a_snapshot_issues_tokens(tmp_path: Path) -> None:
    path = tmp_path / "state" / "snapshot"
    await run_once(path)
    assert path.stat().st_mode & 0o777 == 0o600
    harness = IssuerHarness(snapshot=path)
    harness.store.unavailable = True
    async with harness.running():
        assert await harness.issuer.ready()
        assert (await harness.http.get("/readyz")).status_code == 200
        assert await harness.claims(await harness.token())


async def test_issuer_waits_for_the_lists_before_it_serves_a_snapshot(tmp_path: Path) -> None:
    """An older JWKS would lack keys that sign already."""
    await run_once(tmp_path / "snapshot")
    harness = IssuerHarness(snapshot=tmp_path / "snapshot", store_timeout=0.3)
    harness.store.unavailable = True
    async with harness.running():
        assert (await harness.http.get("/jwks.json")).status_code == 503
        assert (await harness.token()).status_code == 503
        assert await asyncio.wait_for(harness.issuer.ready(), 5)
        assert (await harness.http.get("/jwks.json")).status_code == 200


async def test_expiration_times_in_a_snapshot_are_obeyed(tmp_path: Path) -> None:
    await run_once(tmp_path / "snapshot")
    harness = IssuerHarness(snapshot=tmp_path / "snapshot")
    harness.store.unavailable = True
    async with harness.running():
        assert (await harness.token(secret="old")).status_code == 200
        harness.clock.advance(hours=1)
        assert (await harness.token(secret="old")).status_code == 503
        harness.clock.advance(days=40)
        assert (await harness.token()).status_code == 503


async def test_the_first_complete_list_replaces_the_snapshot(tmp_path: Path) -> None:
    before = await run_once(tmp_path / "snapshot")
    harness = IssuerHarness(snapshot=tmp_path / "snapshot", store=before.store)
    harness.delete_object("Secret", "client.leave.leave-worker")
    async with harness.running():
        await settle()
        assert (await harness.token()).status_code == 401
    again = IssuerHarness(snapshot=tmp_path / "snapshot")
    again.store.unavailable = True
    async with again.running():
        assert len(again.issuer.registry.clients) == 0


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"scopewright":"issuer snapshot","version":1}\n{"cut off'])
async def test_a_broken_snapshot_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "snapshot").write_bytes(content)
    harness = IssuerHarness(snapshot=tmp_path / "snapshot")
    harness.install_defaults()
    async with harness.running():
        assert (await harness.token()).status_code == 200


async def test_malformed_line_of_a_snapshot_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    await run_once(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b'{"kind": 1}', b"[]", b'{"entries": "x"}', *lines[1:]]))
    harness = IssuerHarness(snapshot=path)
    harness.store.unavailable = True
    async with harness.running():
        assert (await harness.token()).status_code == 200


async def test_no_log_contains_an_entry_of_a_snapshot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "snapshot"
    await run_once(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"uid"', b'"UID"'))
    harness = IssuerHarness(snapshot=path)
    async with harness.running():
        pass
    for line in content.split(b"\n")[1:-1]:
        assert line.decode()[60:] not in caplog.text
    assert "PRIVATE" not in caplog.text
    assert sha256("old") not in caplog.text


async def test_issuer_runs_without_a_writable_snapshot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("not a folder")
    harness = IssuerHarness(snapshot=tmp_path / "file" / "snapshot")
    harness.install_defaults()
    async with harness.running():
        assert (await harness.token()).status_code == 200
    assert "cannot write the snapshot" in caplog.text


async def test_changes_in_quick_succession_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = IssuerHarness()
    snapshots = SnapshotFile(tmp_path / "snapshot", debounce=0.05)
    writes: list[bytes] = []
    monkeypatch.setattr(snapshots, "_write", writes.append)
    running = asyncio.create_task(snapshots.run())
    for number in range(50):
        snapshots.keep(harness.put_object("Secret", f"client.leave.c{number}", {"record.json": b"{}"}))
    await asyncio.sleep(0.2)
    assert len(writes) == 1
    assert writes[0].count(b"\n") == 51
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_process_with_a_read_only_snapshot_does_not_write_it(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    await run_once(path)
    before = written(path)
    reading = SnapshotFile(path, keeps=False, debounce=0.0)
    changes = list(reading.load())
    assert changes
    writing = asyncio.create_task(reading.run())
    reading.forget(changes[0].existing.ref)
    for change in changes:
        reading.keep(change)
    await asyncio.sleep(0.05)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert written(path) == before


def written(path: Path) -> tuple[int, int]:
    """Inode and time of the last write."""
    return path.stat().st_ino, path.stat().st_mtime_ns
