"""Read regular files up to a limit, with their signatures."""

import os
import stat
from pathlib import Path

Signature = tuple[int, ...]
"""Modification and change time, size, inode and mode: a changed file has another signature."""


def signature(status: os.stat_result) -> Signature:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode)


def read_regular(path: Path, limit: int) -> tuple[bytes, Signature, bool]:
    """Return at most `limit` bytes, the signature, and whether it was stable during the read. OSError for devices."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise IsADirectoryError("not a regular file")
        data = bytearray()
        while len(data) < limit and (part := os.read(handle, min(1 << 16, limit - len(data)))):
            data += part
        after = os.fstat(handle)
    finally:
        os.close(handle)
    return bytes(data), signature(after), signature(before) == signature(after)
