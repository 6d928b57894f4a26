"""Introspection (RFC 7662) and revocation (RFC 7009): authenticated, repeated and bounded as token requests are."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError, unshared
from scopewright.client.outage import IssuerOutage
from scopewright.client.unshared import DaemonThreads
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import ISSUER, PAYROLL, SECRET
from tests.harness.transport import IssuerTransport
from tests.unit.client.support import FakeClock, IssuerServer, Mount, busy, refused
from tests.unit.client.test_authentication import Issuer, private_key, projected
from tests.unit.forked import slow_issuer, wait_until

OAUTH = "/.well-known/oauth-authorization-server"
Ask = Callable[[ClientCredentials, str], object]


def introspect(auth: ClientCredentials, token: str) -> object:
    return auth.introspect_sync(token)


def introspect_async(auth: ClientCredentials, token: str) -> object:
    return asyncio.run(_introspected(auth, token))


async def _introspected(auth: ClientCredentials, token: str) -> object:
    return await auth.introspect(token)


def revoke(auth: ClientCredentials, token: str) -> object:
    auth.revoke_sync(token)
    return None


@pytest.fixture
def auth(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, http=issuer.client(), clock=clock, jitter=lambda: 0.0)


def error_of(ask: Ask, auth: ClientCredentials, token: str = "the-token") -> TokenError:
    with pytest.raises(TokenError) as caught:
        ask(auth, token)
    return caught.value


@pytest.mark.parametrize("ask", [introspect, introspect_async])
def test_answer_about_a_token_is_returned(auth: ClientCredentials, issuer: IssuerServer, ask: Ask) -> None:
    assert ask(auth, "the-token") == {"active": True, "scope": "payroll.read"}
    assert issuer.paths == [OAUTH, "/introspect"]
    assert issuer.form() == {"token": ["the-token"], "token_type_hint": ["access_token"]}
    assert issuer.pair() == ("leave.leave-worker", "SecretNumberOne")


async def test_requests_use_the_async_client_of_the_application(mount: Mount, issuer: IssuerServer) -> None:
    auth = ClientCredentials(mount.path, http=issuer.async_client(), clock=FakeClock())
    token = await auth.token()
    assert (await auth.introspect(token))["active"] is True
    await auth.revoke(token)
    assert issuer.paths == ["/token", OAUTH, "/introspect", "/revoke"]
    assert issuer.form()["token"] == ["token-1"]


def test_sync_code_cannot_use_an_async_client(mount: Mount, issuer: IssuerServer) -> None:
    auth = ClientCredentials(mount.path, http=issuer.async_client())
    with pytest.raises(RuntimeError, match="http= is an AsyncClient, which sync code cannot use"):
        auth.introspect_sync("t")


@pytest.mark.parametrize("ask", [introspect, revoke])
def test_request_is_repeated_after_a_rotation_and_while_the_issuer_is_busy(
    auth: ClientCredentials, mount: Mount, issuer: IssuerServer, clock: FakeClock, ask: Ask
) -> None:
    auth.source.read()
    mount.write(client_secret="SecretNumberTwo")
    issuer.secret = "SecretNumberTwo"
    ask(auth, "the-token")
    assert [issuer.pair(n)[1] for n in (1, 2)] == ["SecretNumberOne", "SecretNumberTwo"]
    issuer.answers = [busy("2"), httpx.ConnectError("refused")]
    ask(auth, "the-token")
    assert clock.waits == [2.0, 1.0]
    issuer.answers = [busy("11")]
    assert error_of(ask, auth).retry_after == 11


@pytest.mark.parametrize("ask", [introspect, revoke])
def test_private_key_and_service_account_authenticate_too(mount: Mount, clock: FakeClock, ask: Ask) -> None:
    for entries, issuer in (
        ({"private_key.jwk": private_key("one")}, Issuer(clock, private_key("one"))),
        ({}, Issuer(clock, tokens=(projected(1),))),
    ):
        (mount.path / "token").write_text(projected(1))
        mount.write(client_secret=None, **{"private_key.jwk": None} | entries)
        accepting = _Answering(issuer)
        ask(ClientCredentials(mount.path, http=accepting.client(), clock=clock), "the-token")
        assert issuer.forms[-1]["token"] == "the-token"


class _Answering:
    """Metadata, and the answer `active` to each request that `issuer` accepts."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=IssuerServer().metadata)
        answer = self.issuer(request)
        return httpx.Response(200, json={"active": True}) if answer.status_code == 200 else answer

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))


