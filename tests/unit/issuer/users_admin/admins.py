"""`Admin`: `scopewright users` beside an issuer at which users log in, on the same stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from scopewright.issuer.users_admin.end import EndUsers
from scopewright.issuer.users_admin.records import read_records
from scopewright.issuer.users_admin.stored_users import StoredUser, StoredUsers
from scopewright.stores import Store
from scopewright.stores.sessions.sealed import SealedSessions
from tests.harness.failing_sessions import FailingSessions
from tests.harness.samples import NAMESPACE
from tests.unit.issuer.users.logins import SCOPES, Logins, running_logins

OFFLINE = (*SCOPES, "offline_access")


@dataclass
class Admin:
    logins: Logins
    store: FailingSessions
    sealed: SealedSessions
    users: StoredUsers
    end: EndUsers

    async def every(self) -> dict[str, StoredUser]:
        """By `sub`; no user may be found twice."""
        found = [user async for user in self.users.every()]
        assert len(found) == len({user.subject for user in found})
        return {user.subject: user for user in found}

    async def is_active(self, token: str) -> bool:
        return bool((await self.logins.harness.introspect(token))["active"])

    async def refresh_status(self, tokens: dict[str, Any]) -> int:
        return (await self.logins.refresh(tokens["refresh_token"])).status_code


@asynccontextmanager
async def running_admin(**settings: Any) -> AsyncIterator[Admin]:
    store = FailingSessions()
    async with running_logins(store=store, **settings) as logins:
        store._clock = logins.harness.clock
        yield await admin_of(logins, store)


async def admin_of(logins: Logins, store: FailingSessions, *, is_of_dev: bool = False) -> Admin:
    """A new process, which has read the records as they are now."""
    clock = logins.harness.clock
    records = await read_records(cast("Store", logins.harness.store), NAMESPACE, clock, is_of_dev=is_of_dev)
    registry = records.registry
    sealed = SealedSessions(store, lambda: records.issuer_url, lambda: registry.session_keys, clock)
    users = StoredUsers(sealed, registry.clients, registry.providers)
    return Admin(logins, store, sealed, users, EndUsers(records, sealed, clock))
