"""Keys of the issuer: fetched when needed, and kept while the issuer is unavailable."""

import asyncio
import json
import re
import threading

import httpx
import pytest

from scopewright.issuer_metadata import MAX_BYTES
from scopewright.verifier import KeysUnavailable, Reason, TokenRejected, Verifier, fetch
from tests.harness.clock import Clock
from tests.unit.forked import wait_until
from tests.unit.verifier.support import (
    AUDIENCE,
    ISSUER,
    KEY,
    NOW,
    OTHER,
    FakeIssuer,
    SigningKey,
    reason_of,
    token,
    verifier_of,
)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_fetch_of_unavailable_keys_is_not_repeated_at_every_request() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    web.unavailable = True
    verifier = verifier_of(web, clock)
    for _ in range(100):
        with pytest.raises(KeysUnavailable) as caught:
            await verifier.verify(token())
        assert caught.value.retry_after == 1
    assert len(web.requests) == 1
    web.unavailable = False
    clock.advance(seconds=1)
    assert await reason_of(verifier, token()) is None


async def test_concurrent_requests_share_one_fetch() -> None:
    web = FakeIssuer(KEY)
    verifier = verifier_of(web, Clock())
    await asyncio.gather(*(verifier.verify(token(jti=str(n))) for n in range(50)))
    assert web.fetches() == 1


async def test_cancelled_caller_does_not_cancel_the_shared_fetch() -> None:
    web = FakeIssuer(KEY)
    verifier = verifier_of(web, Clock())
    first = asyncio.create_task(verifier.verify(token()))
    second = asyncio.create_task(verifier.verify(token()))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).client_id
    assert web.fetches() == 1


async def test_unknown_kid_causes_one_fetch_per_interval() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    for number in range(200):
        assert await reason_of(verifier, token(OTHER, {"kid": f"made-up-{number}"})) is Reason.UNKNOWN_KEY
    assert web.fetches() == 2
    clock.advance(seconds=29.9)
    assert await reason_of(verifier, token(OTHER)) is Reason.UNKNOWN_KEY
    assert web.fetches() == 2
    clock.advance(seconds=0.2)
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER)) is None
    assert web.fetches() == 3


async def test_new_key_is_fetched_at_once() -> None:
    web = FakeIssuer(KEY)
    verifier = verifier_of(web, Clock())
    await verifier.verify(token())
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER)) is None


@pytest.mark.parametrize("waiting", [1, 20])
async def test_a_key_that_is_published_during_a_fetch_is_fetched_at_once(waiting: int) -> None:
    """The fetch in progress has the keys of before: it does not count as the one that an unknown kid causes."""
    web, clock, answered = FakeIssuer(KEY), Clock(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        response = web(request)
        await answered.wait()
        return response

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    verifier = Verifier(ISSUER, AUDIENCE, http=http, clock=clock)
    answered.set()
    await verifier.verify(token())
    answered.clear()
    clock.advance(seconds=250)  # of 300: in the background
    await verifier.verify(token())
    await settle()
    web.keys.append(OTHER)
    verified = [asyncio.create_task(verifier.verify(token(OTHER, jti=str(n)))) for n in range(waiting)]
    await settle()
    assert web.fetches() == 2
    answered.set()
    await asyncio.gather(*verified)
    assert web.fetches() == 3
    assert await reason_of(verifier, token(SigningKey("unknown"))) is Reason.UNKNOWN_KEY
    assert web.fetches() == 3, "a pause follows"


async def test_token_of_another_issuer_causes_no_fetch() -> None:
    web = FakeIssuer(KEY)
    verifier = verifier_of(web, Clock())
    await verifier.verify(token())
    assert await reason_of(verifier, token(OTHER, iss="https://evil.example")) is Reason.ISSUER
    assert web.fetches() == 1


async def test_unknown_kid_while_the_issuer_is_unavailable_is_503() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.unavailable = True
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            await verifier.verify(token(OTHER))
    assert len(web.requests) == 3
    assert await reason_of(verifier, token(jti="1")) is None


async def test_a_key_that_signs_first_after_an_outage_is_fetched_at_once() -> None:
    """The back-off of the fetches in the background has reached 30 s by then."""
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token(exp=int(NOW) + 9000))
    await _be_unavailable(web, clock, verifier)
    web.unavailable = False
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER, exp=int(NOW) + 9000)) is None


