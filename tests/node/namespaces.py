"""Namespaces that end with their first process, and a way for this thread to enter their network."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNSHARE: Final = ("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc", "--")
"""Arguments of `unshare` for a command in its own namespaces, which end with it."""

_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_of(unshare: int) -> Iterator[Path]:
    """Enter the network of the process that `unshare --fork` started, for this thread and threads that it starts."""
    [child] = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    path = Path(f"/proc/{child}/ns/net")
    with Path("/proc/thread-self/ns/net").open() as before:
        with path.open() as entered:
            _enter(entered.fileno())
        try:
            yield path
        finally:
            _enter(before.fileno())


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
