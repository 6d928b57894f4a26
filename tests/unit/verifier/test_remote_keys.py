"""The issuer's keys: fetched when needed, not more often, and kept while the issuer is away."""

import asyncio
import json
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from scopewright.verifier import KeysUnavailable, Reason, TokenRejected, Verifier
from tests.unit.verifier.support import (
    AUDIENCE,
    ISSUER,
    KEY,
    NOW,
    OTHER,
    Clock,
    SigningKey,
    Web,
    reason_of,
    token,
    verifier_of,
)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def eventually(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_no_keys_at_all_is_unavailable_and_not_asked_for_at_every_request() -> None:
    web, clock = Web(KEY), Clock()
    web.away = True
    verifier = verifier_of(web, clock)
    for _ in range(100):
        with pytest.raises(KeysUnavailable) as caught:
            await verifier.verify(token())
        assert caught.value.retry_after == 1
    assert len(web.asked) == 1
    web.away = False
    clock.now += 1
    assert await reason_of(verifier, token()) is None


async def test_requests_that_arrive_together_share_one_fetch() -> None:
    web = Web(KEY)
    verifier = verifier_of(web, Clock())
    await asyncio.gather(*(verifier.verify(token(jti=str(n))) for n in range(50)))
    assert web.fetches() == 1


async def test_a_caller_who_gives_up_does_not_stop_the_fetch_for_the_others() -> None:
    web = Web(KEY)
    verifier = verifier_of(web, Clock())
    first = asyncio.create_task(verifier.verify(token()))
    second = asyncio.create_task(verifier.verify(token()))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).client_id
    assert web.fetches() == 1


async def test_an_unknown_kid_causes_one_fetch_and_a_flood_of_them_no_more() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    for number in range(200):
        assert await reason_of(verifier, token(OTHER, {"kid": f"made-up-{number}"})) is Reason.UNKNOWN_KEY
    assert web.fetches() == 2
    clock.now += 29.9
    assert await reason_of(verifier, token(OTHER)) is Reason.UNKNOWN_KEY
    assert web.fetches() == 2
    clock.now += 0.2
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER)) is None
    assert web.fetches() == 3


async def test_a_key_published_after_the_first_fetch_is_found_at_once() -> None:
    web = Web(KEY)
    verifier = verifier_of(web, Clock())
    await verifier.verify(token())
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER)) is None


async def test_a_token_of_a_stranger_causes_no_fetch() -> None:
    web = Web(KEY)
    verifier = verifier_of(web, Clock())
    await verifier.verify(token())
    assert await reason_of(verifier, token(OTHER, iss="https://evil.example")) is Reason.ISSUER
    assert web.fetches() == 1


async def test_an_unknown_kid_while_the_issuer_is_away_is_not_refused_from_ignorance() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.away = True
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            await verifier.verify(token(OTHER))
    assert len(web.asked) == 3
    assert await reason_of(verifier, token(jti="1")) is None


async def test_keys_are_fetched_again_before_they_are_stale_without_anybody_waiting() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    clock.now = NOW + 239
    await verifier.verify(token())
    await settle()
    assert web.fetches() == 1
    clock.now = NOW + 241
    await verifier.verify(token())
    await settle()
    assert web.fetches() == 2
    assert web.asked[-1].headers["if-none-match"] == '"key-1"'


async def test_unchanged_keys_are_not_sent_again_and_stay_fresh() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    for _ in range(5):
        clock.now += 241
        assert await reason_of(verifier, token(exp=int(NOW) + 9000)) is None
        await settle()
    assert web.fetches() == 6


async def test_stale_keys_go_on_serving_while_the_issuer_is_away() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.away = True
    for day in range(1, 8):
        clock.now = NOW + 86400 * day
        assert await reason_of(verifier, token(iat=int(clock.now), exp=int(clock.now) + 600)) is None
        await settle()


async def test_after_an_idle_night_the_issuer_is_asked_before_a_key_is_believed() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.keys = [OTHER]
    clock.now = NOW + 36000
    assert await reason_of(verifier, token(iat=int(clock.now), exp=int(clock.now) + 60)) is Reason.UNKNOWN_KEY


