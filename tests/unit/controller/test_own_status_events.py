"""Events of the operator's own status writes are held back until the answer is known, and no other event is."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from scopewright.controller.queue import Queue
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.status_writes import StatusWrites
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.declared import parse_declared, parse_watched
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from tests.harness.samples import ISSUER
from tests.harness.waiting import until
from tests.unit.controller.cache_objects import ASKS, WORKER, cache_of, raw
from tests.unit.controller.test_queue import running

STATUS: dict[str, Any] = {"clientID": "leave.worker", "observedGeneration": 1}
GENERATED: dict[str, Any] = {"generation": 1, "creationTimestamp": "2026-11-30T10:00:00Z"}
MANAGED: dict[str, Any] = {"managedFields": [{"manager": "kubectl", "time": "2026-11-30T11:00:00Z"}]}


def version(number: str, status: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    return {**raw(number, **(GENERATED | meta)), "spec": ASKS, **({} if status is None else {"status": status})}


@pytest.fixture
def enqueued() -> list[Ref]:
    return []


@pytest.fixture
def statuses() -> StatusWrites:
    return StatusWrites()


@pytest.fixture
def handlers(enqueued: list[Ref], statuses: StatusWrites) -> WatchHandlers:
    return WatchHandlers(
        cache_of(), Config(issuer=ISSUER), WatchMonitor(), lambda key, delay: enqueued.append(key),
        lambda ref, existing: None, statuses,
    )  # fmt: skip


def known_version(handlers: WatchHandlers) -> str | None:
    return handlers._cache.declared["OAuthClient"][WORKER].metadata.resource_version


def test_the_event_of_a_status_is_no_reason_to_reconcile(
    handlers: WatchHandlers, statuses: StatusWrites, enqueued: list[Ref]
) -> None:
    handlers.deliver("ADDED", version("5"))
    enqueued.clear()
    with statuses.writing(WORKER):
        handlers.deliver("MODIFIED", version("6", STATUS))
        known = handlers._cache.declared["OAuthClient"][WORKER]
        handlers._cache.wrote_status(parse_watched(version("6", STATUS), known))
    assert (enqueued, known_version(handlers)) == ([], "6")


def test_an_event_is_delivered_when_the_write_failed(
    handlers: WatchHandlers, statuses: StatusWrites, enqueued: list[Ref]
) -> None:
    handlers.deliver("ADDED", version("5"))
    enqueued.clear()

    def fail() -> None:
        with statuses.writing(WORKER):
            handlers.deliver("MODIFIED", version("6", STATUS))
            assert known_version(handlers) == "5"
            raise Rejected("Refused", "no")

    with pytest.raises(Rejected):
        fail()
    assert (enqueued, known_version(handlers)) == ([WORKER], "6")


def test_a_later_event_of_another_writer_is_delivered_after_the_answer(
    handlers: WatchHandlers, statuses: StatusWrites, enqueued: list[Ref]
) -> None:
    handlers.deliver("ADDED", version("5"))
    enqueued.clear()
    with statuses.writing(WORKER):
        handlers.deliver("MODIFIED", version("6", STATUS))
        handlers.deliver("MODIFIED", version("7", {**STATUS, "clientID": "edited"}))
        known = handlers._cache.declared["OAuthClient"][WORKER]
        handlers._cache.wrote_status(parse_watched(version("6", STATUS), known))
    assert (enqueued, known_version(handlers)) == ([WORKER], "7")


@pytest.mark.parametrize(
    ("event", "late"),
    [
        ("MODIFIED", version("4")),
        ("MODIFIED", version("4", uid="predecessor")),
        ("DELETED", version("3", uid="predecessor")),
    ],
)
def test_a_late_event_does_not_displace_a_newer_one_that_is_held_back(
    event: str, late: dict[str, Any], handlers: WatchHandlers, statuses: StatusWrites, enqueued: list[Ref]
) -> None:
    handlers.deliver("ADDED", version("5"))
    enqueued.clear()
    with statuses.writing(WORKER):
        handlers.deliver("MODIFIED", version("7", {"clientID": "another"}))
        handlers.deliver(event, late)
        known = handlers._cache.declared["OAuthClient"][WORKER]
        handlers._cache.wrote_status(parse_watched(version("6", STATUS), known))
    assert (enqueued, known_version(handlers)) == ([WORKER], "7")


@pytest.mark.parametrize(
    "meta",
    [
        {"generation": 2},
        {"annotations": {"scopewright.dev/paused": "true"}},
        {"annotations": {"scopewright.dev/rotate": "now"}},
        {"deletionTimestamp": "2026-11-30T12:00:00Z"},
        {"uid": "another"},
    ],
)
def test_what_a_user_changes_is_not_held_back(
    handlers: WatchHandlers, statuses: StatusWrites, enqueued: list[Ref], meta: dict[str, Any]
) -> None:
    handlers.deliver("ADDED", version("5"))
    enqueued.clear()
    with statuses.writing(WORKER):
        handlers.deliver("MODIFIED", version("6", STATUS))
        handlers.deliver("MODIFIED", version("7", STATUS, **meta))
        assert (enqueued, known_version(handlers)) == ([WORKER], "7")
    assert (enqueued, known_version(handlers)) == ([WORKER], "7")


def test_a_deletion_drops_what_is_held_back(handlers: WatchHandlers, statuses: StatusWrites) -> None:
    handlers.deliver("ADDED", version("5"))
    with statuses.writing(WORKER):
        handlers.deliver("MODIFIED", version("6", STATUS))
        handlers.deliver("DELETED", version("7", STATUS))
    assert WORKER not in handlers._cache.declared["OAuthClient"]


@pytest.mark.parametrize(
    ("status", "meta"),
    [
        (STATUS, {}),
        (None, {}),
        ({}, {}),
        ({**STATUS, "conditions": [{"type": "Ready", "status": "True", "reason": "Provisioned"}]}, {}),
        (STATUS, MANAGED),
        (STATUS, {"labels": {"team": "hr"}, "annotations": {"scopewright.dev/rotate": "now", "other": "x"}}),
        (STATUS, {"deletionTimestamp": "2026-11-30T12:00:00Z", "finalizers": [f"f.example/{n}" for n in range(9)]}),
        (STATUS, {"generation": 2}),
        (STATUS, {"uid": "another"}),
        (STATUS, {"generation": None}),
    ],
)
def test_a_version_with_the_known_spec_reads_the_same_as_without_it(
    status: dict[str, Any] | None, meta: dict[str, Any]
) -> None:
    known = parse_watched(version("5"))
    later = version("6", status, **meta)
    assert parse_watched(later, known) == parse_watched(later)
    same = meta.get("generation", 1) == 1 and "uid" not in meta
    assert (parse_watched(later, known).spec is known.spec) is same


def test_what_stays_in_memory_equals_what_was_declared() -> None:
    given = version("5", {**STATUS, "conditions": [{"type": "Ready", "status": "True", "reason": "Provisioned"}]})
    declared, watched = parse_declared(given), parse_watched(given)
    assert (watched.spec, watched.status) == (declared.spec, declared.status)
    assert watched.to_dict() == declared.to_dict()
    sizes = [obj.spec.model_dump_json(exclude_defaults=True) for obj in (watched, declared)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("status", ["text", {"clientID": 7}, {"conditions": [{"type": "Ready"}]}])
def test_a_malformed_status_is_refused_the_same_with_a_known_spec(status: Any) -> None:
    with pytest.raises(Rejected) as with_known:
        parse_watched(version("6", status), parse_watched(version("5")))
    with pytest.raises(Rejected) as without:
        parse_watched(version("6", status))
    assert str(with_known.value) == str(without.value)


@pytest.mark.parametrize(("planned_after", "runs"), [(True, 1), (False, 2)])
async def test_a_change_before_the_last_plan_is_no_reason_for_another_reconciliation(
    planned_after: bool, runs: int
) -> None:
    seen: list[Ref] = []
    queue: Queue

    async def work(key: Ref) -> datetime | None:
        seen.append(key)
        if len(seen) == 1:
            if not planned_after:
                queue.planning(key)
            queue.add(key)
            if planned_after:
                queue.planning(key)
        return None

    async with running(work) as queue:
        queue.add(WORKER)
        await until(lambda: len(seen) >= runs and queue.idle)
        await asyncio.sleep(0.05)
        assert len(seen) == runs
