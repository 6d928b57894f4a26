"""Nobody is refused from ignorance, and nobody can make the issuer read without bounds (invariant 8)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.core.records import Credential
from scopewright.issuer.authentication.read_through import READ_BUDGET, ReadThrough
from scopewright.issuer.rate_budget import RateBudget, TokenBucket
from scopewright.issuer.state.registry import Registry
from scopewright.stores import Change, Entries
from tests.unit.issuer.world import SECRET, START, Store, World, client_record, settle, sha256


async def test_a_client_made_a_moment_ago_and_not_yet_followed_is_accepted(world: World) -> None:
    world.put(client_record(name="new"), seen=False)
    assert (await world.token("leave.new")).status_code == 200
    assert len(world.store.reads) == 1
    assert (await world.token("leave.new")).status_code == 200
    assert len(world.store.reads) == 1


async def test_a_secret_made_a_moment_ago_and_not_yet_followed_is_accepted(world: World) -> None:
    world.put(client_record(credentials=(Credential(sha256("new"), START),)), seen=False)
    assert (await world.token(secret="new")).status_code == 200


async def test_a_client_that_was_enabled_a_moment_ago_is_accepted(world: World) -> None:
    world.put(client_record(disabled=True))
    await settle()
    world.put(client_record(), seen=False)
    assert (await world.token()).status_code == 200


async def test_a_right_secret_costs_no_read_and_is_never_throttled(world: World) -> None:
    world.store.down = True
    for _ in range(300):
        await world.token(secret="wrong")
    assert (await world.token()).status_code == 200
    reads = len(world.store.reads)
    assert (await world.token()).status_code == 200
    assert len(world.store.reads) == reads


async def test_a_refusal_reads_once_a_second_for_one_client(world: World) -> None:
    answers = [await world.token(secret=f"wrong-{i}") for i in range(20)]
    assert {a.status_code for a in answers} == {401}
    assert len(world.store.reads) == 1


async def test_many_at_once_for_one_client_share_one_read(world: World) -> None:
    world.store.gate = asyncio.Event()
    asking = [asyncio.create_task(world.token("leave.new")) for _ in range(50)]
    await settle()
    world.put(client_record(name="new"), seen=False)
    world.store.gate.set()
    assert {r.status_code for r in await asyncio.gather(*asking)} == {200}
    assert len(world.store.reads) == 1


async def test_a_flood_of_made_up_clients_makes_few_reads_and_a_rotated_secret_is_still_found(world: World) -> None:
    begun = time.monotonic()
    answers = await asyncio.gather(*(world.token(f"leave.made-up-{i}") for i in range(500)))
    assert 503 in {a.status_code for a in answers} <= {401, 503}
    assert len(world.store.reads) <= READ_BUDGET.burst + READ_BUDGET.rate * (time.monotonic() - begun) + 1
    throttled = next(a for a in answers if a.status_code == 503)
    assert throttled.json()["error"] == "temporarily_unavailable"
    assert int(throttled.headers["retry-after"]) >= 1
    assert (await world.token()).status_code == 200
    world.put(client_record(credentials=(Credential(sha256("rotated"), START),)), seen=False)
    assert (await world.token(secret="rotated")).status_code == 200


async def test_when_made_up_ids_get_503_known_ones_do_too() -> None:
    """Else the status would tell which is which."""
    world = World(reads=RateBudget(rate=0.001, burst=2))
    world.furnish()
    async with world.running():
        assert (await world.token(secret="wrong")).status_code == 401
        answers = [(await world.token(f"leave.made-up-{i}")).status_code for i in range(4)]
        assert answers[-1] == 503
        assert (await world.token(secret="wrong")).status_code == 503
        assert (await world.token()).status_code == 200


async def test_late_news_of_a_predecessors_end_does_not_end_a_client(world: World) -> None:
    world.put(client_record(name="again", uid="former"))
    await settle()
    world.store.delete("Secret", "client.leave.again", seen=False)
    world.put(client_record(name="again", uid="uid-9", credentials=(Credential(sha256("new"), START),)), seen=False)
    assert (await world.token("leave.again", "new")).status_code == 200
    former = Existing(Ref("Secret", "scopewright-system", "client.leave.again"), "u", "101")
    world.issuer.registry.apply(Change(former, {}, deleted=True), world.clock())
    assert (await world.token("leave.again", "new")).status_code == 200


@pytest.mark.parametrize(
    "client_id", ["leave", "a.b.c", "Leave.worker", "leave.", ".x", "l\n.x", "a" * 64 + ".b", "*.*"]
)
async def test_an_id_that_no_client_can_have_is_refused_without_a_read(world: World, client_id: str) -> None:
    assert (await world.token(client_id)).status_code == 401
    assert world.store.reads == []


async def test_a_read_that_fails_is_no_refusal(world: World) -> None:
    world.store.down = True
    for client_id in ("leave.leave-worker", "leave.unknown"):
        response = await world.token(client_id, "wrong")
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"] == "3"
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("error", [Rejected("Forbidden", "secrets is forbidden"), RuntimeError("a bug")])
async def test_a_missing_right_or_a_bug_in_the_store_is_no_refusal_and_is_not_told(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(ref: Ref) -> tuple[Existing, Entries] | None:
        raise error

    monkeypatch.setattr(world.store, "read", read)
    response = await world.token(secret="wrong")
    assert response.status_code == 503
    assert str(error) not in response.text


async def test_a_client_deleted_a_moment_ago_is_refused_once_its_secret_is_wrong(world: World) -> None:
    world.store.delete("Secret", "client.leave.leave-worker", seen=False)
    assert (await world.token(secret="wrong")).status_code == 401


async def test_the_watch_catching_up_does_not_bring_back_what_a_fresh_read_has_replaced(world: World) -> None:
    old = world.store.put("Secret", "x", {})
    world.put(client_record(), seen=False)
    existing, entries = world.store.objects[Ref("Secret", old.existing.ref.namespace, "client.leave.leave-worker")]
    world.put(client_record(credentials=(Credential(sha256("new"), START),)), seen=False)
    assert (await world.token(secret="new")).status_code == 200
    assert not world.issuer.registry.apply(Change(existing, entries), world.clock())
    assert (await world.token(secret="new")).status_code == 200
    world.clock.advance(minutes=2)
    assert world.issuer.registry.apply(Change(existing, entries), world.clock())


async def test_a_slow_read_does_not_undo_what_the_watch_has_brought_meanwhile(world: World) -> None:
    ref = Ref("Secret", "scopewright-system", "client.leave.leave-worker")
    existing, entries = world.store.objects[ref]
    world.put(client_record(credentials=(Credential(sha256("new"), START),)))
    await settle()
    assert not world.issuer.registry.apply_read(existing, entries, world.clock())
    assert (await world.token(secret="new")).status_code == 200


FLOOR = 0.3


@pytest.fixture
async def slow_world() -> AsyncIterator[World]:
    world = World(floor=FLOOR)
    world.furnish()
    async with world.running():
        yield world


async def test_every_refusal_of_a_credential_takes_as_long_whether_read_or_not(slow_world: World) -> None:
    for client_id in ("leave.leave-worker", "leave.leave-worker", "leave.unknown", "impossible", "leave.unknown"):
        begun = time.monotonic()
        assert (await slow_world.token(client_id, "wrong")).status_code == 401
        assert time.monotonic() - begun >= FLOOR
    begun = time.monotonic()
    await slow_world.token()
    assert time.monotonic() - begun < FLOOR


async def test_a_store_that_does_not_answer_is_given_up_on() -> None:

    store = Store()
    store.gate = asyncio.Event()
    fresh = ReadThrough(store, Registry("scopewright-system"), clock=time.time, monotonic=time.monotonic, timeout=0.01)
    with pytest.raises(Unavailable):
        await fresh.refresh("leave.x")


def test_a_budget_fills_up_again_but_never_beyond_its_burst() -> None:
    now = [0.0]
    bucket = TokenBucket(RateBudget(rate=2.0, burst=3), lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take(), bucket.take()] == [True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


async def test_the_right_secret_in_the_wrong_place_is_not_read_for(world: World) -> None:
    assert (await world.token("leave.leave-worker", SECRET)).status_code == 200
    assert world.store.reads == []
