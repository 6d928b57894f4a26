"""Bounds of the users' endpoints, and the bridge to them."""

import asyncio
from collections.abc import Awaitable
from typing import cast

import pytest
from starlette.types import Receive, Scope, Send

from scopewright.http import Answer, HttpRequest
from scopewright.http.encode import _head, encode
from scopewright.issuer.users import bridge
from scopewright.issuer.users.pool import PoolExhausted, UserPool
from tests.harness.users import UsersHarness

REQUEST = HttpRequest("POST", "/x", b"a=1", {b"host": b"h"}, b"body", "192.0.2.1")
ANSWER = Answer(200, (), b"")


async def test_a_pool_refuses_more_requests_than_it_has_room_for() -> None:
    pool, release = UserPool(requests=2), asyncio.Event()

    async def wait() -> Answer:
        await release.wait()
        return ANSWER

    running = [asyncio.create_task(pool.run(REQUEST, wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PoolExhausted, match="busy"):
        await pool.run(REQUEST, wait)
    release.set()
    assert await asyncio.gather(*running) == [ANSWER, ANSWER]
    assert await pool.run(REQUEST, wait) is ANSWER


async def test_a_pool_bounds_the_bytes_of_all_bodies() -> None:
    pool, release = UserPool(body_bytes=7), asyncio.Event()

    async def wait() -> Answer:
        await release.wait()
        return ANSWER

    running = asyncio.create_task(pool.run(REQUEST, wait))
    await asyncio.sleep(0)
    with pytest.raises(PoolExhausted, match="busy"):
        await pool.run(REQUEST, wait)
    release.set()
    await running
    assert await pool.run(REQUEST, wait) is ANSWER


async def test_a_request_that_takes_too_long_ends_and_frees_its_place() -> None:
    pool = UserPool(requests=1, timeout=0.01)

    async def hang() -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def answer() -> Answer:
        return ANSWER

    with pytest.raises(PoolExhausted, match="timeout"):
        await pool.run(REQUEST, hang)
    assert await pool.run(REQUEST, answer) is ANSWER


async def test_an_exhausted_pool_answers_503_and_clients_go_on(
    users: UsersHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users.issuer.issuer.users, "_pool", UserPool(requests=0))
    answer = await users.authorize()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert users.page_of(answer).texts["error-id"]
    assert (await users.issuer.token()).status_code == 200


async def test_the_bridge_passes_request_and_answer_on() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        assert (await receive())["body"] == b"body"
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 418, "headers": headers})
        await send({"type": "http.response.body", "body": b"te", "more_body": True})
        await send({"type": "http.response.body", "body": b"xt"})

    answer = await bridge.call(app, REQUEST, "/below")
    assert (answer.status, answer.body) == (418, b"text")
    assert answer.headers == ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    [scope] = seen
    assert (scope["method"], scope["path"], scope["query_string"], scope["client"][0]) == (
        "POST",
        "/below",
        b"a=1",
        "192.0.2.1",
    )


async def test_the_server_keeps_no_copy_of_cookies_and_codes(users: UsersHarness) -> None:
    _head.cache_clear()
    decided = users.issuer.issuer.decide(HttpRequest("GET", "/authorize", b"client_id=x"))
    answer = await cast("Awaitable[Answer]", decided)
    encode(answer, b"", b"", head_only=False)
    assert _head.cache_info().currsize == 0
    encode(Answer(200, answer.headers, b""), b"", b"", head_only=False)
    assert _head.cache_info().currsize == 1


@pytest.mark.parametrize("path", ["/authorize/", "/authorize/x", "/login", "/login/", "/consent/x/y"])
async def test_an_unknown_path_is_a_page_and_no_redirect(users: UsersHarness, path: str) -> None:
    answer = await users.browser.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert users.page_of(answer).texts["error-id"]


@pytest.mark.parametrize("path", ["/authorizex", "/Authorize", "//authorize", "/x/authorize", "/authorize%2f"])
async def test_other_paths_are_not_those_of_users(users: UsersHarness, path: str) -> None:
    assert (await users.browser.get(f"https://issuer.example.org{path}")).status_code == 404
