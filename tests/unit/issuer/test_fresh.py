"""Nobody is refused from ignorance, and nobody can make the issuer read without bounds (invariant 8)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.client import Credential
from scopewright.issuer.authentication.read_through import READ_BUDGET, ReadThrough
from scopewright.issuer.rate_budget import RateBudget, TokenBucket
from scopewright.issuer.state.registry import Registry
from scopewright.stores import Change, Entries
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, new_store, settle
from tests.harness.samples import SECRET, client_record, sha256


async def test_a_client_made_a_moment_ago_and_not_yet_followed_is_accepted(harness: IssuerHarness) -> None:
    harness.put(client_record(name="new"), notify=False)
    assert (await harness.token("leave.new")).status_code == 200
    assert len(harness.store.reads) == 1
    assert (await harness.token("leave.new")).status_code == 200
    assert len(harness.store.reads) == 1


async def test_a_secret_made_a_moment_ago_and_not_yet_followed_is_accepted(harness: IssuerHarness) -> None:
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)), notify=False)
    assert (await harness.token(secret="new")).status_code == 200


async def test_a_client_that_was_enabled_a_moment_ago_is_accepted(harness: IssuerHarness) -> None:
    harness.put(client_record(disabled=True))
    await settle()
    harness.put(client_record(), notify=False)
    assert (await harness.token()).status_code == 200


async def test_a_right_secret_costs_no_read_and_is_never_throttled(harness: IssuerHarness) -> None:
    harness.store.unavailable = True
    for _ in range(300):
        await harness.token(secret="wrong")
    assert (await harness.token()).status_code == 200
    reads = len(harness.store.reads)
    assert (await harness.token()).status_code == 200
    assert len(harness.store.reads) == reads


async def test_a_refusal_reads_once_a_second_for_one_client(harness: IssuerHarness) -> None:
    answers = [await harness.token(secret=f"wrong-{i}") for i in range(20)]
    assert {a.status_code for a in answers} == {401}
    assert len(harness.store.reads) == 1


async def test_many_at_once_for_one_client_share_one_read(harness: IssuerHarness) -> None:
    harness.store.hold_reads()
    asking = [asyncio.create_task(harness.token("leave.new")) for _ in range(50)]
    await settle()
    harness.put(client_record(name="new"), notify=False)
    harness.store.release_reads()
    assert {r.status_code for r in await asyncio.gather(*asking)} == {200}
    assert len(harness.store.reads) == 1


async def test_a_flood_of_made_up_clients_makes_few_reads_and_a_rotated_secret_is_still_found(
    harness: IssuerHarness,
) -> None:
    begun = time.monotonic()
    answers = await asyncio.gather(*(harness.token(f"leave.made-up-{i}") for i in range(500)))
    assert 503 in {a.status_code for a in answers} <= {401, 503}
    assert len(harness.store.reads) <= READ_BUDGET.burst + READ_BUDGET.rate * (time.monotonic() - begun) + 1
    throttled = next(a for a in answers if a.status_code == 503)
    assert throttled.json()["error"] == "temporarily_unavailable"
    assert int(throttled.headers["retry-after"]) >= 1
    assert (await harness.token()).status_code == 200
    harness.put(client_record(credentials=(Credential(sha256("rotated"), START),)), notify=False)
    assert (await harness.token(secret="rotated")).status_code == 200


async def test_when_made_up_ids_get_503_known_ones_do_too() -> None:
    """Else the status would tell which is which."""
    harness = IssuerHarness(read_budget=RateBudget(rate=0.001, burst=2))
    harness.install_defaults()
    async with harness.running():
        assert (await harness.token(secret="wrong")).status_code == 401
        answers = [(await harness.token(f"leave.made-up-{i}")).status_code for i in range(4)]
        assert answers[-1] == 503
        assert (await harness.token(secret="wrong")).status_code == 503
        assert (await harness.token()).status_code == 200


async def test_late_news_of_a_predecessors_end_does_not_end_a_client(harness: IssuerHarness) -> None:
    harness.put(client_record(name="again", uid="former"))
    await settle()
    late = harness.delete_object("Secret", "client.leave.again", notify=False)
    harness.put(client_record(name="again", uid="uid-9", credentials=(Credential(sha256("new"), START),)), notify=False)
    assert (await harness.token("leave.again", "new")).status_code == 200
    harness.issuer.registry.apply(late, harness.clock())
    assert (await harness.token("leave.again", "new")).status_code == 200


@pytest.mark.parametrize(
    "client_id", ["leave", "a.b.c", "Leave.worker", "leave.", ".x", "l\n.x", "a" * 64 + ".b", "*.*"]
)
async def test_an_id_that_no_client_can_have_is_refused_without_a_read(harness: IssuerHarness, client_id: str) -> None:
    assert (await harness.token(client_id)).status_code == 401
    assert harness.store.reads == []


async def test_a_read_that_fails_is_no_refusal(harness: IssuerHarness) -> None:
    harness.store.unavailable = True
    for client_id in ("leave.leave-worker", "leave.unknown"):
        response = await harness.token(client_id, "wrong")
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"] == "3"
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("error", [Rejected("Forbidden", "secrets is forbidden"), RuntimeError("a bug")])
async def test_a_missing_right_or_a_bug_in_the_store_is_no_refusal_and_is_not_told(
    harness: IssuerHarness, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(ref: Ref) -> tuple[Existing, Entries] | None:
        raise error

    monkeypatch.setattr(harness.store, "read", read)
    response = await harness.token(secret="wrong")
    assert response.status_code == 503
    assert str(error) not in response.text


async def test_a_client_deleted_a_moment_ago_is_refused_once_its_secret_is_wrong(harness: IssuerHarness) -> None:
    harness.delete_object("Secret", "client.leave.leave-worker", notify=False)
    assert (await harness.token(secret="wrong")).status_code == 401


async def test_the_watch_catching_up_does_not_bring_back_what_a_fresh_read_has_replaced(harness: IssuerHarness) -> None:
    harness.put(client_record(), notify=False)
    old = harness.stored("Secret", "client.leave.leave-worker")
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)), notify=False)
    assert (await harness.token(secret="new")).status_code == 200
    assert not harness.issuer.registry.apply(Change(old.existing, old.entries), harness.clock())
    assert (await harness.token(secret="new")).status_code == 200
    harness.clock.advance(minutes=2)
    assert harness.issuer.registry.apply(Change(old.existing, old.entries), harness.clock())


async def test_a_slow_read_does_not_undo_what_the_watch_has_brought_meanwhile(harness: IssuerHarness) -> None:
    old = harness.stored("Secret", "client.leave.leave-worker")
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)))
    await settle()
    assert not harness.issuer.registry.apply_read(old.existing, old.entries, harness.clock())
    assert (await harness.token(secret="new")).status_code == 200


FLOOR = 0.3


@pytest.fixture
async def slow_world() -> AsyncIterator[IssuerHarness]:
    harness = IssuerHarness(min_refusal=FLOOR)
    harness.install_defaults()
    async with harness.running():
        yield harness


async def test_every_refusal_of_a_credential_takes_as_long_whether_read_or_not(slow_world: IssuerHarness) -> None:
    for client_id in ("leave.leave-worker", "leave.leave-worker", "leave.unknown", "impossible", "leave.unknown"):
        begun = time.monotonic()
        assert (await slow_world.token(client_id, "wrong")).status_code == 401
        assert time.monotonic() - begun >= FLOOR
    begun = time.monotonic()
    await slow_world.token()
    assert time.monotonic() - begun < FLOOR


async def test_a_store_that_does_not_answer_is_given_up_on() -> None:

    store = new_store()
    store.hold_reads()
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


async def test_the_right_secret_in_the_wrong_place_is_not_read_for(harness: IssuerHarness) -> None:
    assert (await harness.token("leave.leave-worker", SECRET)).status_code == 200
    assert harness.store.reads == []
