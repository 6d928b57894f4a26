"""Call credentials for gRPC, with a real server on loopback, called by threads and by tasks."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from scopewright.client import ClientCredentials
from scopewright.client.grpc import call_credentials
from tests.controlplane.certificates import Authority
from tests.unit.client.support import Endpoint, FakeClock, Mount, busy
from tests.unit.forked import slow_issuer

Outcome = str | tuple[grpc.StatusCode, str]
Call = Callable[..., list[Outcome]]
LIMIT = 20
METHOD = "/hr.Payroll/GetSalary"
LOOPBACK = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)


class _Echo(grpc.GenericRpcHandler):
    """Returns the authorization metadata."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        metadata = {str(name): value for name, value in handler_call_details.invocation_metadata}
        sent = str(metadata.get("authorization", "none")).encode()
        return grpc.unary_unary_rpc_method_handler(lambda request, context: sent)


@contextmanager
def grpc_server(credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Without credentials: plaintext."""
    with ThreadPoolExecutor(40) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((_Echo(),))
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def _outcome(error: grpc.RpcError) -> Outcome:
    call: Any = error
    return call.code(), call.details()


def call_sync(target: str, credentials: grpc.ChannelCredentials, count: int = 1) -> list[Outcome]:
    def one(_: int) -> Outcome:
        try:
            answer: bytes = method(b"", timeout=LIMIT)
        except grpc.RpcError as error:
            return _outcome(error)
        return answer.decode()

    with grpc.secure_channel(target, credentials) as channel, ThreadPoolExecutor(count) as threads:
        method: Any = channel.unary_unary(METHOD)
        return list(threads.map(one, range(count)))


def call_async(target: str, credentials: grpc.ChannelCredentials, count: int = 1) -> list[Outcome]:
    async def one(method: Any) -> Outcome:
        try:
            answer: bytes = await method(b"", timeout=LIMIT)
        except grpc.aio.AioRpcError as error:
            return _outcome(error)
        return answer.decode()

    async def many() -> list[Outcome]:
        async with grpc.aio.secure_channel(target, credentials) as channel:
            method: Any = channel.unary_unary(METHOD)
            return await asyncio.gather(*(one(method) for _ in range(count)))

    return asyncio.run(many())


@pytest.fixture
def target() -> Iterator[str]:
    with grpc_server() as target:
        yield target


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "aio"])
def call(request: pytest.FixtureRequest, target: str) -> Call:
    def called(auth: ClientCredentials, count: int = 1) -> list[Outcome]:
        outcomes: list[Outcome] = request.param(
            target, grpc.composite_channel_credentials(LOOPBACK, call_credentials(auth)), count
        )
        return outcomes

    return called


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


def test_rpc_without_a_token_is_unavailable_with_a_description(
    auth: ClientCredentials, call: Call, endpoint: Endpoint
) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"}) for _ in range(9)]
    [(code, details)] = [outcome for outcome in call(auth) if isinstance(outcome, tuple)]
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "invalid_scope" in details


def test_missing_secret_is_described(tmp_path: Path, call: Call) -> None:
    [(code, details)] = [outcome for outcome in call(ClientCredentials(tmp_path / "no")) if isinstance(outcome, tuple)]
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "is not a directory" in details


def test_token_is_sent_to_the_given_hosts_only(mount: Mount, endpoint: Endpoint, call: Call) -> None:
    auth = ClientCredentials(mount.path, http=endpoint.client(), hosts=("payroll.payroll.svc",))
    [(code, details)] = [outcome for outcome in call(auth) if isinstance(outcome, tuple)]
    assert (code, "hosts=" in details) == (grpc.StatusCode.UNAVAILABLE, True)
    allowed = ClientCredentials(mount.path, http=endpoint.client(), hosts=("127.0.0.1",))
    assert call(allowed) == ["Bearer token-1"]


@pytest.mark.parametrize("called", [call_sync, call_async], ids=["sync", "aio"])
def test_token_is_sent_over_tls(auth: ClientCredentials, tmp_path: Path, called: Call) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.server()
    trusted = grpc.ssl_channel_credentials(authority.pem)
    with grpc_server(grpc.ssl_server_credentials([(key, certificate)])) as target:
        channel = grpc.composite_channel_credentials(trusted, call_credentials(auth))
        assert called(target, channel) == ["Bearer token-1"]


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
    with pytest.raises(ValueError, match=argument):
        call_credentials(ClientCredentials(mount.path, **options))
