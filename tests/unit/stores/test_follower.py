"""Manifests that change come into force; the last valid ones stay in force while files are malformed."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scopewright.core.failures import Conflict
from scopewright.core.objects import Ref
from scopewright.stores.directory.declared import ManifestChange
from scopewright.stores.directory.manifest_follower import ManifestFollower
from scopewright.stores.directory.store import DirectoryStore

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ISSUER = "http://127.0.0.1:8080"
MANIFEST = """\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: NAME, namespace: leave}
spec: {disabled: false}
"""
WORKER = Ref("OAuthClient", "leave", "worker")
OTHER = Ref("OAuthClient", "leave", "other")


def manifest(name: str = "worker", *, disabled: str = "false") -> str:
    return MANIFEST.replace("NAME", name).replace("false", disabled)


class Following:
    """A directory of manifests, its store, and a follower of it."""

    def __init__(self, root: Path, interval: float = 0.05) -> None:
        self.root = root
        self.dir = root / "manifests"
        self.dir.mkdir(exist_ok=True)
        self.store = DirectoryStore.open(root / "state", ISSUER)
        self._changes: AsyncIterator[ManifestChange] = ManifestFollower(self.store.declared).follow(self.dir, interval)

    def put(self, name: str, text: str) -> None:
        spare = self.root / "spare"
        spare.write_text(text)
        spare.replace(self.dir / name)

    async def next(self) -> ManifestChange:
        return await asyncio.wait_for(anext(self._changes), 5)

    async def nothing(self) -> None:
        """Assert that no change follows for 0.6 s. The follower cannot be used afterwards."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(self._changes), 0.6)

    def again(self, interval: float = 0.05) -> "Following":
        """The next process, on the same STATE."""
        self.store.close()
        return Following(self.root, interval)


@pytest.fixture
def following(tmp_path: Path) -> Following:
    return Following(tmp_path)


async def test_hidden_files_and_state_directories_are_ignored(following: Following) -> None:
    """Files of editors and of Scopewright are ignored. Objects in a List or with merge keys are read."""
    for folder in (".git", "state", "deep"):
        (following.dir / folder).mkdir()
    following.put("state/.scopewright-state", "{}")
    for name in (".swap.yaml", ".git/x.yaml", "state/x.yaml"):
        following.put(name, manifest())
    hidden = "<<: {apiVersion: scopewright.dev/v1alpha1, kind: OAuthClient}\n" + MANIFEST.partition("Client\n")[2]
    following.put(
        "deep/list.yaml", "kind: ConfigMapList\nitems:\n- " + hidden.replace("NAME", "other").replace("\n", "\n  ")
    )
    change = await following.next()
    assert (list(change.added_or_changed), change.problems) == ([OTHER], ())


async def test_first_change_is_reported_even_if_empty(following: Following) -> None:
    assert await following.next() == ManifestChange({}, {}, ())


async def test_objects_get_the_metadata_that_an_api_server_sets(following: Following) -> None:
    following.put("a.yaml", manifest())
    metadata = (await following.next()).added_or_changed[WORKER]["metadata"]
    assert metadata["generation"] == 1
    assert metadata["uid"]
    assert metadata["resourceVersion"]
    assert metadata["creationTimestamp"].endswith("Z")


