"""`follow` yields every object once, then every change, and nothing after a failure."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.stores import Change, ListCompleted, Selection
from scopewright.stores.kubernetes.answers import Gone, NotFound
from scopewright.stores.kubernetes.follow import follow
from scopewright.stores.kubernetes.store import KubernetesStore
from tests.unit.stores_kubernetes.fake_api import FakeApi, ScriptEnded, page, secret

PATH = "GET /api/v1/secrets"
SELECTION = Selection("Secret", None, {"app.kubernetes.io/managed-by": "scopewright"})
ONE, TWO = Ref("Secret", "leave", "one"), Ref("Secret", "leave", "two")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the code under test, in seconds; they take no time."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waited


async def followed(api: FakeApi) -> list[Any]:
    """Events until the script ends: `+name version`, `-name version`, or names and version of a completed list."""
    events: list[Any] = []
    with contextlib.suppress(ScriptEnded):
        async for change in follow(api.as_api(), SELECTION):
            if isinstance(change, Change):
                sign = "-" if change.deleted else "+"
                events.append(f"{sign}{change.existing.ref.name} {change.existing.resource_version}")
                assert bool(change.entries) is not change.deleted
            else:
                assert isinstance(change, ListCompleted)
                events.append({ref.name for ref in change.refs} | {change.version})
    return events


def event(type: str, raw: dict[str, Any]) -> dict[str, Any]:  # noqa: A002 (the field's own name)
    return {"type": type, "object": raw}


BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "17"}}}


async def test_follow_yields_objects_then_list_completed_then_changes() -> None:
    api = FakeApi()
    api.answer(PATH, page("9", secret("one", "5"), more="token"), page("9", secret("two", "6")))
    api.watches.append([event("MODIFIED", secret("one", "10")), event("DELETED", secret("two", "11"))])
    assert await followed(api) == ["+one 5", "+two 6", {"one", "two", "9"}, "+one 10", "-two 11"]
    assert [q.get("continue") for m, _, q in api.requests if m == "GET"] == [None, "token"]
    assert all(q["labelSelector"] == "app.kubernetes.io/managed-by=scopewright" for _, _, q in api.requests)


async def test_empty_list_is_completed() -> None:
    api = FakeApi()
    api.answer(PATH, page("9"))
    assert await followed(api) == [{"9"}]


async def test_watch_continues_from_the_last_bookmark() -> None:
    api = FakeApi()
    api.answer(PATH, page("9"))
    api.watches.extend([[BOOKMARK], [event("ADDED", secret("one", "18"))], []])
    assert await followed(api) == [{"9"}, "+one 18"]
    versions = [q["resourceVersion"] for m, _, q in api.requests if m == "WATCH"]
    assert versions == ["9", "17", "18", "18"]


async def test_bookmark_counts_as_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 20.0, 30.0])
    monkeypatch.setattr("scopewright.stores.kubernetes.store.time", SimpleNamespace(time=lambda: next(now)))
    api = FakeApi()
    api.answer(PATH, page("9"))
    api.watches.append([BOOKMARK, event("ADDED", secret("one", "18"))])
    store = KubernetesStore(api.as_api())
    assert store.last_activity("Secret") is None
    seen = []
    with contextlib.suppress(ScriptEnded):
        async for _ in store.follow(SELECTION):
            seen.append(store.last_activity("Secret"))
    assert seen == [10.0, 30.0]
    assert store.last_activity("ConfigMap") is None


async def test_410_causes_a_new_list() -> None:
    api = FakeApi()
    api.answer(PATH, page("9", secret("one", "5")), page("30", secret("two", "20")))
    api.watches.append([event("MODIFIED", secret("one", "10")), Gone("too old")])
    assert await followed(api) == ["+one 5", {"one", "9"}, "+one 10", "+two 20", {"two", "30"}]


@pytest.mark.parametrize(
    "error", [Unavailable("down"), Rejected("Forbidden", "no right"), NotFound("not served", named=False)]
)
async def test_failed_list_is_retried_with_growing_pauses(error: BaseException, pauses: list[float]) -> None:
    api = FakeApi()
    api.answer(PATH, *[error] * 9, page("9", secret("one", "5")))
    assert await followed(api) == ["+one 5", {"one", "9"}]
    assert all(0.8 * 0.2 * 2**n <= p or p >= 4 for n, p in enumerate(pauses))
    assert max(pauses) <= 5 * 1.2


async def test_interrupted_list_is_repeated_and_not_completed_in_part() -> None:
    api = FakeApi()
    api.answer(PATH, page("9", secret("one", "5"), more="t"), Unavailable("down"), page("12", secret("two", "11")))
    assert await followed(api) == ["+one 5", "+two 11", {"two", "12"}]


async def test_list_with_an_expired_continue_token_is_repeated() -> None:
    api = FakeApi()
    api.answer(PATH, page("9", secret("one", "5"), more="t"), Gone("too old"), page("12", secret("two", "11")))
    assert await followed(api) == ["+one 5", "+two 11", {"two", "12"}]


async def test_failed_watch_continues_from_the_last_version() -> None:
    api = FakeApi()
    api.answer(PATH, page("9"))
    api.watches.extend(
        [[event("ADDED", secret("one", "10")), Unavailable("reset")], [event("MODIFIED", secret("one", "11"))]]
    )
    assert await followed(api) == [{"9"}, "+one 10", "+one 11"]


async def test_event_resets_the_pauses(pauses: list[float]) -> None:
    api = FakeApi()
    api.answer(PATH, page("9"))
    down = Unavailable("down")
    api.watches.extend([[down], [down], [down], [BOOKMARK, down]])
    await followed(api)
    assert pauses[2] > pauses[3]
