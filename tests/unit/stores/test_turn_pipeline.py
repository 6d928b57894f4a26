"""Every command of a turn gets a result, whatever happens to the exchange with the server."""

import asyncio
from typing import Any, cast

import pytest

from scopewright.stores.valkey import TurnPipeline


class FakePipeline:
    """Answers after `seconds` with `answers`, whatever it is asked."""

    def __init__(self, answers: list[Any], seconds: float = 0.0) -> None:
        self._answers = answers
        self._seconds = seconds

    def pipeline(self, *, transaction: bool) -> "FakePipeline":
        return self

    def execute_command(self, *command: object) -> None: ...

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        await asyncio.sleep(self._seconds)
        return self._answers


async def test_missing_answer_fails_all_commands_of_the_turn() -> None:
    pipeline = TurnPipeline(cast("Any", FakePipeline([b"OK"])))
    async with asyncio.timeout(5):
        results = await asyncio.gather(pipeline.call("A"), pipeline.call("B"), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]


async def test_exchange_that_is_cancelled_cancels_its_commands() -> None:
    pipeline = TurnPipeline(cast("Any", FakePipeline([b"OK"], seconds=60)))
    calling = asyncio.create_task(pipeline.call("A"))
    await asyncio.sleep(0.05)
    next(iter(pipeline._exchanges)).cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await calling
