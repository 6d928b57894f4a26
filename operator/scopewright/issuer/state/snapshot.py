"""A file with the objects that the issuer followed, to start from while the API server cannot be reached.

It has private keys: its mode is 0600, and its content is never logged. There is one JSON line for each object; memory
holds only these lines.
"""

import asyncio
import base64
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from scopewright.core.objects import Existing, Ref
from scopewright.stores import Change
from scopewright.stores.directory.atomic_files import write_new

log: Final = logging.getLogger(__name__)

_HEADER: Final = orjson.dumps({"scopewright": "issuer snapshot", "version": 1})
_PAUSE_FACTOR: Final = 20
"""The pause after a write, as a multiple of its duration."""


class SnapshotFile:
    def __init__(self, path: Path, *, keeps: bool = True, debounce: float = 1.0) -> None:
        """`keeps` is true in one of the processes that share the file: this one writes it."""
        self._path = path
        self._keeps = keeps
        self._debounce = debounce
        self._lines: dict[Ref, bytes] = {}
        self._later: dict[Ref, Callable[[], Change]] = {}
        self._changed = asyncio.Event()

    def load(self) -> Iterator[Change]:
        """The objects in the file; none if it is missing or cannot be read."""
        try:
            header, *lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cannot read the snapshot %s: %s", self._path, error.strerror)
            return
        if header != _HEADER or lines[-1:] != [b""]:
            log.warning("ignoring the snapshot %s: it is not a snapshot of this version", self._path)
            return
        for line in lines[:-1]:
            change = _decode(line)
            if change is not None:
                if self._keeps:
                    self._lines[change.existing.ref] = line
                yield change

    def keep(self, change: Change) -> None:
        if not self._keeps:
            return
        if change.deleted:
            self.forget(change.existing.ref)
            return
        line = _encode(change)
        if self._lines.get(change.existing.ref) != line:
            self._lines[change.existing.ref] = line
            self._changed.set()

    def keep_later(self, ref: Ref, make: Callable[[], Change]) -> None:
        """As `keep`, for a large object that changes often: it is built and encoded when the file is written."""
        if self._keeps:
            self._later[ref] = make
            self._changed.set()

    def forget(self, ref: Ref) -> None:
        self._later.pop(ref, None)
        if self._lines.pop(ref, None) is not None:
            self._changed.set()

    async def run(self) -> None:
        """Write after changes, with pauses of at least `debounce` seconds, and once more when stopped."""
        pause = self._debounce
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(pause)
                started = time.monotonic()
                content = self._content()
                await asyncio.to_thread(self._write, content)
                pause = max(self._debounce, _PAUSE_FACTOR * (time.monotonic() - started))
        finally:
            if self._changed.is_set():
                self._write(self._content())

    def _content(self) -> bytes:
        later, self._later = self._later, {}
        for make in later.values():
            self.keep(make())
        self._changed.clear()
        return b"\n".join([_HEADER, *self._lines.values(), b""])

    def _write(self, content: bytes) -> None:
        """Atomically, and with mode 0600 from the first byte."""
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            write_new(new, content)
            new.replace(self._path)
        except OSError as error:
            log.warning("cannot write the snapshot %s: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                new.unlink()


def _encode(change: Change) -> bytes:
    existing = change.existing
    return orjson.dumps(
        {
            "kind": existing.ref.kind,
            "namespace": existing.ref.namespace,
            "name": existing.ref.name,
            "uid": existing.uid,
            "resourceVersion": existing.resource_version,
            "type": existing.type,
            "labels": dict(existing.labels),
            "creationTime": existing.creation_time,
            "entries": {name: base64.b64encode(value).decode() for name, value in change.entries.items()},
        }
    )


def _decode(line: bytes) -> Change | None:
    try:
        content: dict[str, Any] = orjson.loads(line)
        created = content["creationTime"]
        existing = Existing(
            ref=Ref(content["kind"], content["namespace"], content["name"]),
            uid=content["uid"],
            resource_version=content["resourceVersion"],
            type=content["type"],
            labels=content["labels"],
            creation_time=datetime.fromisoformat(created) if created else None,
        )
        entries = {name: base64.b64decode(value) for name, value in content["entries"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("ignoring a malformed line of the snapshot")
        return None
    return Change(existing, entries)