async def test_a_withdrawn_key_is_dropped_with_the_tokens_that_it_signed() -> None:
    web, clock = Web(KEY, OTHER), Clock()
    verifier = verifier_of(web, clock)
    old, young = token(exp=int(NOW) + 9000), token(OTHER, exp=int(NOW) + 9000)
    await verifier.verify(old)
    await verifier.verify(young)
    web.keys = [OTHER]
    clock.now += 301
    assert await reason_of(verifier, old) is Reason.UNKNOWN_KEY
    assert verifier.cached(old) is None
    assert verifier.cached(young) is not None, "a token whose key stays need not be verified again"


@pytest.mark.parametrize(
    ("header", "fresh", "due"),
    [
        ({"cache-control": "max-age=0"}, 23, 25),
        ({"cache-control": "no-store"}, 239, 241),
        ({}, 239, 241),
        ({"cache-control": "s-maxage=5, max-age=1000"}, 799, 801),
        ({"cache-control": "max-age=1000", "age": "500"}, 399, 401),
        ({"cache-control": "max-age=99999999"}, 2879, 2881),
        ({"cache-control": "MAX-AGE=1000", "age": "soon"}, 799, 801),
    ],
)
async def test_max_age_is_honoured_within_bounds(header: dict[str, str], fresh: float, due: float) -> None:
    web, clock = Web(KEY), Clock()
    web.headers = header
    verifier = verifier_of(web, clock)
    long = token(exp=int(NOW) + 9000)
    await verifier.verify(long)
    clock.now = NOW + fresh
    assert verifier.cached(long) is not None
    clock.now = NOW + due
    assert verifier.cached(long) is None


async def test_an_issuer_that_moves_its_jwks_is_discovered_again() -> None:
    web, clock = Web(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.pages["/tenant/jwks.json"] = httpx.Response(404)
    web.pages["/moved"] = httpx.Response(200, json={"keys": [KEY.jwk, OTHER.jwk]})
    web.metadata["jwks_uri"] = "https://issuer.example/moved"
    clock.now += 241
    for _ in range(3):
        await verifier.verify(token())
        await settle()
        clock.now += 2
    assert await reason_of(verifier, token(OTHER)) is None


def test_threads_share_one_fetch_and_see_a_withdrawal() -> None:
    web, clock = Web(KEY), Clock()
    verifier = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=clock)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(verifier.verify_sync(token(jti=str(n))).client_id))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert web.fetches() == 1
    web.keys = [SigningKey("key-9")]
    clock.now += 241
    verifier.verify_sync(token(jti="0"))
    eventually(lambda: web.fetches() == 2)
    with pytest.raises(TokenRejected):
        eventually(lambda: verifier.verify_sync(token(jti="0")) is None)


def test_a_sync_service_is_told_unavailable_too() -> None:
    web = Web(KEY)
    web.away = True
    with pytest.raises(KeysUnavailable):
        Verifier(ISSUER, AUDIENCE, http=web.client(), clock=Clock()).verify_sync(token())


async def test_a_fetch_that_fails_in_an_unforeseen_way_leaves_nobody_waiting() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    for http in (
        httpx.AsyncClient(transport=httpx.MockTransport(broken)),
        httpx.Client(transport=httpx.MockTransport(broken)),
    ):
        verifier = Verifier(ISSUER, AUDIENCE, http=http, clock=Clock())
        with pytest.raises(KeysUnavailable):
            await asyncio.wait_for(verifier.verify(token()), 5)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"kid": "odd", "kid": "odd", "kty": "EC"}',
        b'{"kid": "odd", "kty": "EC", "x": NaN}',
        b'{"kid": "\\ud800", "kty": "EC"}',
        b'{"kid": "odd", "kty": "RSA", "e": ' + b"9" * 10_000 + b"}",
        b"5",
        b"null",
    ],
)
async def test_one_odd_member_of_a_jwks_does_not_take_the_other_keys_along(odd: bytes) -> None:
    web = Web(KEY)
    body = b'{"keys": [' + odd + b", " + json.dumps(KEY.jwk).encode() + b'], "note": 1, "note": 2}'
    web.pages["/tenant/jwks.json"] = httpx.Response(200, content=body)
    assert await reason_of(verifier_of(web, Clock()), token()) is None
