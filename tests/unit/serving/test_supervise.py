"""Background tasks are restarted after longer pauses, and reported while they are down."""

import asyncio

import pytest

from scopewright.serving.supervise import STABLE_AFTER_SECONDS, SupervisedTasks
from tests.harness.clock import Clock


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the code under test, in seconds; they take no time."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        made.append(seconds)
        await sleep(0)

    monkeypatch.setattr("scopewright.serving.supervise.asyncio.sleep", note)
    return made


async def test_pauses_grow_until_a_task_is_stable(pauses: list[float]) -> None:
    clock, lives = Clock(), iter([0.0, 0.0, 0.0, 0.0, 0.0, STABLE_AFTER_SECONDS + 31, 0.0])
    over = asyncio.Event()

    async def work() -> None:
        life = next(lives, None)
        if life is None:
            over.set()
            await asyncio.Event().wait()
        clock.advance(seconds=life or 0.0)
        raise ValueError("a bug")

    supervised = SupervisedTasks(clock)
    supervised.start("work", work)
    await asyncio.wait_for(over.wait(), 20)
    assert pauses == [0.1, 1.0, 5.0, 30.0, 30.0, 0.1, 1.0]
    assert supervised.down(needed=False) == []
    await supervised.stop()


async def test_a_task_is_down_after_three_failures_until_it_is_stable(pauses: list[float]) -> None:
    clock, failures = Clock(), iter(range(3))
    running = asyncio.Event()

    async def work() -> None:
        if next(failures, None) is not None:
            raise ValueError("a bug")
        running.set()
        await asyncio.Event().wait()

    supervised = SupervisedTasks(clock)
    supervised.start("work", work, needed=True)
    await asyncio.wait_for(running.wait(), 20)
    assert (supervised.down(needed=True), supervised.down(needed=False)) == (["work"], [])
    clock.advance(seconds=STABLE_AFTER_SECONDS + 5)
    assert supervised.down(needed=True) == []
    await supervised.stop()


async def test_a_task_that_ends_or_cancels_itself_is_restarted(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    over = asyncio.Event()
    left = [lambda: None, cancelled]

    async def work() -> None:
        if not left:
            over.set()
            await asyncio.Event().wait()
        left.pop(0)()

    supervised = SupervisedTasks()
    supervised.start("work", work)
    await asyncio.wait_for(over.wait(), 20)
    await asyncio.wait_for(supervised.stop(), 20)
    assert "task work ended unexpectedly" in caplog.text
    assert "task work was cancelled by its own code" in caplog.text


async def test_a_task_that_fails_while_it_is_stopped_is_not_restarted(caplog: pytest.LogCaptureFixture) -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the disk is full")

    supervised = SupervisedTasks()
    supervised.start("work", work)
    await asyncio.wait_for(started.wait(), 20)
    await asyncio.wait_for(supervised.stop(), 20)
    assert "the disk is full" in caplog.text
    assert "restarting" not in caplog.text


def cancelled() -> None:
    raise asyncio.CancelledError
