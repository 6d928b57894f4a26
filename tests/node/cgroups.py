"""A control group for a node, in every hierarchy of this machine."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = "scopewright-node-"


def hierarchies() -> list[Path]:
    """The mount points of control groups: one with version 2, one for each controller with version 1."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")]


@contextlib.contextmanager
def own(folder: Path) -> Iterator[str]:
    """The path, named after the node's folder. Left-over groups whose folder is missing are removed."""
    for hierarchy in hierarchies():
        for left in hierarchy.glob(f"{_PREFIX}*"):
            if not (folder.parent / left.name.removeprefix(_PREFIX)).exists():
                _remove(left)
    groups = [hierarchy / f"{_PREFIX}{folder.name}" for hierarchy in hierarchies()]
    try:
        for group in groups:
            group.mkdir()
            # Otherwise all Pods together would have the CPU weight of one process.
            for weight, value in (("cpu.shares", "8192"), ("cpu.weight", "800")):
                if (group / weight).exists():
                    (group / weight).write_text(value)
        yield f"/{_PREFIX}{folder.name}"
    finally:
        for group in groups:
            _remove(group)


def _remove(group: Path) -> None:
    """Remove the group after its killed processes have ended."""
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
