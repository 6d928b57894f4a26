"""Call credentials for gRPC, with a real server on loopback, called by threads and by tasks."""

import asyncio
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError
from scopewright.client.grpc import aio_insecure_channel, call_credentials, insecure_channel
from tests.controlplane.certificates import Authority
from tests.unit.client.support import Endpoint, FakeClock, Mount, busy
from tests.unit.forked import slow_issuer

Outcome = str | tuple[grpc.StatusCode, str]
Call = Callable[..., list[Outcome]]
LIMIT = 20
METHOD = "/hr.Payroll/GetSalary"
LOOPBACK = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)


class _Echo(grpc.GenericRpcHandler):
    """Returns the authorization metadata, if it is `good`."""

    def __init__(self, good: str | None) -> None:
        self._good = good

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        metadata = {str(name): value for name, value in handler_call_details.invocation_metadata}
        sent = str(metadata.get("authorization", "none"))

        def answer(request: Any, context: grpc.ServicerContext) -> bytes:
            if self._good not in (None, sent):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is invalid")
            return sent.encode()

        method = str(handler_call_details.method).rpartition("/")[2]
        if method == "Stream":
            return grpc.stream_stream_rpc_method_handler(lambda request, context: iter([answer(request, context)]))
        if method == "Collect":
            return grpc.stream_unary_rpc_method_handler(answer)
        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def grpc_server(credentials: grpc.ServerCredentials | None = None, good: str | None = None) -> Iterator[str]:
    """Without credentials: plaintext."""
    with ThreadPoolExecutor(40) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((_Echo(good),))
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def _outcome(error: grpc.RpcError) -> Outcome:
    call: Any = error
    return call.code(), call.details()


def call_sync(target: str, auth: ClientCredentials, trusted: grpc.ChannelCredentials, count: int = 1) -> list[Outcome]:
    credentials = grpc.composite_channel_credentials(trusted, call_credentials(auth))
    return calls_sync(grpc.secure_channel(target, credentials), count)


def calls_sync(channel: grpc.Channel, count: int) -> list[Outcome]:
    def one(_: int) -> Outcome:
        try:
            answer: bytes = method(b"", timeout=LIMIT)
        except grpc.RpcError as error:
            return _outcome(error)
        return answer.decode()

    with channel, ThreadPoolExecutor(count) as threads:
        method: Any = channel.unary_unary(METHOD)
        return list(threads.map(one, range(count)))


def call_aio(target: str, auth: ClientCredentials, trusted: grpc.ChannelCredentials, count: int = 1) -> list[Outcome]:
    credentials = grpc.composite_channel_credentials(trusted, call_credentials(auth))
    return asyncio.run(calls_aio(lambda: grpc.aio.secure_channel(target, credentials), count))


async def calls_aio(connect: Callable[[], grpc.aio.Channel], count: int) -> list[Outcome]:
    async def one(method: Any) -> Outcome:
        try:
            answer: bytes = await method(b"", timeout=LIMIT)
        except grpc.RpcError as error:
            return _outcome(error)
        return answer.decode()

    async with connect() as channel:
        method: Any = channel.unary_unary(METHOD)
        return await asyncio.gather(*(one(method) for _ in range(count)))


def plaintext_sync(target: str, auth: ClientCredentials, _: object, count: int = 1) -> list[Outcome]:
    return calls_sync(insecure_channel(target, auth), count)


def plaintext_aio(target: str, auth: ClientCredentials, _: object, count: int = 1) -> list[Outcome]:
    return asyncio.run(calls_aio(lambda: aio_insecure_channel(target, auth), count))


@pytest.fixture
def target() -> Iterator[str]:
    with grpc_server() as target:
        yield target


@pytest.fixture(params=[call_sync, call_aio, plaintext_sync, plaintext_aio], ids=lambda called: called.__name__)
def call(request: pytest.FixtureRequest, target: str) -> Call:
    def called(auth: ClientCredentials, count: int = 1) -> list[Outcome]:
        outcomes: list[Outcome] = request.param(target, auth, LOOPBACK, count)
        return outcomes

    return called


def single_error(outcomes: list[Outcome]) -> tuple[grpc.StatusCode, str]:
    [outcome] = outcomes
    assert isinstance(outcome, tuple)
    return outcome


@pytest.fixture
def auth(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, http=endpoint.client(), clock=clock, jitter=lambda: 0.0)


def test_concurrent_rpcs_share_one_fetch(auth: ClientCredentials, call: Call, endpoint: Endpoint) -> None:
    assert call(auth, 32) == ["Bearer token-1"] * 32
    assert len(endpoint.requests) == 1


