"""Load on a service by every adapter of the client: over HTTP, and over gRPC."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import jwt

from scopewright.client.grpc import aio_insecure_channel, call_credentials, insecure_channel
from scopewright.verifier import TokenRejected, Verifier
from scopewright.verifier.grpc import TokenInterceptor
from tests.unit.client.api_server import ApiServer, SentRequest
from tests.unit.client.callers import CALLERS, AsyncCaller, Body, Caller

METHOD: Final = "/hr.Payroll/GetSalary"
CONCURRENCY: Final = 8


class VerifyingApi(ApiServer):
    """Verifies the tokens of the issuer. `key_ids` are those of the accepted tokens, by path."""

    def __init__(self, url: str, verifier: Verifier) -> None:
        super().__init__(url)
        self._verifier = verifier
        self.key_ids: dict[str, set[str]] = {}

    def answer(self, request: SentRequest) -> tuple[int, dict[str, str]]:
        try:
            self._verifier.verify_sync(str(request.token))
        except TokenRejected:
            return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        key_id: str = jwt.get_unverified_header(str(request.token))["kid"]
        self.key_ids.setdefault(request.path, set()).add(key_id)
        return 200, {}


class GrpcCaller(Caller):
    """`url` is the target."""

    def connect(self, target: str) -> grpc.Channel:
        return insecure_channel(target, self.credentials)

    def send_many(self, count: int, url: str) -> list[int]:
        with self.connect(url) as channel, ThreadPoolExecutor(count) as threads:
            method: Any = channel.unary_unary(METHOD)
            return list(threads.map(lambda _: int(method(b"", timeout=10)), range(count)))


class GrpcCredentialsCaller(GrpcCaller):
    def connect(self, target: str) -> grpc.Channel:
        loopback = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        return grpc.secure_channel(
            target, grpc.composite_channel_credentials(loopback, call_credentials(self.credentials))
        )


class AioGrpcCaller(AsyncCaller):
    async def _within_client(self, call: Any) -> Any:
        return await call(None)

    async def _send(self, client: Any, method: str, url: str, body: Body, follow: bool) -> int:
        async with aio_insecure_channel(url, self.credentials) as channel:
            rpc: Any = channel.unary_unary(METHOD)
            return int(await rpc(b"", timeout=10))


GRPC_CALLERS: Final[list[type[Caller]]] = [GrpcCaller, GrpcCredentialsCaller, AioGrpcCaller]
ADAPTERS: Final = (*CALLERS, *GRPC_CALLERS)


class _Payroll(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"200")


@dataclass
class Load:
    statuses: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, caller: Caller, url: str, end: float) -> None:
        try:
            while time.monotonic() < end:
                self.statuses += caller.send_many(CONCURRENCY, url)
                time.sleep(0.05)
        except Exception as error:
            self.errors.append(repr(error))
        finally:
            caller.close()


def grpc_target(stack: ExitStack, verifier: Verifier) -> str:
    server = grpc.server(
        stack.enter_context(ThreadPoolExecutor(20)),
        interceptors=[TokenInterceptor(verifier, scopes={METHOD: ["payroll.read"]})],
    )
    server.add_generic_rpc_handlers((_Payroll(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stack.callback(lambda: server.stop(None).wait())
    return f"127.0.0.1:{port}"
