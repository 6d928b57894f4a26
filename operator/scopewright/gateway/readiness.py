"""Whether the gateway can decide, and if not, what it waits for."""

import asyncio
from collections.abc import Callable, Collection

from scopewright.gateway.answers import json_answer
from scopewright.http import Answer
from scopewright.serving.supervise import SupervisedTasks
from scopewright.stores.contact import Contact


class GatewayReadiness:
    """Ready once the records are listed and the issuer's keys and revocations were fetched. It stays ready then.

    A new gateway without keys must not be ready: in a rolling update it would replace one that has them, and can verify
    tokens while the issuer is away. An old one stays ready: the Service would lose all gateways at once, and proxies
    would get no answer in place of one that says why. Call `update` after each change.
    """

    def __init__(
        self, tasks: SupervisedTasks, missing: Callable[[], Collection[str]], contact: Contact | None = None
    ) -> None:
        self._tasks = tasks
        self._missing = missing
        self._contact = contact
        self._has_started = asyncio.Event()

    async def wait(self) -> None:
        await self._has_started.wait()

    def update(self) -> None:
        if not self._has_started.is_set() and not self._missing():
            self._has_started.set()

    def obstacles(self) -> list[str]:
        """Why the gateway is not ready, for `/readyz` and the metrics."""
        missing = [] if self._has_started.is_set() else list(self._missing())
        return [*missing, *(f"the task {name}, which fails repeatedly" for name in self._tasks.down(needed=True))]

    def answer(self) -> Answer:
        """The answer of `/readyz`."""
        if missing := self.obstacles():
            return json_answer(503, {"status": "not ready", "missing": missing})
        stale = self._contact.problem if self._contact else ""
        status = {"status": "degraded", "stale": stale} if stale else {"status": "ok"}
        failing = self._tasks.down(needed=False)
        return json_answer(200, status | ({"failing": failing} if failing else {}))