def test_rotated_credential_is_used_for_the_next_token(
    auth: ClientCredentials, call: Call, mount: Mount, endpoint: Endpoint, clock: FakeClock
) -> None:
    assert call(auth) == ["Bearer token-1"]
    mount.write(client_secret="SecretNumberTwo")
    endpoint.secret = "SecretNumberTwo"
    clock.instant += 601
    assert call(auth) == ["Bearer token-2"]


def test_token_is_used_while_the_issuer_is_unavailable_for_five_minutes(
    auth: ClientCredentials, call: Call, endpoint: Endpoint, clock: FakeClock
) -> None:
    assert call(auth) == ["Bearer token-1"]
    endpoint.answers = [busy("3600") for _ in range(100)]
    clock.instant += 300
    assert call(auth, 5) == ["Bearer token-1"] * 5


def test_invalidated_token_is_replaced(auth: ClientCredentials, call: Call) -> None:
    assert call(auth) == ["Bearer token-1"]
    auth.invalidate("token-1")
    assert call(auth) == ["Bearer token-2"]


def test_rpc_without_a_token_ends_with_a_description(auth: ClientCredentials, call: Call, endpoint: Endpoint) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"}) for _ in range(9)]
    code, details = single_error(call(auth))
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    assert "invalid_scope" in details


def test_missing_secret_is_described(tmp_path: Path, call: Call) -> None:
    assert "is not a directory" in single_error(call(ClientCredentials(tmp_path / "no")))[1]


@pytest.mark.parametrize("called", [call_sync, call_aio])
def test_token_is_sent_to_the_given_hosts_only(mount: Mount, endpoint: Endpoint, target: str, called: Call) -> None:
    auth = ClientCredentials(mount.path, http=endpoint.client(), hosts=("payroll.payroll.svc",))
    code, details = single_error(called(target, auth, LOOPBACK))
    assert (code, "hosts=" in details) == (grpc.StatusCode.UNAVAILABLE, True)
    allowed = ClientCredentials(mount.path, http=endpoint.client(), hosts=("127.0.0.1",))
    assert called(target, allowed, LOOPBACK) == ["Bearer token-1"]


@pytest.mark.parametrize("called", [call_sync, call_aio])
def test_token_is_sent_over_tls(auth: ClientCredentials, tmp_path: Path, called: Call) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.server()
    with grpc_server(grpc.ssl_server_credentials([(key, certificate)])) as target:
        assert called(target, auth, grpc.ssl_channel_credentials(authority.pem)) == ["Bearer token-1"]


def test_rpcs_do_not_wait_beyond_their_deadline(tmp_path: Path, target: str) -> None:
    with slow_issuer() as issuer:
        Mount(tmp_path / "oauth", issuer=issuer.url, token_endpoint=f"{issuer.url}/token")
        auth = ClientCredentials(tmp_path / "oauth")
        credentials = grpc.composite_channel_credentials(LOOPBACK, call_credentials(auth))
        with issuer.busy_with(auth.token_sync), grpc.secure_channel(target, credentials) as channel:
            method: Any = channel.unary_unary(METHOD)
            with pytest.raises(grpc.RpcError) as caught:
                method(b"", timeout=0.2)
            assert _outcome(caught.value)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
            issuer.released.set()
            assert method(b"", timeout=LIMIT) == b"Bearer token-1"


@pytest.mark.parametrize(
    ("options", "argument"), [({"dpop": True}, "dpop="), ({"http": httpx.AsyncClient()}, "http=")], ids=["dpop", "http"]
)
def test_options_that_grpc_cannot_use_are_refused(mount: Mount, options: Mapping[str, Any], argument: str) -> None:
    for make in (call_credentials, lambda auth: insecure_channel("127.0.0.1:1", auth)):
        with pytest.raises(ValueError, match=argument):
            make(ClientCredentials(mount.path, **options))


PLAINTEXT = [insecure_channel, aio_insecure_channel]


@pytest.mark.parametrize("connect", PLAINTEXT)
@pytest.mark.parametrize(
    "target",
    ["payroll.svc:50051", "dns:///payroll.svc:50051", "dns://1.1.1.1/payroll.svc:1", "ipv4:10.0.0.1:1", "xds:///payroll",
     "ipv4:127.0.0.1:1,10.0.0.1:1", "ipv6:[fd00::1]:1", "127.0.0.1@payroll.svc:1"],
)  # fmt: skip
async def test_channel_without_tls_to_another_host_is_refused(
    auth: ClientCredentials, target: str, connect: Callable[[str, ClientCredentials], Any]
) -> None:
    with pytest.raises(TokenError, match=r"allow_http=|TLS"):
        connect(target, auth)


@pytest.mark.parametrize("target", ["payroll.svc:50051", "dns:///payroll.svc:50051", "localhost:1", "unix:/tmp/no"])
def test_channel_without_tls_to_an_allowed_host_is_made(mount: Mount, target: str) -> None:
    insecure_channel(target, ClientCredentials(mount.path, allow_http=("payroll.svc",))).close()


