"""Reads files of a mounted Secret, and reads them again after a change."""

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from scopewright.client.clock import Clock
from scopewright.client.errors import SecretError
from scopewright.forks import restart_in_children

logger = logging.getLogger("scopewright.client")

T = TypeVar("T")
Version = tuple[object, ...]
_MAX_BYTES: Final = 16 * 1024
_MAX_READS: Final = 5


class FollowedFiles(Generic[T]):
    """The content of some files, which is read again after a change. It is checked at most once in `every` seconds.

    `find_version` returns a value that differs for each version of the files; `load` reads one version, and raises
    `SecretError` if it cannot be used.
    """

    def __init__(
        self, name: str, find_version: Callable[[], Version], load: Callable[[Version], T], every: float, clock: Clock
    ) -> None:
        self._name = name
        self._find_version = find_version
        self._load = load
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._current: tuple[Version, T] | None = None
        self._problem = ""  # with the version that is there now
        restart_in_children(self)

    def after_fork(self) -> None:
        """Called in a forked child: the lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def read(self, *, now: bool) -> T:
        """The current content; `now=True` checks the files even within `every` seconds.

        Raises `SecretError` if no usable version was ever read. An unusable version does not replace a usable one.
        """
        with self._lock:
            instant, checked_at, current = self._clock.now(), self._checked_at, self._current
            if not now and current and checked_at is not None and 0 <= instant - checked_at < self._every:
                return current[1]
            self._checked_at = instant
            try:
                self._current = self._follow(current)
            except SecretError as error:
                if current is None:
                    raise
                if error.description != self._problem:  # once, and not for each request
                    logger.warning("keeping the previous credentials: %s", error.description)
                self._problem = error.description
                return current[1]
            self._problem = ""
            return self._current[1]

    def _follow(self, current: tuple[Version, T] | None) -> tuple[Version, T]:
        version = self._find_version()
        if current is not None and version == current[0]:
            return current
        for _ in range(_MAX_READS):
            try:
                found = self._load(version)
                problem = None
            except SecretError as error:
                problem = error
            after = self._find_version()
            if after == version:  # no change during the read: all files are of one version
                if problem is not None:
                    raise problem
                return version, found
            version = after
        raise SecretError(f"{self._name} keeps changing while it is read; try again")


def identity(file: Path) -> tuple[int, int, int] | None:
    """Inode, time and size, which differ for each version of the file; None if there is no such file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def is_directory(path: str | os.PathLike[str]) -> bool:
    """False also if the path cannot be read, for which Path.is_dir raises an OSError."""
    return os.path.isdir(path)  # noqa: PTH112


def read_entry(file: Path) -> str | None:
    """The text of one entry without the trailing newline, or None if there is no such file. Raises `SecretError`."""
    try:
        with open(file, "rb", opener=_without_blocking) as opened:  # Path.open has no opener
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise SecretError(f"{file} is not a file")
            data = opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        what = "mount the whole Secret without subPath, or name the file itself"
        raise SecretError(f"{file} is a directory and must be a file: {what}") from None
    except OSError as error:
        raise SecretError(f"{file} cannot be read: {error.strerror}; check defaultMode and fsGroup") from None
    if len(data) > _MAX_BYTES:
        raise SecretError(f"{file} is larger than {_MAX_BYTES} bytes; this is not the Secret of an OAuthClient")
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"{file} is not text; this is not the Secret of an OAuthClient") from None
    if not text or not text.isprintable():
        raise SecretError(f"{file} is empty or holds control characters; put the value there, and nothing else")
    return text


def _without_blocking(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a named pipe blocks until there is a writer. Windows has neither."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
