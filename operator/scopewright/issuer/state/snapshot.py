"""A file beside the issuer with what it followed, to start from while the API server is away.

It holds private keys: mode 0600, and never a word of it in a log. One JSON line for each object, so that what is kept
in memory for it is those lines and nothing more.
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

log: Final = logging.getLogger(__name__)

_HEADER: Final = orjson.dumps({"scopewright": "issuer snapshot", "version": 1})
_REST: Final = 20
"""Writing takes at most a twentieth of the time."""


class SnapshotFile:
    def __init__(self, path: Path, *, keeps: bool = True, debounce: float = 1.0) -> None:
        """`keeps` is false in all but one of the processes that start from the same file."""
        self._path = path
        self._keeps = keeps
        self._debounce = debounce
        self._lines: dict[Ref, bytes] = {}
        self._later: dict[Ref, Callable[[], Change]] = {}
        self._changed = asyncio.Event()

    def load(self) -> Iterator[Change]:
        """What the file holds; nothing where there is none, or none that can be read."""
        try:
            header, *lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("the snapshot %s cannot be read: %s", self._path, error.strerror)
            return
        if header != _HEADER or lines[-1:] != [b""]:
            log.warning("the snapshot %s is not one of this version; it is ignored", self._path)
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
        """As `keep`, of a large object that changes often: it is made and encoded when the file is written."""
        if self._keeps:
            self._later[ref] = make
            self._changed.set()

    def forget(self, ref: Ref) -> None:
        self._later.pop(ref, None)
        if self._lines.pop(ref, None) is not None:
            self._changed.set()

    async def run(self) -> None:
        """Write after each change, no oftener than the debounce allows, and once more when stopped."""
        pause = self._debounce
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(pause)
                begun = time.monotonic()
                content = self._content()
                await asyncio.to_thread(self._write, content)
                pause = max(self._debounce, _REST * (time.monotonic() - begun))
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
        """Whole or not at all, and readable by nobody else from the first byte on."""
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            log.warning("the snapshot %s cannot be written: %s", self._path, error.strerror)
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
        log.warning("a line of the snapshot cannot be read; it is ignored")
        return None
    return Change(existing, entries)
