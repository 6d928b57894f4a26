"""There are never two leaders; a leader that cannot renew the Lease stops before another replica may lead."""

import asyncio
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, cast

import pytest

from scopewright.controller.claims import Claims, Write
from scopewright.controller.lease import PAUSE_JITTER, Lease
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import LeaseTimes
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from tests.harness.clock import Clock
from tests.harness.samples import NAMESPACE

DEADLINE = LeaseTimes().renew_deadline.total_seconds()
DURATION = LeaseTimes().duration.total_seconds()


class LeaseServer:
    """One Lease under its resourceVersion. `before` and `after` are called around every request, and may raise."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self.request("GET", path)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, timeout: float = 0
    ) -> dict[str, Any]:
        self.before(method)
        self._do(method, body)
        answer = deepcopy(self.lease)
        self.after(method)
        assert answer is not None
        return answer

    def _do(self, method: str, body: Any) -> None:
        if method == "POST" and self.lease:
            raise Conflict("already exists")
        if method != "POST" and not self.lease:
            raise NotFound("no Lease", named=True)
        if (
            method == "PUT"
            and self.lease
            and body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]
        ):
            raise Conflict("changed")
        if method != "GET":
            self.version += 1
            self.lease = deepcopy(body)
            self.lease["metadata"] = {**body["metadata"], "resourceVersion": str(self.version)}

    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


class NoOtherInstallation:
    """`Claims` where there is no other installation. `test_claims.py` has several installations."""

    rival = None

    async def secure(self, lease: Mapping[str, Any] | None, write: Write) -> bool:
        await write(lease, {}, True)
        return True

    async def owner(self) -> list[dict[str, Any]]:
        return []


def lease(server: LeaseServer, name: str, clock: Callable[[], float]) -> Lease:
    claims = cast("Claims", NoOtherInstallation())
    return Lease(cast("Api", server), NAMESPACE, LEASE_NAME, name, claims, clock)


async def test_the_first_replica_leads_and_the_second_waits() -> None:
    server, clock = LeaseServer(), Clock()
    a, b = lease(server, "a", clock), lease(server, "b", clock)
    assert await a._try()
    assert not await b._try()
    assert (a.leads, b.leads) == (True, False)


async def test_leadership_that_is_not_renewed_ends_before_another_replica_may_lead() -> None:
    server, clock = LeaseServer(), Clock()
    a, b = lease(server, "a", clock), lease(server, "b", clock)
    await a._try()
    await b._try()
    clock.advance(seconds=DEADLINE - 0.01)
    assert a.leads
    clock.advance(seconds=0.01)
    assert not a.leads
    assert not await b._try()
    clock.advance(seconds=DURATION - DEADLINE)
    assert await b._try()


@pytest.mark.parametrize(
    "error",
    [Unavailable("down"), Rejected("Forbidden", "no right"), Conflict("changed"), NotFound("deleted", named=False)],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_each_kind_of_error_is_a_failed_renewal(error: Exception, method: str) -> None:
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)
    await a._try()

    def fail(asked: str) -> None:
        if asked == method:
            raise error

    server.before = fail
    clock.advance(seconds=3)
    assert not await a._try()
    clock.advance(seconds=2)
    assert not a.leads


async def test_the_deadline_counts_from_before_the_request() -> None:
    """The two requests took four seconds, so leadership ends one second after the answer."""
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)

    def slow(method: str) -> None:
        clock.advance(seconds=2)

    server.before = slow
    assert await a._try()
    clock.advance(seconds=DEADLINE - 4)
    assert not a.leads


async def test_the_next_replica_leads_at_once_after_a_release() -> None:
    server, clock = LeaseServer(), Clock()
    a, b = lease(server, "a", clock), lease(server, "b", clock)
    await a._try()
    await b._try()
    await a.release()
    assert not a.leads
    assert await b._try()
    assert server.holder() == "b"


async def test_a_former_leader_does_not_release_the_lease_of_its_successor() -> None:
    server, clock = LeaseServer(), Clock()
    a, b = lease(server, "a", clock), lease(server, "b", clock)
    await a._try()
    await b._try()
    clock.advance(seconds=DURATION)
    await b._try()
    await a.release()
    assert server.holder() == "b"


async def test_a_release_finds_a_lease_that_was_emptied() -> None:
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)
    await a._try()
    assert server.lease is not None
    del server.lease["spec"]
    await a.release()
    assert not a.leads


async def test_a_failed_release_ends_leadership() -> None:
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)
    await a._try()

    def down(method: str) -> None:
        raise Unavailable("down")

    server.before = down
    await a.release()
    assert not a.leads


@pytest.mark.parametrize("seed", range(40))
async def test_never_two_leaders(seed: int) -> None:
    """Requests are slow or lost, answers to writes are lost, and the clocks of replicas differ."""
    rng, server, clock = random.Random(seed), LeaseServer(), Clock()
    offsets = [0.0, 1e6, -50.0]
    replicas = [lease(server, f"r{n}", lambda o=o: clock() + o) for n, o in enumerate(offsets)]  # type: ignore[misc]
    leaders = set()

    def check() -> None:
        leading = [n for n, r in enumerate(replicas) if r.leads]
        assert len(leading) <= 1
        leaders.update(leading)

    def disturb(method: str) -> None:
        for _ in range(rng.randrange(4)):
            clock.advance(seconds=rng.random())
            check()
        if rng.random() < 0.25:
            raise Unavailable("lost")

    server.before = server.after = disturb
    for _ in range(400):
        # A leader mostly renews in time, and is paused sometimes.
        replica = rng.choice(replicas)
        await replica._try()
        check()
        if rng.random() < 0.03:
            await replica.release()
        clock.advance(seconds=rng.choice([0.1, 0.5, 1, 6]))
        check()
    assert len(leaders) > 1, "only one replica ever led"


async def test_a_lease_without_a_spec_is_taken() -> None:
    server, clock = LeaseServer(), Clock()
    server.lease = {"metadata": {"resourceVersion": "1"}}
    assert await lease(server, "a", clock)._try()


async def test_lease_times_are_configured_and_pauses_have_jitter() -> None:
    server, clock = LeaseServer(), Clock()
    times = LeaseTimes.model_validate({"duration": "20s", "renewDeadline": "15s", "retryPeriod": "3s"})
    claims = cast("Claims", NoOtherInstallation())
    a = Lease(cast("Api", server), NAMESPACE, LEASE_NAME, "a", claims, clock, times)
    assert await a._try()
    assert server.lease is not None
    assert server.lease["spec"]["leaseDurationSeconds"] == 20
    clock.advance(seconds=14.9)
    assert a.leads
    clock.advance(seconds=0.2)
    assert not a.leads
    pauses = {a._pause(3) for _ in range(100)}
    assert len(pauses) > 50
    assert all(3 <= pause <= 3 * (1 + PAUSE_JITTER) for pause in pauses)


async def test_a_lease_that_was_deleted_ends_the_term(caplog: pytest.LogCaptureFixture) -> None:
    """The name may belong to another installation now."""
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)
    await a._try()
    server.lease = None
    await asyncio.wait_for(a.keep(), 10)
    assert "lost leadership" in caplog.text


async def test_a_missing_right_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    server, clock = LeaseServer(), Clock()
    a = lease(server, "a", clock)

    def refuse(method: str) -> None:
        raise Rejected("Forbidden", "a right is missing: leases")

    server.before = refuse
    for _ in range(3):
        assert not await a._try()
    assert [r.levelname for r in caplog.records if "a right is missing" in r.message] == ["WARNING"]