@pytest.mark.parametrize("ask", [introspect, revoke])
@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        (refused("invalid_client", 401), "invalid_client", "see that the OAuthClient is Ready and not disabled"),
        (refused("unauthorized_client"), "unauthorized_client", "OAuthClient leave.leave-worker may not use this end"),
        (refused("invalid_request", 400, "not the-token"), "invalid_request", "refuses the request of OAuthClient"),
        (httpx.Response(404, text="not here"), "invalid_response", "endpoint right?"),
        (httpx.Response(200, content=b" " * 300_000), "invalid_response", "is larger than 262144 bytes"),
    ],
)
def test_refusal_is_an_error_with_advice_and_without_the_token(
    auth: ClientCredentials, issuer: IssuerServer, ask: Ask, answer: httpx.Response, error: str, advice: str
) -> None:
    ask(auth, "another")
    issuer.answers = [answer]
    caught = error_of(ask, auth)
    assert caught.error == error
    assert advice in caught.description
    assert "the-token" not in str(caught)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"active": "true"}',
        b'{"active": 1}',
        b'{"active": false, "active": true}',
        b'{"active": true, "scope": ["a"]}',
        b'{"active": true, "exp": "9"}',
        b'{"active": true, "exp": true}',
        b'{"active": true, "aud": [1]}',
        b'{"active": true, "sub": null}',
        b'{"active": true, "exp": NaN}',
    ],
)
def test_malformed_answer_is_not_returned(auth: ClientCredentials, issuer: IssuerServer, content: bytes) -> None:
    auth.introspect_sync("t")
    issuer.answers = [httpx.Response(200, content=content)]
    assert error_of(introspect, auth).error == "invalid_response"


@pytest.mark.parametrize(("ask", "name"), [(introspect, "introspection_endpoint"), (revoke, "revocation_endpoint")])
def test_token_is_not_sent_to_another_origin_or_without_an_endpoint(
    mount: Mount, clock: FakeClock, ask: Ask, name: str
) -> None:
    issuer = IssuerServer()
    auth = ClientCredentials(mount.path, http=issuer.client(), clock=clock)
    del issuer.metadata[name]
    assert f"names no {name}: the issuer has none" in error_of(ask, auth).description
    error_of(ask, auth)
    assert issuer.paths == [OAUTH], "it is fetched again after a minute"
    clock.instant += 60
    issuer.metadata[name] = "https://evil.example/x"
    assert "not of the same scheme, host and port as the issuer" in error_of(ask, auth).description
    assert issuer.paths == [OAUTH, OAUTH]


def test_revoked_token_is_not_used_again(auth: ClientCredentials) -> None:
    first = auth.token_sync()
    auth.revoke_sync("another")
    assert auth.token_sync() is first
    auth.revoke_sync(first)
    assert auth.token_sync().value != first.value


def test_token_is_used_if_it_could_not_be_revoked(auth: ClientCredentials, issuer: IssuerServer) -> None:
    first = auth.token_sync()
    issuer.answers = [busy("3600")]
    error_of(revoke, auth, first.value)
    assert auth.token_sync() is first


