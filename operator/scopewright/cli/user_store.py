"""Opens the records and the session store of the issuer for `scopewright users`."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scopewright.cli.connections import opened_store
from scopewright.cli.library_commands import UsageError
from scopewright.core.failures import Rejected

if TYPE_CHECKING:
    from scopewright.issuer.users_admin.end import EndUsers
    from scopewright.issuer.users_admin.records import Records
    from scopewright.issuer.users_admin.stored_users import StoredUsers
    from scopewright.stores.sessions import SessionStore

SESSIONS_FILE: Final = "sessions.db"
"""File of users' sessions in STATE."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where records and sessions are."""

    source: str
    namespace: str | None
    kubeconfig: Path | None
    sessions: str | None
    state: Path | None


@dataclass(frozen=True, slots=True)
class OpenedUsers:
    records: "Records"
    users: "StoredUsers"
    end: "EndUsers"


@asynccontextmanager
async def opened_users(place: Place) -> AsyncIterator[OpenedUsers]:
    from scopewright.issuer.users_admin.end import EndUsers
    from scopewright.issuer.users_admin.records import read_records
    from scopewright.issuer.users_admin.stored_users import StoredUsers
    from scopewright.stores.sessions.sealed import SealedSessions

    source, sessions = _source_and_sessions(place)
    namespace = place.namespace or "scopewright-system"
    store = _session_store(sessions, namespace)
    try:
        async with opened_store(source, place.kubeconfig) as objects:
            records = await read_records(objects, namespace, time.time, is_of_dev=source != "kubernetes")
            registry = records.registry
            sealed = SealedSessions(store, lambda: records.issuer_url, lambda: registry.session_keys, time.time)
            users = StoredUsers(sealed, registry.clients, registry.providers)
            yield OpenedUsers(records, users, EndUsers(records, sealed, time.time))
    finally:
        await store.close()


def _source_and_sessions(place: Place) -> tuple[str, str | None]:
    if (state := place.state) is None:
        return place.source, place.sessions
    if place.sessions is not None or place.source not in ("kubernetes", str(state)):
        message = "--state replaces --source and --sessions: pass it without them and their variables"
        raise UsageError(message)
    if not (path := state / SESSIONS_FILE).exists():
        message = f"file {path} does not exist: --state must be the STATE directory of a `scopewright dev` with users"
        raise Rejected("NoSessions", message)
    return str(state), str(path)


def _session_store(sessions: str | None, namespace: str) -> "SessionStore":
    """Return the session store of the issuer. A file must exist: none is created."""
    if sessions is None:
        raise UsageError("--sessions is missing: pass the issuer's --sessions, or run the command in the issuer's Pod")
    if "://" in sessions:
        from scopewright.stores.sessions.valkey import ValkeySessions

        return ValkeySessions(sessions, namespace)
    from scopewright.stores.sessions.sqlite import SqliteSessions

    if not (path := Path(sessions)).exists():
        message = f"file {path} does not exist: run the command where the issuer runs, with the issuer's --sessions"
        raise Rejected("NoSessions", message)
    return SqliteSessions(path)
