"""Events are posted in the background, the more important ones first."""

import asyncio
from typing import Any

import pytest

from scopewright.controller import events
from scopewright.controller.events import EventRecorder
from scopewright.core.plan import Event

REGARDING = {"kind": "OAuthClient", "name": "worker", "namespace": "leave"}


class _Api:
    def __init__(self) -> None:
        self.posted: list[str] = []
        self.changed = asyncio.Condition()

    async def request(self, method: str, path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        async with self.changed:
            self.posted.append(body["reason"])
            self.changed.notify_all()
        return {}


async def _posted(api: _Api, count: int) -> list[str]:
    async with asyncio.timeout(10), api.changed:
        await api.changed.wait_for(lambda: len(api.posted) >= count)
    return api.posted


@pytest.fixture
def api() -> _Api:
    return _Api()


async def test_in_a_rollout_a_warning_does_not_wait_for_the_other_events(
    api: _Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENTS_PER_SECOND", 0.01)
    recorder = EventRecorder(api, "operator")  # type: ignore[arg-type]
    for _ in range(100):
        recorder.record_about(REGARDING, Event("CredentialIssued", "a first credential"))
    posting = asyncio.create_task(recorder.run())
    assert await _posted(api, 1) == ["CredentialIssued"]
    recorder.record_about(REGARDING, Event("NotGranted", "apply a ScopeGrant", warning=True))
    assert await _posted(api, 2) == ["CredentialIssued", "NotGranted"]
    posting.cancel()


async def test_events_beyond_the_bound_are_dropped_and_warnings_have_their_own(
    api: _Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENTS_PER_SECOND", 1000)
    monkeypatch.setattr(events, "MAX_PENDING_EVENTS", 2)
    recorder = EventRecorder(api, "operator")  # type: ignore[arg-type]
    for _ in range(5):
        recorder.record_about(REGARDING, Event("CredentialIssued", "a first credential"))
    recorder.record_about(REGARDING, Event("NotGranted", "apply a ScopeGrant", warning=True))
    posting = asyncio.create_task(recorder.run())
    assert sorted(await _posted(api, 3)) == ["CredentialIssued", "CredentialIssued", "NotGranted"]
    await asyncio.sleep(0.05)
    assert len(api.posted) == 3
    posting.cancel()