def test_dpop_proof_is_not_sent_with_introspection(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    auth = ClientCredentials(mount.path, http=issuer.client(), clock=clock, dpop=True)
    auth.introspect_sync("t")
    assert "dpop" not in issuer.requests[-1].headers


async def test_event_loop_is_not_blocked_by_a_sync_client(mount: Mount, issuer: IssuerServer) -> None:
    released = threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        released.wait(30)
        return issuer(request)

    auth = ClientCredentials(mount.path, http=httpx.Client(transport=httpx.MockTransport(slow)))
    waiting = asyncio.create_task(auth.introspect("t"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    released.set()
    assert (await waiting)["active"] is True


@pytest.mark.parametrize("asynchronous", [True, False])
def test_wait_for_an_answer_is_bounded(
    mount: Mount, issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    monkeypatch.setattr(unshared, "MAX_WAIT_SECONDS", 0.02)
    ended = threading.Event()

    def hanging(request: httpx.Request) -> httpx.Response:
        ended.wait(30)
        return issuer(request)

    auth = ClientCredentials(mount.path, http=httpx.Client(transport=httpx.MockTransport(hanging)))
    try:
        assert "no answer within" in error_of(introspect_async if asynchronous else introspect, auth).description
    finally:
        ended.set()


def test_no_request_is_sent_for_a_caller_that_waits_no_more(
    mount: Mount, issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that flows without a caller do not occupy the threads."""
    monkeypatch.setattr(unshared, "MAX_WAIT_SECONDS", 0.02)
    released, answered = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        released.wait(30)
        return issuer(request)

    auth = ClientCredentials(mount.path, http=httpx.Client(transport=httpx.MockTransport(slow)))
    error_of(introspect, auth)
    released.set()
    auth._unshared._threads.run(answered.set)
    assert answered.wait(30)
    wait_until(lambda: auth._unshared._threads._running == 0)
    assert issuer.paths == [OAUTH]


def test_requests_fail_at_once_while_the_issuer_is_unavailable(
    auth: ClientCredentials, issuer: IssuerServer, clock: FakeClock
) -> None:
    """Otherwise each request to the service would wait for seconds, and send four to the issuer."""
    auth.introspect_sync("t")
    issuer.answers = [httpx.ConnectError("refused")] * 4
    error_of(introspect, auth)
    sent = len(issuer.requests)
    for ask in (introspect, introspect_async, revoke):
        caught = error_of(ask, auth)
        assert (caught.error, caught.retry_after) == ("temporarily_unavailable", 1.0)
    assert len(issuer.requests) == sent
    clock.instant += 1
    assert auth.introspect_sync("t")["active"] is True
    assert auth.introspect_sync("t")["active"] is True


def test_one_request_at_a_time_finds_out_whether_the_issuer_is_available(clock: FakeClock) -> None:
    outage = IssuerOutage(clock.now)
    outage.check()
    outage.ended(TokenError("temporarily_unavailable", "busy", 503, retry_after=9.0))
    for pause in (9.0, 5.0, 5.0):  # Retry-After, and a request that has not ended
        clock.instant += pause - 0.1
        with pytest.raises(TokenError, match="busy"):
            outage.check()
        clock.instant += 0.1
        outage.check()
    outage.ended(TokenError("invalid_client", "an answer"))
    outage.check()
    outage.check()


def test_pause_is_bounded_whatever_the_issuer_and_the_clock_say(clock: FakeClock) -> None:
    outage = IssuerOutage(clock.now)
    for after, most in ((3600.0, 30.0), (None, 1.0)):
        outage.ended(TokenError("temporarily_unavailable", "busy", retry_after=after))
        clock.instant += most
        outage.check()
    outage.ended(TokenError("temporarily_unavailable", "busy"))
    clock.instant -= 3600
    outage.check()


async def test_cancelled_task_leaves_other_requests_alone(mount: Mount, issuer: IssuerServer) -> None:
    released = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        await released.wait()
        return issuer(request)

    auth = ClientCredentials(mount.path, http=httpx.AsyncClient(transport=httpx.MockTransport(slow)))
    first, second = asyncio.create_task(auth.introspect("a")), asyncio.create_task(auth.introspect("b"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    released.set()
    assert (await second)["active"] is True


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (RuntimeError, "temporarily_unavailable: the request ended with RuntimeError; try again"),
        (TypeError, "the request cannot be made: TypeError in tests.unit.client.test_inspection.broken, line "),
    ],
)
async def test_unexpected_exception_is_an_error_without_its_text(
    mount: Mount, kind: type[Exception], expected: str
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise kind("SecretNumberOne")

    transport = httpx.MockTransport(broken)
    for http in (httpx.AsyncClient(transport=transport), httpx.Client(transport=transport)):
        auth = ClientCredentials(mount.path, http=http)
        for asked in (auth.introspect("t"), auth.token()):
            with pytest.raises(TokenError) as caught:
                await asked
            assert expected in str(caught.value)
            assert "SecretNumberOne" not in str(caught.value)
            assert (caught.value.retry_after is None) is (kind is TypeError)


def test_own_http_client_is_kept_and_closed_with_its_object(tmp_path: Path) -> None:
    with slow_issuer() as served:
        mount = Mount(tmp_path / "served", issuer=served.url, token_endpoint=None)
        auth = ClientCredentials(mount.path)
        auth.introspect_sync("a")
        own = auth._unshared._own
        auth.for_resource(PAYROLL).introspect_sync("b")
        assert own is not None
        assert own is auth._unshared._own
        assert not own.is_closed
        del auth
        gc.collect()
        assert own.is_closed


def test_threads_are_bounded_and_all_work_is_done() -> None:
    threads, lock, done = DaemonThreads(3), threading.Lock(), threading.Semaphore(0)
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        done.release()

    for _ in range(50):
        threads.run(work)
    for _ in range(50):
        assert done.acquire(timeout=30)
    assert most <= 3


@pytest.fixture
def services() -> IssuerHarness:
    """An issuer that can write, with a client in `servedBy` of the API."""
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    harness.install_services()
    return harness


async def test_client_inspects_and_revokes_its_token_at_the_issuer(services: IssuerHarness, tmp_path: Path) -> None:
    services.put(RevocationRecord(longest_lifetime=IssuerRecord(ISSUER).max_token_lifetime))
    async with services.running():
        http = httpx.AsyncClient(transport=IssuerTransport(services.issuer))
        auth = ClientCredentials(
            resource=PAYROLL, client_id="leave.leave-worker", client_secret=SECRET, issuer=ISSUER, http=http
        )
        token = await auth.token()
        answer = await auth.introspect(token)
        assert (answer["active"], answer["client_id"]) == (True, "leave.leave-worker")
        await auth.revoke(token)
        assert await auth.introspect(token) == {"active": False}
        assert (await auth.token()).value != token.value
