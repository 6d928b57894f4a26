"""A process killed between two steps on the disk leaves the old version or the new one, complete."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scopewright.core.objects import Deletion, Desired, Ref
from scopewright.manifests.load import load
from scopewright.stores.directory.store import DirectoryStore

ISSUER = "http://127.0.0.1:8080"
REF = Ref("Secret", "leave", "worker-oauth")
OLD = {"client_id": b"leave.worker", "client_secret": b"old", "scope": b"a"}
NEW = {"client_id": b"leave.worker", "client_secret": b"new", "audience": b"b"}
STEPS = ("open", "write", "fsync", "mkdir", "rename", "replace", "symlink", "unlink", "rmdir")
MANIFEST = "apiVersion: scopewright.dev/v1alpha1\nkind: OAuthClient\nmetadata: {name: worker, namespace: leave}\nspec: "


class Killed(BaseException):
    """The process ends here: no later step reaches the disk."""


class Kill:
    """Raises `Killed` at the nth step on the disk, and at all later ones."""

    def __init__(self, patched: pytest.MonkeyPatch, at: int) -> None:
        self.steps = 0
        self._at = at
        for name in STEPS:
            patched.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **rest: Any) -> Any:
            self.steps += 1
            if self.steps > self._at:
                raise Killed
            return real(*args, **rest)

        return step


def survive(root: Path, work: Callable[[DirectoryStore], Any], check: Callable[[DirectoryStore], None]) -> int:
    """Run `work` with a kill after each number of steps, and `check` the next process. Returns the number of steps."""
    for at in range(1000):
        state = root / str(at)
        store = DirectoryStore.open(state, ISSUER)
        store._write(Desired(REF, OLD))
        with pytest.MonkeyPatch.context() as patched:
            kill = Kill(patched, at)
            with contextlib.suppress(Killed):
                work(store)
        store.close()
        again = DirectoryStore.open(state, ISSUER)
        check(again)
        assert not any((state / ".tmp").glob("*"))
        again.close()
        if kill.steps <= at:
            return at
    raise AssertionError("more than the expected steps")


def entries(store: DirectoryStore, ref: Ref = REF) -> dict[str, bytes] | None:
    version = store._read(ref)
    return dict(version.entries) if version else None


def replace(store: DirectoryStore) -> None:
    version = store._read(REF)
    assert version
    store._write(Desired(REF, NEW, replaces=version.existing))


def test_interrupted_replacement_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    seen: list[dict[str, bytes] | None] = []

    def check(store: DirectoryStore) -> None:
        seen.append(entries(store))
        place = tmp_path / str(len(seen) - 1) / "secrets/leave/worker-oauth"
        assert {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()} == seen[-1]
        assert len(list(place.glob("..2*"))) == 1

    assert survive(tmp_path, replace, check) > 10
    assert seen[0] == OLD
    assert seen[-1] == NEW
    assert all(s in (OLD, NEW) for s in seen)


def test_interrupted_creation_leaves_nothing_or_the_new_object(tmp_path: Path) -> None:
    other = Ref("ConfigMap", "fresh", "jwks")
    seen: list[dict[str, bytes] | None] = []
    survive(tmp_path, lambda s: s._write(Desired(other, NEW)), lambda s: seen.append(entries(s, other)))
    assert seen[0] is None
    assert seen[-1] == NEW
    assert all(s in (None, NEW) for s in seen)


def test_interrupted_deletion_leaves_the_object_or_nothing(tmp_path: Path) -> None:
    def delete(store: DirectoryStore) -> None:
        version = store._read(REF)
        assert version
        store._delete(Deletion(version.existing))

    seen: list[dict[str, bytes] | None] = []
    survive(tmp_path, delete, lambda s: seen.append(entries(s)))
    assert seen[0] == OLD
    assert seen[-1] is None
    assert all(s in (OLD, None) for s in seen)


def test_interrupted_apply_leaves_a_complete_object_and_status(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "a.yaml").write_text(MANIFEST + "{disabled: true}\n")
    declared = load(manifests)

    def work(store: DirectoryStore) -> None:
        (manifest,) = store.declared.apply(declared).added_or_changed.values()
        store.declared.write_status(manifest, {"clientID": "leave.worker"})

    def check(store: DirectoryStore) -> None:
        for manifest in store.declared.objects.values():
            assert manifest["spec"] == {"disabled": True}
            assert manifest.get("status") in (None, {"clientID": "leave.worker"})

    assert survive(tmp_path, work, check) > 5


def test_interrupted_open_can_be_repeated(tmp_path: Path) -> None:
    for at in range(100):
        with pytest.MonkeyPatch.context() as patched:
            kill = Kill(patched, at)
            with contextlib.suppress(Killed):
                DirectoryStore.open(tmp_path / str(at), ISSUER).close()
        DirectoryStore.open(tmp_path / str(at), ISSUER).close()
        if kill.steps <= at:
            return
    raise AssertionError("more than the expected steps")


WRITER = """
import asyncio, sys
from pathlib import Path
from scopewright.core.objects import Desired, Ref
from scopewright.stores.directory.store import DirectoryStore
async def main():
    store = DirectoryStore.open(Path(sys.argv[1]), sys.argv[2])
    ref, number = Ref("Secret", "leave", "worker-oauth"), 0
    found = await store.read(ref)
    existing = found[0] if found else None
    while True:
        number += 1
        value = str(number).encode()
        existing = await store.write(Desired(ref, {name: value for name in "abc"}, replaces=existing))
        if number == 1:
            print("writing", flush=True)
asyncio.run(main())
"""


def test_killed_writer_leaves_a_complete_version(tmp_path: Path) -> None:
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "state"), ISSUER], stdout=subprocess.PIPE
        ) as writer:
            try:
                assert writer.stdout
                assert writer.stdout.readline() == b"writing\n"
                time.sleep(random.uniform(0.05, 0.2))
                reader = DirectoryStore.open_readonly(tmp_path / "state")
                asyncio.run(_whole(reader))
            finally:
                writer.kill()
        store = DirectoryStore.open(tmp_path / "state", ISSUER)
        asyncio.run(_whole(store))
        store.close()


async def _whole(store: DirectoryStore) -> None:
    for _ in range(20):
        found = await store.read(REF)
        assert found is not None
        assert set(found[1]) == {"a", "b", "c"}
        assert len(set(found[1].values())) == 1
