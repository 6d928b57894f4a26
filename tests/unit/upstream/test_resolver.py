"""Name resolution in threads of its own."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from scopewright.upstream.resolver import Resolver
from tests.harness.waiting import until


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.close()


class SlowNames:
    """`getaddrinfo`, which answers when the test lets it."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.questions: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.questions.append(host)
        assert self.may_answer.wait(10)
        if host == "nowhere.example":
            raise socket.gaierror("no such name")
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("192.0.2.1", port)), (*stream, ("192.0.2.1", port)), (*stream, ("192.0.2.2", port))]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowNames:
    names = SlowNames()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return names


async def test_literal_addresses(resolver: Resolver) -> None:
    assert await resolver("192.0.2.1", 443) == (ipaddress.ip_address("192.0.2.1"),)
    assert await resolver("::1", 443) == (ipaddress.ip_address("::1"),)


async def test_one_question_for_all_who_wait(resolver: Resolver, slow: SlowNames) -> None:
    answers = [asyncio.create_task(resolver("a.example", 443)) for _ in range(50)]
    await asyncio.sleep(0.05)
    slow.may_answer.set()
    expected = (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2"))
    assert await asyncio.gather(*answers) == [expected] * 50
    assert slow.questions == ["a.example"]


async def test_next_question_is_asked_again(resolver: Resolver, slow: SlowNames) -> None:
    slow.may_answer.set()
    await resolver("a.example", 443)
    await resolver("a.example", 443)
    assert slow.questions == ["a.example", "a.example"]


async def test_cancelled_question_is_answered_for_others(resolver: Resolver, slow: SlowNames) -> None:
    first = asyncio.create_task(resolver("a.example", 443))
    second = asyncio.create_task(resolver("a.example", 443))
    await asyncio.sleep(0.05)
    first.cancel()
    slow.may_answer.set()
    assert len(await second) == 2


async def test_names_of_several_providers_that_get_no_answer_delay_no_others(
    resolver: Resolver, slow: SlowNames
) -> None:
    names = [f"{endpoint}.provider-{number}.example" for number in range(4) for endpoint in ("a", "b", "c", "d")]
    waiting = [asyncio.create_task(resolver(name, 443)) for name in (*names, "login.example")]
    await until(lambda: "login.example" in slow.questions)
    slow.may_answer.set()
    await asyncio.gather(*waiting)


async def test_name_that_does_not_exist(resolver: Resolver, slow: SlowNames) -> None:
    slow.may_answer.set()
    with pytest.raises(OSError, match="no such name"):
        await resolver("nowhere.example", 443)
