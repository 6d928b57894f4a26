"""The httpx auth object: tokens are cached, refreshed in time, replaced when refused, and sent to no other origin."""

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from scopewright.client import ClientCredentials, SecretError, TokenError
from tests.unit.client.support import Api, Endpoint, FakeClock, Mount, busy, call, call_async
from tests.unit.forked import wait_until


@pytest.fixture
def auth(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, http=endpoint.client(), clock=clock, jitter=lambda: 0.0)


def test_requests_share_one_token(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api()
    with call(api, auth) as client:
        for _ in range(10):
            assert client.get("/salaries").text == "salaries"
    assert api.sent == ["Bearer token-1"] * 10
    assert len(endpoint.requests) == 1


async def test_async_requests_share_one_token(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api()
    async with call_async(api, auth) as client:
        await asyncio.gather(*(client.get("/salaries") for _ in range(20)))
    assert api.sent == ["Bearer token-1"] * 20
    assert len(endpoint.requests) == 1


async def test_token_is_fetched_with_an_async_client(mount: Mount, endpoint: Endpoint) -> None:
    auth = ClientCredentials(mount.path, http=endpoint.async_client(), clock=FakeClock())
    endpoint.answers = [busy("1")]
    tokens = await asyncio.gather(*(auth.token() for _ in range(20)))
    assert {token.value for token in tokens} == {"token-2"}
    assert len(endpoint.requests) == 2


async def test_cancelled_task_does_not_cancel_the_shared_fetch(mount: Mount, endpoint: Endpoint) -> None:
    auth = ClientCredentials(mount.path, http=endpoint.async_client(), clock=FakeClock())
    first, second = asyncio.create_task(auth.token()), asyncio.create_task(auth.token())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).value == "token-1"


def test_token_is_refreshed_in_the_background_before_it_expires(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    assert auth.token_sync().value == "token-1"
    clock.instant += 449
    assert auth.token_sync().value == "token-1"
    assert len(endpoint.requests) == 1
    clock.instant += 2
    assert auth.token_sync().value in ("token-1", "token-2")
    wait_until(lambda: auth.token_sync().value == "token-2")
    assert len(endpoint.requests) == 2


def test_expired_token_is_not_used(auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock) -> None:
    auth.token_sync()
    clock.instant += 596
    assert auth.token_sync().value == "token-2"


def test_pause_after_a_failure_ends_if_the_clock_is_set_back(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    """A Pod that starts with a clock two hours ahead would be without a token for two hours."""
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_client"})]
    with pytest.raises(TokenError):
        auth.token_sync()
    clock.instant -= 7200
    assert auth.token_sync().value == "token-2"


def test_token_is_replaced_if_the_clock_is_set_back(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    """Its end is unknown then. The pause between two refusals ends too."""
    auth.token_sync()
    auth.invalidate("token-1")
    assert auth.token_sync().value == "token-2"
    clock.instant -= 7200
    auth.invalidate("token-2")
    assert auth.token_sync().value == "token-3"
    clock.instant -= 7200
    wait_until(lambda: auth.token_sync().value == "token-4")


@pytest.mark.parametrize("running", [False, True])
def test_sync_code_cannot_use_an_async_client(mount: Mount, endpoint: Endpoint, running: bool) -> None:
    """On the event loop, it would wait for itself."""
    auth = ClientCredentials(mount.path, http=endpoint.async_client())

    async def on_the_event_loop() -> None:
        auth.token_sync()

    with pytest.raises(RuntimeError, match="http= of this ClientCredentials is an AsyncClient"):
        asyncio.run(on_the_event_loop()) if running else auth.token_sync()
    with pytest.raises(RuntimeError, match="http= of this ClientCredentials is an AsyncClient"):
        httpx.get("https://payroll.example", auth=auth)


def test_token_is_used_while_no_thread_can_be_started(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a limit of the container. Later it is renewed."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    auth.token_sync()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        clock.instant += 550
        assert auth.token_sync().value == "token-1"
        clock.instant += 50
        with call(Api(), auth) as client, pytest.raises(httpx.HTTPError, match="RuntimeError; try again"):
            client.get("/salaries")
        with pytest.raises(TokenError, match="RuntimeError; try again") as caught:
            auth.revoke_sync("token-1")
        assert caught.value.retry_after == 1.0
    clock.instant += 10
    assert auth.token_sync().value == "token-2"


def test_token_with_a_very_short_lifetime_is_used(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    endpoint.expires_in = 2
    assert auth.token_sync().value == "token-1"
    assert auth.token_sync().value == "token-1"
    clock.instant += 2
    assert auth.token_sync().value == "token-2"


def test_token_is_used_until_it_expires_while_the_issuer_is_unavailable(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    first = auth.token_sync()
    endpoint.answers = [busy("3600") for _ in range(1000)]
    while clock.instant < first.expires_at - 1:
        assert auth.token_sync().value == "token-1"
        clock.instant += 10
    clock.instant = first.expires_at + 1
    with pytest.raises(TokenError) as caught:
        auth.token_sync()
    assert caught.value.error == "temporarily_unavailable"


def test_token_is_kept_after_a_rotation_and_dropped_after_a_change_of_client(
    auth: ClientCredentials, mount: Mount, endpoint: Endpoint, clock: FakeClock
) -> None:
    auth.token_sync()
    mount.write(client_secret="SecretNumberTwo")
    endpoint.secret = "SecretNumberTwo"
    clock.instant += 1
    assert auth.token_sync().value == "token-1"
    mount.write(client_id="leave.other", client_secret="SecretNumberTwo")
    clock.instant += 1
    assert auth.token_sync().value == "token-2"
    assert endpoint.pair()[0] == "leave.other"


def test_refused_token_is_replaced_once(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api(good={"token-2"})
    with call(api, auth) as client:
        assert client.post("/salaries", json={"pay": 1}).status_code == 200
    assert api.sent == ["Bearer token-1", "Bearer token-2"]
    assert api.bodies == [b'{"pay":1}'] * 2


async def test_refused_token_is_replaced_once_for_all_tasks(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api(good={"token-2"})
    async with call_async(api, auth) as client:
        answers = await asyncio.gather(*(client.get("/salaries") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(endpoint.requests) == 2


def test_tokens_are_not_replaced_at_every_refusal_of_an_api(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    api = Api(good=set())
    with call(api, auth) as client:
        for _ in range(20):
            assert client.get("/salaries").status_code == 401
        assert len(endpoint.requests) == 2
        clock.instant += 10
        client.get("/salaries")
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("challenge", ["Bearer", 'Bearer error="insufficient_scope"', 'Basic realm="invalid_token"'])
def test_other_refusals_are_returned_to_the_caller(auth: ClientCredentials, endpoint: Endpoint, challenge: str) -> None:
    api = Api(good=set())
    api.challenge = challenge
    with call(api, auth) as client:
        assert client.get("/salaries").status_code == 401
    assert len(api.sent) == 1
    assert len(endpoint.requests) == 1


def test_time_for_a_challenge_grows_with_its_length_only(auth: ClientCredentials) -> None:
    """A search that begins again at each scheme takes ten seconds for this header."""
    api = Api(good=set())
    api.challenge = "Bearer " * 9000
    with call(api, auth) as client:
        begun = time.process_time()
        assert client.get("/salaries").status_code == 401
    assert time.process_time() - begun < 2


class Streaming(httpx.AsyncBaseTransport):
    """Consumes the body as a socket does; MockTransport would keep a copy."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.bodies.append(b"".join([chunk async for chunk in request.stream]))
        return httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})


async def test_request_is_repeated_with_a_plain_body_and_not_with_a_streamed_one(
    auth: ClientCredentials, clock: FakeClock
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"once"

    transport = Streaming()
    async with httpx.AsyncClient(transport=transport, auth=auth) as client:
        assert (await client.post("https://payroll.example", content=chunks())).status_code == 401
        clock.instant += 10
        assert (await client.post("https://payroll.example", content=b"twice")).status_code == 401
    assert transport.bodies == [b"once", b"twice", b"twice"]


class Uploads(httpx.BaseTransport):
    """Consumes the body as a socket does, and accepts one token."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.sent: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        b"".join(request.stream)
        self.sent.append(request.headers["authorization"].removeprefix("Bearer "))
        if self.sent[-1] == self.good:
            return httpx.Response(200)
        return httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})


def test_request_after_a_refused_upload_has_a_new_token(auth: ClientCredentials, endpoint: Endpoint) -> None:
    transport = Uploads("token-2")
    with httpx.Client(transport=transport, auth=auth) as client:
        statuses = [
            client.post("https://payroll.example", files={"slip": io.BytesIO(b"x")}).status_code for _ in range(3)
        ]
    assert statuses == [401, 200, 200]
    assert transport.sent == ["token-1", "token-2", "token-2"]
    assert len(endpoint.requests) == 2


def test_tokens_are_not_replaced_at_every_refused_upload(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    with httpx.Client(transport=Uploads("none"), auth=auth) as client:
        for _ in range(20):
            client.post("https://payroll.example", files={"slip": io.BytesIO(b"x")})
        assert len(endpoint.requests) == 2
        clock.instant += 10
        for _ in range(20):
            client.post("https://payroll.example", files={"slip": io.BytesIO(b"x")})
    assert len(endpoint.requests) == 3


def test_refused_token_is_used_while_no_other_can_be_fetched(auth: ClientCredentials, endpoint: Endpoint) -> None:
    transport = Uploads("none")
    with httpx.Client(transport=transport, auth=auth) as client:
        client.post("https://payroll.example", files={"slip": io.BytesIO(b"x")})
        endpoint.answers = [busy("3600")]
        assert client.post("https://payroll.example", files={"slip": io.BytesIO(b"x")}).status_code == 401
    assert transport.sent == ["token-1", "token-1"]


async def test_refused_stream_of_an_async_client_replaces_the_token(
    auth: ClientCredentials, endpoint: Endpoint
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"once"

    async with httpx.AsyncClient(transport=Streaming(), auth=auth) as client:
        await client.post("https://payroll.example", content=chunks())
    assert (await auth.token()).value == "token-2"


def test_response_of_the_api_is_returned_if_no_new_token_can_be_fetched(
    auth: ClientCredentials, endpoint: Endpoint
) -> None:
    auth.token_sync()
    endpoint.answers = [busy("3600")]
    with call(Api(good=set()), auth) as client:
        assert client.get("/salaries").status_code == 401


class Redirecting(Api):
    def answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        if request.url.path == "/elsewhere":
            self.sent.append(request.headers.get("authorization"))
            return httpx.Response(307, headers={"location": "https://evil.example/salaries"})
        return super().answer(request, body)


@pytest.mark.parametrize("good", [None, set()])
def test_the_token_is_not_sent_to_another_origin(auth: ClientCredentials, good: set[str] | None) -> None:
    api = Redirecting(good)
    with call(api, auth) as client:
        client.get("/elsewhere", follow_redirects=True)
    assert api.sent == ["Bearer token-1", None]


async def test_the_token_is_not_sent_to_another_origin_by_async_clients(auth: ClientCredentials) -> None:
    api = Redirecting(set())
    async with call_async(api, auth) as client:
        await client.get("/elsewhere", follow_redirects=True)
    assert api.sent == ["Bearer token-1", None]


def test_missing_secret_is_an_error_before_anything_is_sent(tmp_path: Path, endpoint: Endpoint) -> None:
    api = Api()
    with call(api, ClientCredentials(tmp_path / "no", http=endpoint.client())) as client, pytest.raises(SecretError):
        client.get("/salaries")
    assert (api.sent, endpoint.requests) == ([], [])


def test_missing_package_is_named(mount: Mount) -> None:
    """As for a SOCKS proxy of the environment."""

    def broken(request: httpx.Request) -> httpx.Response:
        raise ImportError("install httpx[socks]")

    http = httpx.Client(transport=httpx.MockTransport(broken))
    with pytest.raises(TokenError, match=r"cannot be sent: install httpx\[socks\]"):
        ClientCredentials(mount.path, http=http).token_sync()


def test_variable_of_unusable_authorities_is_named(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text("not PEM")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    with pytest.raises(TokenError, match=r"SSL_CERT_FILE is .*/ca\.crt, which is not a file of CA certificates"):
        ClientCredentials(mount.path).token_sync()


async def test_unexpected_exception_of_a_fetch_ends_every_wait(mount: Mount) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("SecretNumberOne")

    transport = httpx.MockTransport(broken)
    for http in (httpx.AsyncClient(transport=transport), httpx.Client(transport=transport)):
        with pytest.raises(TokenError) as caught:
            await asyncio.wait_for(ClientCredentials(mount.path, http=http).token(), 5)
        assert "SecretNumberOne" not in str(caught.value)
