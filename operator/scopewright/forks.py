"""Restart of locks and background work in a forked child, and what a fork waits for.

Only the thread that forks continues in the child. Gunicorn with preload, Celery's prefork and `multiprocessing` fork
like that. Shared by `verifier` and `client`.
"""

import importlib
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.backends import openssl

from scopewright.authorities import check_authorities

if TYPE_CHECKING:
    import httpx

# cryptography imports this on first use. A child that is forked while another thread imports a module can never import
# it: the lock of that import is never released.
IMPORTED_BEFORE_FORK: Final = (
    openssl,
    # Its hook must be registered before the one below: then a fork takes its lock, which imports take too, after ours.
    logging,
)

_FETCH_MODULES: Final = ("httpx", "httpcore", "certifi", "encodings.idna", "jwt", "scopewright.verifier.signatures")
_fork_waits = threading.RLock()


class Forkable(Protocol):
    def after_fork(self) -> None:
        """Called in the child, where no other thread exists yet."""


_forkable: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def restart_in_children(forkable: Forkable) -> None:
    """Call `after_fork` of the object in forked children, as long as the object exists."""
    _forkable.add(forkable)


def import_for_fetch() -> None:
    """Import httpx, with what it and the standard library import on first use, and what parses fetched keys. A fork in
    another thread waits for that.

    Call it before the first request.
    """
    with _fork_waits:
        for name in _FETCH_MODULES:
            importlib.import_module(name)


def new_http_client() -> "httpx.Client":
    """Import httpx if needed. A fork also waits for the TLS context: the first one initialises OpenSSL, once.

    Raise FetchError if the CAs of the environment cannot be used.
    """
    with _fork_waits:
        import_for_fetch()
        import httpx

        try:
            return httpx.Client(mounts={"http://": None})
        except OSError:
            check_authorities()
            raise


def _after_fork() -> None:
    _fork_waits.release()
    for forkable in list(_forkable):
        forkable.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_fork_waits.acquire, after_in_parent=_fork_waits.release, after_in_child=_after_fork)
