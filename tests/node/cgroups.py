"""A control group of a node's own, in every hierarchy that this machine has."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = "scopewright-node-"


def hierarchies() -> list[Path]:
    """Where control groups are mounted: once with version 2, once for each controller with version 1."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")]


@contextlib.contextmanager
def own(folder: Path) -> Iterator[str]:
    """Its path, named after the node's folder. What a node has left behind whose folder is gone, goes too."""
    for hierarchy in hierarchies():
        for left in hierarchy.glob(f"{_PREFIX}*"):
            if not (folder.parent / left.name.removeprefix(_PREFIX)).exists():
                _remove(left)
    groups = [hierarchy / f"{_PREFIX}{folder.name}" for hierarchy in hierarchies()]
    try:
        for group in groups:
            group.mkdir()
            # All Pods together would otherwise weigh as much as any one process beside them.
            for weight, value in (("cpu.shares", "8192"), ("cpu.weight", "800")):
                if (group / weight).exists():
                    (group / weight).write_text(value)
        yield f"/{_PREFIX}{folder.name}"
    finally:
        for group in groups:
            _remove(group)


def _remove(group: Path) -> None:
    """Once all that ran in it has ended, which a kill has begun."""
    deadline = time.monotonic() + 20
    while group.exists():
        try:
            for path, _, _ in os.walk(group, topdown=False):
                Path(path).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