async def test_unknown_kids_cause_one_fetch_a_second_while_the_issuer_is_unavailable() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token(exp=int(NOW) + 9000))
    await _be_unavailable(web, clock, verifier)
    asked = len(web.requests)
    for number in range(20):
        with pytest.raises(KeysUnavailable) as caught:
            await verifier.verify(token(OTHER, {"kid": f"made-up-{number}"}, exp=int(NOW) + 9000))
        assert caught.value.retry_after == 1
    assert len(web.requests) == asked + 1
    clock.advance(seconds=1)
    web.unavailable = False
    web.keys.append(OTHER)
    assert await reason_of(verifier, token(OTHER, exp=int(NOW) + 9000)) is None


async def test_fetches_for_invented_kids_become_rare_while_the_issuer_is_unavailable() -> None:
    """Each request with such a kid waits for the fetch, as long as the issuer does not answer."""
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token(exp=int(NOW) + 9000))
    web.unavailable = True
    asked = []
    for second in range(120):
        before = len(web.requests)
        with pytest.raises(KeysUnavailable):
            await verifier.verify(token(OTHER, {"kid": f"made-up-{second}"}, exp=int(NOW) + 9000))
        if len(web.requests) > before:
            asked.append(second)
        clock.advance(seconds=1)
    assert asked == [0, 1, 3, 7, 15, 30, 60, 90]


async def _be_unavailable(web: FakeIssuer, clock: Clock, verifier: Verifier) -> None:
    """For five minutes, of which the last fetch in the background is ten seconds ago."""
    web.unavailable = True
    clock.advance(seconds=241)
    for _ in range(310):
        clock.advance(seconds=1)
        await verifier.verify(token(exp=int(NOW) + 9000))
        await settle()


async def test_keys_are_refreshed_in_the_background_before_they_expire() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    clock.set(NOW + 239)
    await verifier.verify(token())
    await settle()
    assert web.fetches() == 1
    clock.set(NOW + 241)
    await verifier.verify(token())
    await settle()
    assert web.fetches() == 2
    assert web.requests[-1].headers["if-none-match"] == '"key-1"'


async def test_unchanged_keys_are_revalidated_with_an_etag() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    for _ in range(5):
        clock.advance(seconds=241)
        assert await reason_of(verifier, token(exp=int(NOW) + 9000)) is None
        await settle()
    assert web.fetches() == 6


async def test_stale_keys_are_used_while_the_issuer_is_unavailable() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.unavailable = True
    for day in range(1, 8):
        clock.set(NOW + 86400 * day)
        assert await reason_of(verifier, token(iat=int(clock()), exp=int(clock()) + 600)) is None
        await settle()


async def test_stale_keys_are_refreshed_before_use_after_a_long_pause() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.keys = [OTHER]
    clock.set(NOW + 36000)
    assert await reason_of(verifier, token(iat=int(clock()), exp=int(clock()) + 60)) is Reason.UNKNOWN_KEY


async def test_removed_key_is_dropped_with_its_cached_tokens() -> None:
    web, clock = FakeIssuer(KEY, OTHER), Clock()
    verifier = verifier_of(web, clock)
    old, young = token(exp=int(NOW) + 9000), token(OTHER, exp=int(NOW) + 9000)
    await verifier.verify(old)
    await verifier.verify(young)
    web.keys = [OTHER]
    clock.advance(seconds=301)
    assert await reason_of(verifier, old) is Reason.UNKNOWN_KEY
    assert verifier.cached(old) is None
    assert verifier.cached(young) is not None, "a token whose key is kept stays cached"


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
async def test_max_age_is_obeyed_within_bounds(header: dict[str, str], fresh: float, due: float) -> None:
    web, clock = FakeIssuer(KEY), Clock()
    web.headers = header
    verifier = verifier_of(web, clock)
    long = token(exp=int(NOW) + 9000)
    await verifier.verify(long)
    clock.set(NOW + fresh)
    assert verifier.cached(long) is not None
    clock.set(NOW + due)
    assert verifier.cached(long) is None