@pytest.mark.parametrize("called", [plaintext_sync, plaintext_aio])
def test_token_error_of_a_channel_without_tls_is_an_rpc_error_too(
    auth: ClientCredentials, target: str, endpoint: Endpoint, clock: FakeClock, called: Call
) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"})]
    assert single_error(called(target, auth, None))[0] is grpc.StatusCode.UNAUTHENTICATED
    clock.instant += 10
    endpoint.answers = [busy("3600")] * 9
    assert single_error(called(target, auth, None))[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("called", [plaintext_sync, plaintext_aio])
def test_rpc_after_an_unauthenticated_one_has_a_new_token(auth: ClientCredentials, called: Call) -> None:
    with grpc_server(good="Bearer token-2") as target:
        assert single_error(called(target, auth, None))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert called(target, auth, None) == ["Bearer token-2"]


def test_all_kinds_of_rpc_have_the_token(auth: ClientCredentials, target: str) -> None:
    with insecure_channel(target, auth) as channel:
        unary: Any = channel.unary_unary(METHOD)
        assert unary.future(b"", metadata=(("n", "1"),), timeout=LIMIT).result() == b"Bearer token-1"
        for kind in (channel.unary_stream, channel.stream_stream):
            stream: Any = kind("/hr.Payroll/Stream")
            sent: Any = b"" if kind == channel.unary_stream else iter([b""])
            assert list(stream(sent, timeout=LIMIT)) == [b"Bearer token-1"]


async def test_all_kinds_of_aio_rpc_have_the_token(auth: ClientCredentials, target: str) -> None:
    async with aio_insecure_channel(target, auth) as channel:
        for kind in (channel.unary_stream, channel.stream_stream):
            stream: Any = kind("/hr.Payroll/Stream")
            sent: Any = b"" if kind == channel.unary_stream else iter([b""])
            assert [answer async for answer in stream(sent, timeout=LIMIT)] == [b"Bearer token-1"]
        unary: Any = channel.stream_unary("/hr.Payroll/Collect")
        assert await unary(iter([b""]), timeout=LIMIT) == b"Bearer token-1"


class _Outer(grpc.UnaryUnaryClientInterceptor):
    """An interceptor of the application, such as one for tracing."""

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        call = continuation(client_call_details, request)
        call.add_done_callback(lambda ended: self.codes.append(ended.code()))
        return call

    def __init__(self) -> None:
        self.codes: list[grpc.StatusCode] = []


def test_interceptor_of_the_application_sees_the_error_as_an_ended_call(
    auth: ClientCredentials, target: str, endpoint: Endpoint
) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"})]
    outer = _Outer()
    channel = grpc.intercept_channel(insecure_channel(target, auth), outer)
    code, details = single_error(calls_sync(channel, 1))
    assert (code, "invalid_scope" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)
    assert outer.codes == [grpc.StatusCode.UNAUTHENTICATED]


def test_error_of_aio_is_the_one_of_the_library_and_can_be_pickled(auth: ClientCredentials, endpoint: Endpoint) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"})]

    async def one() -> None:
        async with aio_insecure_channel("127.0.0.1:1", auth) as channel:
            method: Any = channel.unary_unary(METHOD)
            await method(b"", timeout=LIMIT)

    with pytest.raises(grpc.aio.AioRpcError, match=r"^invalid_scope: ") as caught:
        asyncio.run(one())
    copied = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copied, TokenError)
    assert isinstance(copied, grpc.aio.AioRpcError)
    assert (copied.error, str(copied)) == ("invalid_scope", str(caught.value))


def test_deadline_includes_the_wait_for_a_token(tmp_path: Path, target: str) -> None:
    with slow_issuer() as issuer:
        Mount(tmp_path / "oauth", issuer=issuer.url, token_endpoint=f"{issuer.url}/token")
        auth = ClientCredentials(tmp_path / "oauth")

        async def one() -> None:
            async with aio_insecure_channel(target, auth) as channel:
                method: Any = channel.unary_unary(METHOD)
                await method(b"", timeout=0.2)

        with issuer.busy_with(auth.token_sync), insecure_channel(target, auth) as channel:
            method: Any = channel.unary_unary(METHOD)
            for call in (lambda: method(b"", timeout=0.2), lambda: asyncio.run(one())):
                with pytest.raises(grpc.RpcError) as caught:
                    call()
                code, details = single_error([_outcome(caught.value)])
                assert (code, "timeout=" in details) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
            issuer.released.set()
            assert method(b"", timeout=LIMIT) == b"Bearer token-1"


@pytest.mark.parametrize("called", [plaintext_sync, plaintext_aio])
def test_proxy_of_the_environment_gets_no_plain_text(
    auth: ClientCredentials, target: str, called: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert called(target, auth, None) == ["Bearer token-1"]
