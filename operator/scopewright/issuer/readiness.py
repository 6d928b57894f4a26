"""Whether the issuer can issue tokens, and if not, what it waits for."""

import asyncio
from collections.abc import Callable, Collection

from scopewright.issuer.protocol.responses import Answer, json_answer
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.serving.supervise import SupervisedTasks
from scopewright.stores.contact import Contact


class Readiness:
    """Call `update` after each change of the registry.

    `pending_lists` returns the kinds that the store has not listed in full. `contact` is that of a remote store.
    `failing` returns what else fails of the login of users, without which the issuer is ready.
    """

    def __init__(
        self,
        registry: Registry,
        tasks: SupervisedTasks,
        clock: Clock,
        pending_lists: Callable[[], Collection[str]],
        contact: Contact | None,
        failing: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._clock = clock
        self._pending_lists = pending_lists
        self._contact = contact
        self._failing = failing
        self._accepts_snapshot = False
        self.started = False
        """Whether the issuer has begun to serve tokens. It stays true. Read for every request, so not a property."""
        self._has_started = asyncio.Event()

    async def wait(self) -> None:
        await self._has_started.wait()

    def accept_snapshot(self) -> None:
        """Serve from the snapshot, although the store has not listed everything."""
        self._accepts_snapshot = True
        self.update()

    def update(self) -> None:
        if not self.started and not self.missing():
            self.started = True
            self._has_started.set()

    def missing(self) -> list[str]:
        """The conditions for the start that are not met yet."""
        missing = [] if self._registry.issuer else ["the issuer record"]
        if not self._registry.keys.jwks(self._clock()).keys:
            missing.append("a signing key in the JWKS")
        if not self._accepts_snapshot:
            missing += [f"the list of {kind}s" for kind in sorted(self._pending_lists())]
        return missing

    def obstacles(self) -> list[str]:
        """Why the issuer is not ready, for `/readyz` and the metrics."""
        down = self._tasks.down(needed=True)
        return [*self.missing(), *(f"the task {name}, which fails repeatedly" for name in down)]

    def answer(self) -> Answer:
        """The answer of `/readyz`."""
        if missing := self.obstacles():
            return json_answer(503, {"status": "not ready", "missing": missing})
        failing = [*self._tasks.down(needed=False), *self._failing()]
        stale = self._contact.problem if self._contact else ""
        # Still ready: otherwise the Service would lose all issuers at once (invariant 7).
        status = {"status": "degraded", "stale": stale} if stale else {"status": "ok"}
        return json_answer(200, status | ({"failing": failing} if failing else {}))
