"""Restart of locks and background work in a forked child.

Only the thread that forks continues in the child. Gunicorn with preload, Celery's prefork and `multiprocessing` fork
like that. Shared by `verifier` and `client`.
"""

import encodings.idna
import os
import weakref
from typing import Final, Protocol

import certifi
import httpcore
from cryptography.hazmat.backends import openssl

# The standard library, httpx and cryptography import these on first use. A child that is forked while another thread
# imports a module can never import it: the lock of that import is never released.
IMPORTED_BEFORE_FORK: Final = (encodings.idna, certifi, httpcore, openssl)


class Forkable(Protocol):
    def after_fork(self) -> None:
        """Called in the child, where no other thread exists yet."""


_forkable: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def restart_in_children(forkable: Forkable) -> None:
    """Call `after_fork` of the object in forked children, as long as the object exists."""
    _forkable.add(forkable)


def _after_fork() -> None:
    for forkable in list(_forkable):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