async def test_moved_jwks_is_discovered_again() -> None:
    web, clock = FakeIssuer(KEY), Clock()
    verifier = verifier_of(web, clock)
    await verifier.verify(token())
    web.pages["/tenant/jwks.json"] = httpx.Response(404)
    web.pages["/moved"] = httpx.Response(200, json={"keys": [KEY.jwk, OTHER.jwk]})
    web.metadata["jwks_uri"] = "https://issuer.example/moved"
    clock.advance(seconds=241)
    for _ in range(3):
        await verifier.verify(token())
        await settle()
        clock.advance(seconds=2)
    assert await reason_of(verifier, token(OTHER)) is None


def test_threads_share_one_fetch_and_see_a_removed_key() -> None:
    web, clock = FakeIssuer(KEY), Clock()
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
    clock.advance(seconds=241)
    verifier.verify_sync(token(jti="0"))
    wait_until(lambda: web.fetches() == 2)
    with pytest.raises(TokenRejected):
        wait_until(lambda: verifier.verify_sync(token(jti="0")) is None)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("size", "encoding", "deadline", "reason"),
    [
        (MAX_BYTES + 1, "identity", 15.0, f"is larger than {MAX_BYTES} bytes"),
        (1, "identity", -1.0, "took too long|TimeoutError"),
        (1, "gzip", 15.0, "answered with Content-Encoding"),
    ],
)
async def test_jwks_without_a_bound_is_refused(
    monkeypatch: pytest.MonkeyPatch, size: int, encoding: str, deadline: float, reason: str, asynchronous: bool
) -> None:
    monkeypatch.setattr(fetch, "_DEADLINE_SECONDS", deadline)
    web = FakeIssuer(KEY)
    web.pages["/tenant/jwks.json"] = httpx.Response(
        200, headers={"Content-Encoding": encoding}, stream=httpx.ByteStream(b" " * size)
    )
    http = web.async_client() if asynchronous else web.client()
    with pytest.raises(KeysUnavailable) as caught:
        await Verifier(ISSUER, AUDIENCE, http=http, clock=Clock()).verify(token())
    assert re.search(reason, caught.value.reason)


@pytest.mark.parametrize("running", [False, True])
def test_sync_code_cannot_use_an_async_client(running: bool) -> None:
    """On the event loop, it would wait for itself."""
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())

    async def on_the_event_loop() -> None:
        verifier.verify_sync(token())

    with pytest.raises(RuntimeError, match="http= of this Verifier is an AsyncClient"):
        asyncio.run(on_the_event_loop()) if running else verifier.verify_sync(token())


def test_verify_sync_raises_keys_unavailable() -> None:
    web = FakeIssuer(KEY)
    web.unavailable = True
    with pytest.raises(KeysUnavailable):
        Verifier(ISSUER, AUDIENCE, http=web.client(), clock=Clock()).verify_sync(token())


async def test_unexpected_exception_of_a_fetch_ends_every_wait() -> None:
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
async def test_malformed_entry_of_a_jwks_does_not_affect_the_other_keys(odd: bytes) -> None:
    web = FakeIssuer(KEY)
    body = b'{"keys": [' + odd + b", " + json.dumps(KEY.jwk).encode() + b'], "note": 1, "note": 2}'
    web.pages["/tenant/jwks.json"] = httpx.Response(200, content=body)
    assert await reason_of(verifier_of(web, Clock()), token()) is None
