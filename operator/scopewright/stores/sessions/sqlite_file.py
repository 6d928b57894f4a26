"""The SQLite file of a session store: opened with its schema, checked, and readable by this user only."""

import os
import secrets
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.directory.atomic_files import PRIVATE_FILE, make_directory

SCHEMA_VERSION: Final = 1
"""`user_version` of the file. A later one may store what this version cannot read."""
BUSY_TIMEOUT_SECONDS: Final = 2.0
"""How long a transaction waits for that of another process."""

_APPLICATION_ID: Final = 0x53435753
"""`SCWS`: says that the file is a session store of Scopewright."""
_WAL_BYTES: Final = 8 << 20
"""The write-ahead log is truncated to this size after a checkpoint."""
_SCHEMA: Final = (
    "CREATE TABLE entries (key BLOB PRIMARY KEY, version INTEGER NOT NULL, end REAL NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX entries_by_end ON entries (end)",
    "CREATE TABLE store (id TEXT NOT NULL)",
)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

Identity = tuple[tuple[int, int], ...]


def open_file(path: Path, max_bytes: int) -> sqlite3.Connection:
    """Open the file, and create it if it does not exist. The connection belongs to the thread that calls.

    Raises `Rejected` if the user must act, and `Unavailable` while another process locks the file.
    """
    try:
        _create(path)
    except OSError as error:
        raise _not_writable(path, error.strerror or type(error).__name__) from None
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
        )
        try:
            _configure(connection, path, max_bytes)
            _ensure_schema(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise failure_of(error, path) from None
    return connection


def identity(path: Path) -> Identity:
    """Return device and inode of the file and of its write-ahead log, as its path leads to them. Raises OSError."""
    found = (path.stat(), path.with_name(f"{path.name}-wal").stat())
    return tuple((entry.st_dev, entry.st_ino) for entry in found)


def failure_of(error: sqlite3.Error, path: Path) -> Rejected | Unavailable:
    """What an error of SQLite means, without any content of the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return Unavailable(f"the session store {path} is locked by another process", reason="SessionStoreLocked")
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            f"the session store {path} is full: it has reached its limit, or the disk is full",
            retry_after=30.0,
            reason="SessionStoreFull",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Rejected(
            "SessionStoreDamaged",
            f"the session store {path} is damaged or not a SQLite file: stop the issuer, move the file away with its "
            "-wal and -shm files, and start the issuer; users log in again",
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return _not_writable(path, name)
    return Unavailable(f"the session store {path} failed: {name}", reason="SessionStoreFailed")


def _not_writable(path: Path, problem: str) -> Rejected:
    return Rejected(
        "SessionStoreNotWritable",
        f"the session store {path} cannot be opened: {problem}. Choose a path on a local volume where this process may "
        "create and write files",
    )


def _create(path: Path) -> None:
    """With mode 0600 from the first byte; SQLite gives its other files the mode of this one.

    An existing file is not opened here: closing it would release the locks that SQLite has in this process.
    """
    make_directory(path.parent)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE))
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Rejected(
                "SessionStoreNotWritable", f"the session store {path} is not a regular file: choose another path"
            ) from None
        _require_owner(path, found.st_uid)
        if stat.S_IMODE(found.st_mode) != PRIVATE_FILE:
            path.chmod(PRIVATE_FILE)


def _require_owner(path: Path, owner: int) -> None:
    user = os.geteuid()
    if user not in (owner, 0):
        raise Rejected(
            "SessionStoreNotWritable",
            f"the session store {path} belongs to user id {owner}, and this process has {user}: run it as that user, "
            "or move the file away; users then log in again",
        )


def _configure(connection: sqlite3.Connection, path: Path, max_bytes: int) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if (mode := _write_ahead_mode(connection)) != "wal":
        raise Rejected(
            "SessionStoreNotWritable",
            f"the session store {path} cannot have a write-ahead log (journal mode {mode}): use a local volume, not a "
            "network file system",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")


def _write_ahead_mode(connection: sqlite3.Connection) -> str:
    """Ask for the write-ahead log, and return the mode. The timeout of a connection is not for this statement."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _ensure_schema(connection: sqlite3.Connection, path: Path) -> None:
    """In one transaction: of several processes that start, one creates the schema."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if is_empty and version == application == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO store (id) VALUES (?)", (secrets.token_hex(16),))
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        else:
            _require_known(path, application, version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _require_known(path: Path, application: int, version: int) -> None:
    if application != _APPLICATION_ID:
        raise Rejected(
            "SessionStoreDamaged", f"{path} is a SQLite file of another program: choose another path for sessions"
        )
    if version > SCHEMA_VERSION:
        raise Rejected(
            "SessionStoreNewer",
            f"the session store {path} was written by a later version of Scopewright (schema {version}, this version "
            f"reads {SCHEMA_VERSION}): use that version, or move the file away; users then log in again",
        )