async def test_change_of_the_spec_increments_the_generation_and_keeps_the_uid(following: Following) -> None:
    following.put("a.yaml", manifest())
    before = (await following.next()).added_or_changed[WORKER]["metadata"]
    following.put("a.yaml", manifest(disabled="true"))
    after = (await following.next()).added_or_changed[WORKER]["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], 2)
    assert int(after["resourceVersion"]) > int(before["resourceVersion"])
    following.put("a.yaml", manifest(disabled="true").replace("}", ", labels: {a: b}}", 1))
    assert (await following.next()).added_or_changed[WORKER]["metadata"]["generation"] == 2


async def test_uid_changes_only_after_a_deletion(following: Following) -> None:
    following.put("a.yaml", manifest())
    first = (await following.next()).added_or_changed[WORKER]["metadata"]["uid"]
    following = following.again()
    assert (await following.next()).added_or_changed[WORKER]["metadata"]["uid"] == first
    (following.dir / "a.yaml").unlink()
    change = await following.next()
    assert [o["metadata"]["uid"] for o in change.removed.values()] == [first]
    following.put("a.yaml", manifest())
    assert (await following.next()).added_or_changed[WORKER]["metadata"]["uid"] != first


async def test_object_whose_document_was_removed_is_removed(following: Following) -> None:
    following.put("a.yaml", manifest() + "---\n" + manifest("other"))
    assert set((await following.next()).added_or_changed) == {WORKER, OTHER}
    following.put("a.yaml", manifest())
    assert set((await following.next()).removed) == {OTHER}


async def test_renamed_file_is_not_a_change(following: Following) -> None:
    following.put("a.yaml", manifest())
    await following.next()
    (following.dir / "a.yaml").rename(following.dir / "b.yaml")
    await following.nothing()
    following = following.again()
    (following.dir / "b.yaml").write_text("broken: [")
    assert WORKER in (await following.next()).added_or_changed


async def test_last_valid_manifest_stays_in_force_while_it_is_malformed_and_after_a_restart(
    following: Following,
) -> None:
    following.put("a.yaml", manifest())
    following.put("b.yaml", manifest("other"))
    await following.next()
    following.put("a.yaml", "spec: {")
    broken = await following.next()
    assert (broken.added_or_changed, broken.removed, len(broken.problems)) == ({}, {}, 1)
    assert WORKER in following.store.declared.objects
    following.put("b.yaml", manifest("other", disabled="perhaps"))
    assert len((await following.next()).problems) == 2
    following = following.again()
    first = await following.next()
    assert first.added_or_changed[WORKER]["spec"] == first.added_or_changed[OTHER]["spec"] == {"disabled": False}
    following.put("a.yaml", manifest(disabled="true"))
    change = await following.next()
    assert set(change.added_or_changed) == {WORKER}
    assert len(change.problems) == 1


async def test_malformed_manifest_that_is_deleted_is_removed(following: Following) -> None:
    following.put("a.yaml", manifest())
    await following.next()
    following.put("a.yaml", "spec: {")
    await following.next()
    (following.dir / "a.yaml").unlink()
    change = await following.next()
    assert (change.removed, change.problems) == ({}, ())
    assert set((await following.next()).removed) == {WORKER}


async def test_first_file_of_a_duplicate_stays_in_force_while_it_is_malformed(following: Following) -> None:
    following.put("a.yaml", manifest(disabled="true"))
    await following.next()
    following.put("b.yaml", manifest())
    assert len((await following.next()).problems) == 1
    following.put("a.yaml", "spec: {")
    assert not (await following.next()).added_or_changed
    assert following.store.declared.objects[WORKER]["spec"] == {"disabled": True}


async def test_file_that_is_missing_for_a_moment_removes_nothing(following: Following) -> None:
    following = following.again(0.3)
    following.put("a.yaml", manifest())
    await following.next()

    async def blink() -> None:
        for _ in range(4):
            (following.dir / "a.yaml").rename(following.root / "moved")
            await asyncio.sleep(0.03)
            (following.root / "moved").rename(following.dir / "a.yaml")
            await asyncio.sleep(0.2)

    blinking = asyncio.create_task(blink())
    await following.nothing()
    await blinking


async def test_file_is_read_once_it_no_longer_changes(following: Following) -> None:
    following.put("a.yaml", manifest())
    await following.next()

    async def write() -> None:
        for part in range(80):
            (following.dir / "a.yaml").write_text(manifest(disabled="true")[:part])
            await asyncio.sleep(0.005)
        (following.dir / "a.yaml").write_text(manifest(disabled="true"))

    writing = asyncio.create_task(write())
    change = await following.next()
    await writing
    assert change.added_or_changed[WORKER]["spec"] == {"disabled": True}
    assert not change.problems


async def test_file_that_changes_continuously_does_not_delay_others(following: Following) -> None:
    following.put("log.json", "{}")
    await following.next()
    stop = asyncio.Event()

    async def scribble() -> None:
        while not stop.is_set():
            (following.dir / "log.json").write_text(f'{{"n": {time.monotonic_ns()}}}')
            await asyncio.sleep(0.01)

    scribbling = asyncio.create_task(scribble())
    following.put("a.yaml", manifest())
    assert WORKER in (await following.next()).added_or_changed
    (following.dir / "a.yaml").unlink()
    assert WORKER in (await following.next()).removed
    stop.set()
    await scribbling


async def test_missing_directory_removes_nothing(following: Following) -> None:
    following.put("a.yaml", manifest())
    uid = (await following.next()).added_or_changed[WORKER]["metadata"]["uid"]
    following.dir.rename(following.root / "moved")
    change = await following.next()
    assert (change.removed, len(change.problems)) == ({}, 1)
    assert await following.store.confirm_deleted(WORKER, uid, NOW) == "unknown"
    (following.root / "moved").rename(following.dir)
    back = await following.next()
    assert (back.added_or_changed, back.removed, back.problems) == ({}, {}, ())


async def test_confirm_deleted_is_certain_or_unknown(following: Following) -> None:
    following.put("a.yaml", manifest())
    assert await following.store.confirm_deleted(WORKER, "anything", NOW) == "unknown"
    uid = (await following.next()).added_or_changed[WORKER]["metadata"]["uid"]
    assert await following.store.confirm_deleted(WORKER, uid, NOW) == "present"
    assert await following.store.confirm_deleted(WORKER, "another", NOW) == "deleted"
    assert await following.store.confirm_deleted(OTHER, uid, NOW) == "deleted"
    following.put("a.yaml", "spec: {")
    await following.next()
    assert await following.store.confirm_deleted(WORKER, uid, NOW) == "unknown"
    (following.dir / "a.yaml").unlink()
    while not (await following.next()).removed:
        pass
    assert await following.store.confirm_deleted(WORKER, uid, NOW) == "deleted"


async def test_status_survives_restarts_and_is_deleted_with_its_object(following: Following) -> None:
    following.put("a.yaml", manifest())
    read = (await following.next()).added_or_changed[WORKER]
    written = await following.store.write_status(read, {"clientID": "leave.worker"})
    assert written["status"] == {"clientID": "leave.worker"}
    path = following.root / "state/status/oauthclient/leave/worker.yaml"
    assert path.read_text() == "clientID: leave.worker\n"
    seen = path.stat()
    assert await following.store.write_status(written, {"clientID": "leave.worker"}) == written
    assert path.stat() == seen
    with pytest.raises(Conflict):
        await following.store.write_status(read, {"clientID": "else"})
    following = following.again()
    assert (await following.next()).added_or_changed[WORKER]["status"] == {"clientID": "leave.worker"}
    (following.dir / "a.yaml").unlink()
    await following.next()
    assert not path.exists()
    with pytest.raises(Conflict):
        await following.store.write_status(written, {})


@pytest.mark.parametrize("junk", [b"\x00\xff", b"a: {", b"- 1", b"!!python/name:os.system x"])
async def test_malformed_status_is_ignored(following: Following, junk: bytes) -> None:
    following.put("a.yaml", manifest())
    await following.store.write_status((await following.next()).added_or_changed[WORKER], {"a": 1})
    (following.root / "state/status/oauthclient/leave/worker.yaml").write_bytes(junk)
    following = following.again()
    assert "status" not in (await following.next()).added_or_changed[WORKER]


async def test_namespaces_are_the_declared_and_the_used_ones(following: Following) -> None:
    following.put("a.yaml", manifest())
    following.put("n.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: payroll, labels: {team: hr}}\n")
    await following.next()
    assert following.store.namespaces() == {
        "leave": {"kubernetes.io/metadata.name": "leave"},
        "payroll": {"team": "hr", "kubernetes.io/metadata.name": "payroll"},
    }


async def test_idle_follower_of_hundreds_of_files_uses_little_cpu(following: Following) -> None:
    for number in range(300):
        following.put(f"{number}.yaml", manifest(f"c{number}"))
    await asyncio.sleep(0.2)
    assert len((await following.next()).added_or_changed) == 300
    before = os.times()
    await following.nothing()
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.4


async def test_unwritable_state_is_a_problem_until_it_is_writable(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.put("a.yaml", manifest())
    following.put("b.yaml", manifest("other"))
    await following.next()
    following.put("a.yaml", manifest(disabled="true"))
    (following.dir / "b.yaml").unlink()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        (problem,) = (await following.next()).problems
        assert "No space left" in problem.message
    changes = [await following.next()]
    while not changes[-1].removed:
        changes.append(await following.next())
    assert {ref for change in changes for ref in change.added_or_changed} == {WORKER}
    assert (set(changes[-1].removed), changes[-1].problems) == ({OTHER}, ())
