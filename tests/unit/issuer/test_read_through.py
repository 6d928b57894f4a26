"""A credential is refused only after a read of its record, and reads are bounded (invariant 8)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.client import Credential
from scopewright.issuer.authentication.read_through import READ_BUDGET, ReadThrough
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import RateBudget, TokenBucket
from scopewright.stores import Change, Entries
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, new_store, settle
from tests.harness.samples import SECRET, client_record, sha256


async def test_new_client_is_accepted_before_the_watch_delivers_it(harness: IssuerHarness) -> None:
    harness.put(client_record(name="new"), notify=False)
    assert (await harness.token("leave.new")).status_code == 200
    assert len(harness.store.reads) == 1
    assert (await harness.token("leave.new")).status_code == 200
    assert len(harness.store.reads) == 1


async def test_new_secret_is_accepted_before_the_watch_delivers_it(harness: IssuerHarness) -> None:
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)), notify=False)
    assert (await harness.token(secret="new")).status_code == 200


async def test_enabled_client_is_accepted_before_the_watch_delivers_it(harness: IssuerHarness) -> None:
    harness.put(client_record(disabled=True))
    await settle()
    harness.put(client_record(), notify=False)
    assert (await harness.token()).status_code == 200


async def test_correct_secret_needs_no_read_and_is_never_throttled(harness: IssuerHarness) -> None:
    harness.store.unavailable = True
    for _ in range(300):
        await harness.token(secret="wrong")
    assert (await harness.token()).status_code == 200
    reads = len(harness.store.reads)
    assert (await harness.token()).status_code == 200
    assert len(harness.store.reads) == reads


async def test_refusals_of_one_client_read_once_a_second(harness: IssuerHarness) -> None:
    answers = [await harness.token(secret=f"wrong-{i}") for i in range(20)]
    assert {a.status_code for a in answers} == {401}
    assert len(harness.store.reads) == 1


async def test_concurrent_requests_of_one_client_share_one_read(harness: IssuerHarness) -> None:
    harness.store.hold_reads()
    asking = [asyncio.create_task(harness.token("leave.new")) for _ in range(50)]
    await settle()
    harness.put(client_record(name="new"), notify=False)
    harness.store.release_reads()
    assert {r.status_code for r in await asyncio.gather(*asking)} == {200}
    assert len(harness.store.reads) == 1


async def test_flood_of_unknown_clients_is_bounded_in_reads_and_a_rotated_secret_is_accepted(
    harness: IssuerHarness,
) -> None:
    started = time.monotonic()
    answers = await asyncio.gather(*(harness.token(f"leave.made-up-{i}") for i in range(500)))
    assert 503 in {a.status_code for a in answers} <= {401, 503}
    assert len(harness.store.reads) <= READ_BUDGET.burst + READ_BUDGET.rate * (time.monotonic() - started) + 1
    throttled = next(a for a in answers if a.status_code == 503)
    assert throttled.json()["error"] == "temporarily_unavailable"
    assert int(throttled.headers["retry-after"]) >= 1
    assert (await harness.token()).status_code == 200
    harness.put(client_record(credentials=(Credential(sha256("rotated"), START),)), notify=False)
    assert (await harness.token(secret="rotated")).status_code == 200


async def test_known_ids_get_503_when_unknown_ids_do() -> None:
    """Otherwise the status would show which ids exist."""
    harness = IssuerHarness(read_budget=RateBudget(rate=0.001, burst=2))
    harness.install_defaults()
    async with harness.running():
        assert (await harness.token(secret="wrong")).status_code == 401
        answers = [(await harness.token(f"leave.made-up-{i}")).status_code for i in range(4)]
        assert answers[-1] == 503
        assert (await harness.token(secret="wrong")).status_code == 503
        assert (await harness.token()).status_code == 200


async def test_late_deletion_of_a_predecessor_does_not_end_a_client(harness: IssuerHarness) -> None:
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
async def test_malformed_client_id_is_refused_without_a_read(harness: IssuerHarness, client_id: str) -> None:
    assert (await harness.token(client_id)).status_code == 401
    assert harness.store.reads == []


async def test_failed_read_is_503_instead_of_a_refusal(harness: IssuerHarness) -> None:
    harness.store.unavailable = True
    for client_id in ("leave.leave-worker", "leave.unknown"):
        response = await harness.token(client_id, "wrong")
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"] == "3"
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("error", [Rejected("Forbidden", "secrets is forbidden"), RuntimeError("a bug")])
async def test_store_error_is_503_and_its_message_is_not_in_the_response(
    harness: IssuerHarness, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(ref: Ref) -> tuple[Existing, Entries] | None:
        raise error

    monkeypatch.setattr(harness.store, "read", read)
    response = await harness.token(secret="wrong")
    assert response.status_code == 503
    assert str(error) not in response.text


async def test_deleted_client_with_wrong_secret_is_refused_before_the_watch_delivers_it(harness: IssuerHarness) -> None:
    harness.delete_object("Secret", "client.leave.leave-worker", notify=False)
    assert (await harness.token(secret="wrong")).status_code == 401


async def test_late_watch_event_does_not_replace_a_newer_read(harness: IssuerHarness) -> None:
    harness.put(client_record(), notify=False)
    old = harness.stored("Secret", "client.leave.leave-worker")
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)), notify=False)
    assert (await harness.token(secret="new")).status_code == 200
    assert not harness.issuer.registry.apply(Change(old.existing, old.entries), harness.clock())
    assert (await harness.token(secret="new")).status_code == 200
    harness.clock.advance(minutes=2)
    assert harness.issuer.registry.apply(Change(old.existing, old.entries), harness.clock())


async def test_slow_read_does_not_replace_a_newer_watch_event(harness: IssuerHarness) -> None:
    old = harness.stored("Secret", "client.leave.leave-worker")
    harness.put(client_record(credentials=(Credential(sha256("new"), START),)))
    await settle()
    assert not harness.issuer.registry.apply_read(old.existing, old.entries, harness.clock())
    assert (await harness.token(secret="new")).status_code == 200


MIN_REFUSAL_SECONDS = 0.3


@pytest.fixture
async def slow_refusals() -> AsyncIterator[IssuerHarness]:
    harness = IssuerHarness(monotonic=time.monotonic, min_refusal=MIN_REFUSAL_SECONDS)
    harness.install_defaults()
    async with harness.running():
        yield harness


async def test_every_refusal_of_a_credential_takes_the_minimum_time(slow_refusals: IssuerHarness) -> None:
    for client_id in ("leave.leave-worker", "leave.leave-worker", "leave.unknown", "impossible", "leave.unknown"):
        started = time.monotonic()
        assert (await slow_refusals.token(client_id, "wrong")).status_code == 401
        assert time.monotonic() - started >= MIN_REFUSAL_SECONDS
    started = time.monotonic()
    await slow_refusals.token()
    assert time.monotonic() - started < MIN_REFUSAL_SECONDS


async def test_read_of_a_store_that_does_not_answer_times_out() -> None:

    store = new_store()
    store.hold_reads()
    fresh = ReadThrough(store, Registry("scopewright-system"), clock=time.time, monotonic=time.monotonic, timeout=0.01)
    with pytest.raises(Unavailable):
        await fresh.refresh("leave.x")


def test_budget_refills_up_to_its_burst() -> None:
    now = [0.0]
    bucket = TokenBucket(RateBudget(rate=2.0, burst=3), lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take(), bucket.take()] == [True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


async def test_correct_secret_makes_no_read(harness: IssuerHarness) -> None:
    assert (await harness.token("leave.leave-worker", SECRET)).status_code == 200
    assert harness.store.reads == []
