"""The directory store: preconditions, layout, and refused states."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import Deletion, Desired, Existing, Owner, PreservedEntry, Ref, digest
from scopewright.stores import Change, ListCompleted, Selection, Store
from scopewright.stores.directory.store import DirectoryStore

ISSUER = "http://127.0.0.1:8080"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
REF = Ref("Secret", "leave", "worker-oauth")
ENTRIES: dict[str, bytes | PreservedEntry] = {"client_id": b"leave.worker", "client_secret": b"s3cret"}
OWNER = Owner("OAuthClient", "worker", "uid-1")


def desired(**changes: Any) -> Desired:
    values: dict[str, Any] = {"ref": REF, "entries": ENTRIES, "type": "servicebinding.io/oauth2", "owner": OWNER}
    return Desired(**{**values, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    opened = DirectoryStore.open(tmp_path / "state", ISSUER, now=lambda: NOW)
    yield opened
    opened.close()


def visible(place: Path) -> list[str]:
    """Names of the entries in a mounted Secret."""
    return sorted(path.name for path in place.iterdir() if not path.name.startswith(".."))


def versions(place: Path) -> int:
    return len(list(place.glob("..2*")))


def plant(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "client_secret").write_bytes(b"weak")
    (place / "passwd").symlink_to("/etc/passwd")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state/secrets/leave/worker-oauth"


async def found(store: DirectoryStore, ref: Ref = REF) -> tuple[Existing, dict[str, bytes]]:
    result = await store.read(ref)
    assert result is not None
    return result[0], dict(result[1])


def test_directory_store_implements_store(store: DirectoryStore) -> None:
    as_store: Store = store
    assert as_store


async def test_written_object_is_read(store: DirectoryStore) -> None:
    written = await store.write(desired(labels={"a": "b"}, annotations={"c": "d"}))
    assert await found(store) == (written, {"client_id": b"leave.worker", "client_secret": b"s3cret"})
    assert written.type == "servicebinding.io/oauth2"
    assert (written.labels, written.annotations) == ({"a": "b"}, {"c": "d"})
    assert (written.owner_uids, written.creation_time) == (("uid-1",), NOW)
    assert written.entries == {"client_id": digest("leave.worker"), "client_secret": digest("s3cret")}


async def test_files_have_the_layout_of_a_mounted_secret_and_private_modes(store: DirectoryStore, place: Path) -> None:
    await store.write(desired(labels={"a": "b"}))
    assert visible(place) == ["client_id", "client_secret"]
    assert (place / "client_secret").read_bytes() == b"s3cret"
    assert str((place / "client_secret").readlink()) == "..data/client_secret"
    assert str((place / "..data").readlink()).startswith("..2026_11_22_10_00_00.")
    for path in [place.parent.parent.parent, *place.parent.parent.parent.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert path.is_symlink() or mode == (0o700 if path.is_dir() else 0o600), path


async def test_config_maps_have_a_separate_folder(store: DirectoryStore, tmp_path: Path) -> None:
    ref = Ref("ConfigMap", "scopewright-system", "scopewright-jwks")
    written = await store.write(Desired(ref, {"jwks.json": b"{}"}))
    assert (tmp_path / "state/configmaps/scopewright-system/scopewright-jwks/jwks.json").read_bytes() == b"{}"
    assert written.type == ""


async def test_creation_of_an_existing_object_is_a_conflict(store: DirectoryStore) -> None:
    await store.write(desired())
    with pytest.raises(Conflict):
        await store.write(desired())


async def test_replacement_keeps_foreign_labels(store: DirectoryStore, place: Path) -> None:
    first = await store.write(desired(labels={"a": "b", "foreign": "x"}))
    second = await store.write(
        desired(entries={"client_secret": b"new", "scope": b"s"}, labels={"a": "c"}, replaces=first)
    )
    assert second.labels == {"a": "c", "foreign": "x"}
    assert (second.uid, second.creation_time) == (first.uid, first.creation_time)
    assert second.resource_version != first.resource_version
    assert visible(place) == ["client_secret", "scope"]
    assert versions(place) == 1


async def test_stale_reader_can_neither_replace_nor_delete(store: DirectoryStore) -> None:
    first = await store.write(desired())
    second = await store.write(desired(entries={"a": b"b"}, replaces=first))
    for attempt in (store.write(desired(replaces=first)), store.delete(Deletion(first))):
        with pytest.raises(Conflict):
            await attempt
    await store.delete(Deletion(second))
    for attempt in (store.write(desired(replaces=second)), store.delete(Deletion(second))):
        with pytest.raises(Conflict):
            await attempt
    assert await store.read(REF) is None


async def test_recreated_object_has_another_uid(store: DirectoryStore) -> None:
    first = await store.write(desired())
    await store.delete(Deletion(first))
    second = await store.write(desired())
    assert first.uid != second.uid
    with pytest.raises(Conflict):
        await store.delete(Deletion(first))


async def test_preserved_entry_is_copied_if_it_is_unchanged(store: DirectoryStore, place: Path) -> None:
    first = await store.write(desired())
    kept = {"renamed": PreservedEntry("client_secret", digest("s3cret"))}
    second = await store.write(desired(entries=kept, replaces=first))
    assert (await found(store))[1] == {"renamed": b"s3cret"}
    with pytest.raises(Conflict):
        await store.write(desired(entries={"x": PreservedEntry("renamed", digest("else"))}, replaces=second))


async def test_entry_edited_by_hand_changes_the_version(store: DirectoryStore, place: Path) -> None:
    first = await store.write(desired())
    (place / "client_secret").write_bytes(b"edited in place")
    second, entries = await found(store)
    assert entries["client_secret"] == b"edited in place"
    (place / "client_secret").unlink()
    (place / "client_secret").write_bytes(b"put in its place")
    third, entries = await found(store)
    assert entries["client_secret"] == b"put in its place"
    (place / "client_secret").unlink()
    fourth, entries = await found(store)
    assert entries == {"client_id": b"leave.worker"}
    assert len({e.resource_version for e in (first, second, third, fourth)}) == 4
    with pytest.raises(Conflict):
        await store.write(desired(replaces=first))
    await store.write(desired(replaces=fourth))
    assert (place / "client_secret").read_bytes() == b"s3cret"


async def test_planted_directory_has_no_owner(store: DirectoryStore, place: Path) -> None:
    plant(place)
    existing, entries = await found(store)
    assert entries == {"client_secret": b"weak"}
    assert (existing.uid, existing.owner_uids, existing.type) == ("", (), "Opaque")
    with pytest.raises(Conflict):
        await store.write(desired())


async def test_object_with_malformed_metadata_has_no_owner(store: DirectoryStore, place: Path) -> None:
    await store.write(desired())
    for junk in (b"{", b"[]", b'{"uid": 5}', b'{"labels": 1}', b"\xff"):
        (place / "..data/..meta.json").write_bytes(junk)
        assert (await found(store))[0].owner_uids == ()


@pytest.mark.parametrize(
    "ref",
    [
        Ref("Secret", "..", "x"),
        Ref("Secret", "leave", ".."),
        Ref("Secret", "leave", "a/../../b"),
        Ref("Secret", "", "x"),
        Ref("ConfigMap", "a/b", "x"),
        Ref("Secret", "leave", "x" * 10_000),
        Ref("Secret", "leave", "x\n"),
    ],
)
async def test_name_that_leaves_the_directory_is_refused(store: DirectoryStore, ref: Ref) -> None:
    for attempt in (store.read(ref), store.write(desired(ref=ref))):
        with pytest.raises(Rejected):
            await attempt


@pytest.mark.parametrize("entry", ["..", ".", "../x", "a/b", "..data", "", "x" * 300, "a\0"])
async def test_entry_that_leaves_the_directory_is_refused(store: DirectoryStore, entry: str) -> None:
    with pytest.raises(Rejected):
        await store.write(desired(entries={entry: b"x"}))
    assert await store.read(REF) is None


async def test_only_dependents_of_a_deleted_object_are_collected(store: DirectoryStore) -> None:
    await store.write(desired())
    other = Ref("Secret", "leave", "other")
    unowned = Ref("Secret", "scopewright-system", "record")
    await store.write(desired(ref=other, owner=Owner("OAuthClient", "other", "uid-2")))
    await store.write(desired(ref=unowned, owner=None))
    assert await store.collect("uid-1") == (REF,)
    assert await store.collect_orphans() == (other,)
    assert await store.read(unowned)


async def refs(stream: AsyncIterator[Change | ListCompleted]) -> set[Ref]:
    """The refs of the next message, which must be a ListCompleted."""
    (snapshot,) = await take(stream, 1)
    assert isinstance(snapshot, ListCompleted)
    return set(snapshot.refs)


async def take(stream: AsyncIterator[Change | ListCompleted], count: int) -> list[Change | ListCompleted]:
    return [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]


async def test_follow_yields_existing_objects_and_then_changes(store: DirectoryStore, place: Path) -> None:
    label = {"a": "b"}
    first = await store.write(desired(labels=label))
    await store.write(desired(ref=Ref("Secret", "leave", "unlabelled")))
    stream = store.follow(Selection("Secret", None, label), 0.05)
    assert await take(stream, 1) == [Change(first, dict((await found(store))[1]))]
    assert await refs(stream) == {REF}
    (place / "client_secret").write_bytes(b"edited")
    (change,) = await take(stream, 1)
    assert isinstance(change, Change)
    assert change.entries["client_secret"] == b"edited"
    await store.delete(Deletion(change.existing))
    assert await take(stream, 1) == [Change(change.existing, {}, deleted=True)]
    assert await refs(stream) == set()


async def test_own_writes_are_followed_at_once(store: DirectoryStore) -> None:
    stream = store.follow(Selection("Secret", "leave"), 60)
    assert await refs(stream) == set()
    pending = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0.05)
    await store.write(desired(ref=Ref("Secret", "payroll", "else")))
    written = await store.write(desired())
    (change,) = await pending
    assert isinstance(change, Change)
    assert change.existing == written


async def test_directory_deleted_by_hand_is_followed_as_deletion(store: DirectoryStore, place: Path) -> None:
    await store.write(desired())
    stream = store.follow(Selection("Secret"), 0.05)
    await take(stream, 2)
    shutil.rmtree(place)
    (change,) = await take(stream, 1)
    assert isinstance(change, Change)
    assert change.deleted
    assert await refs(stream) == set()


async def test_versions_are_increasing_numbers(store: DirectoryStore, place: Path) -> None:
    written = [await store.write(desired())]
    for number in range(20):
        written.append(await store.write(desired(entries={"a": b"%d" % number}, replaces=written[-1])))
    stream = store.follow(Selection("Secret"), 0.05)
    (_, snapshot) = await take(stream, 2)
    assert isinstance(snapshot, ListCompleted)
    await asyncio.sleep(0.02)
    (place / "..data/a").write_bytes(b"edited")
    edited = (await found(store))[0]
    replaced = await store.write(desired(replaces=edited))
    numbers = [int(v) for v in [*(w.resource_version for w in written), snapshot.version]]
    numbers += [int(edited.resource_version), int(replaced.resource_version)]
    assert numbers == sorted(set(numbers))


async def test_missing_state_is_unavailable_and_deletes_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    await store.write(desired())
    stream = store.follow(Selection("Secret"), 0.05)
    await take(stream, 2)
    (tmp_path / "state").rename(tmp_path / "moved")
    for attempt in (store.read(REF), store.write(desired())):
        with pytest.raises(Unavailable):
            await attempt
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.3)


async def test_read_only_store_reads_and_refuses_writes(store: DirectoryStore, tmp_path: Path) -> None:
    written = await store.write(desired())
    reader = DirectoryStore.open_readonly(tmp_path / "state")
    assert reader.issuer == ISSUER
    assert (await found(reader))[0] == written
    assert len(await take(reader.follow(Selection("Secret")), 2)) == 2
    for attempt in (reader.write(desired()), reader.delete(Deletion(written)), reader.write_status({}, {})):
        with pytest.raises(Rejected):
            await attempt
    assert await reader.confirm_deleted(REF, "x", NOW) == "unknown"


async def test_second_writer_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=f"process {os.getpid()}.*choose another --state"):
        DirectoryStore.open(tmp_path / "state", ISSUER)
    store.close()
    DirectoryStore.open(tmp_path / "state", ISSUER).close()


def test_state_of_another_issuer_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    store.close()
    with pytest.raises(Rejected, match="choose another --state, or remove this one") as refused:
        DirectoryStore.open(tmp_path / "state", "https://issuer.example.org")
    assert refused.value.reason == "StateOfAnotherIssuer"
    DirectoryStore.open(tmp_path / "state", ISSUER).close()


def test_git_ignores_the_state(tmp_path: Path) -> None:
    """STATE is often in the repository of the manifests, and holds credentials and private keys."""
    DirectoryStore.open(tmp_path / "state", ISSUER).close()
    DirectoryStore.open(tmp_path / "state", ISSUER).close()
    (tmp_path / "manifest.yaml").touch()
    for command in ("init", "add ."):
        subprocess.run(["git", *command.split()], cwd=tmp_path, capture_output=True, check=True)
    added = subprocess.run(["git", "ls-files"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert added.stdout == "manifest.yaml\n"


def test_gitignore_of_the_user_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n!.gitignore\n")
    DirectoryStore.open(tmp_path, ISSUER).close()
    assert (tmp_path / ".gitignore").read_text() == "*\n!.gitignore\n"


def test_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(Rejected, match="thesis"):
        DirectoryStore.open(tmp_path, ISSUER)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(Rejected):
        DirectoryStore.open_readonly(tmp_path)


@pytest.mark.parametrize("where", ["file", "file/state"])
def test_state_that_cannot_be_created_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected, match="choose another --state"):
        DirectoryStore.open(tmp_path / where, ISSUER)


def test_state_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(Rejected, match="Permission denied") as refused:
        DirectoryStore.open(tmp_path / "state", ISSUER)
    assert refused.value.reason == "StateUnwritable"


async def test_full_disk_is_unavailable_and_keeps_the_old_version(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.write(desired())

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(Unavailable, match="No space left"):
            await store.write(desired(entries={"a": b"b"}, replaces=first))
    assert (await found(store))[0] == first


def test_no_repr_contains_a_secret(store: DirectoryStore) -> None:
    assert "s3cret" not in repr(desired())


def test_lock_is_released_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from scopewright.stores.directory.store import DirectoryStore;"
        f"DirectoryStore.open(Path({str(tmp_path / 'state')!r}), {ISSUER!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    DirectoryStore.open(tmp_path / "state", ISSUER).close()
