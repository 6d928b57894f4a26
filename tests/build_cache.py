"""The cache of programs that tests build, and a lock between processes: one builds an entry while the others wait."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache() -> Path:
    """The folder, which may be missing."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright"


@contextmanager
def locked(entry: Path) -> Iterator[None]:
    """Hold the lock of an entry, in its folder, which is made. It also ends with the process, however that ends."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with entry.with_name(f".{entry.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
