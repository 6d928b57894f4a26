"""Temporary folders, in memory if possible, and the port that belongs to a folder."""

import fcntl
import os
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

_PREFIX = f"scopewright-controlplane-{os.getuid()}-"
_LOCK = "in-use"
# Below the kernel's ephemeral range: the port stays free while the API server is stopped.
_PORTS = range(20000, 32000)


class Folder:
    """Locked while in use. A temporary folder is removed at the end, or by a later run after a crash."""

    def __init__(self, kept: Path | None) -> None:
        self.kept = kept is not None
        if kept is None:
            parent = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
            _sweep(parent)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        else:
            self.path = kept.resolve()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        if not self.kept:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def port(self) -> int:
        """The port that this folder used before, if it is free."""
        note = self.path / "port"
        before = [int(note.read_text())] if note.exists() else []
        for port in before + random.sample(_PORTS, 100):
            if _free(port):
                note.write_text(str(port))
                return port
        raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _free(port: int) -> bool:
    with socket.socket() as trial:
        # SO_REUSEADDR as Go sets it, so that connections of a stopped server do not occupy the port.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            # A new folder without a lock may be about to get it.
            if time.time() - folder.stat().st_mtime < 60:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
