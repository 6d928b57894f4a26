"""gRPC servers on loopback, synchronous and aio, with handlers of all five kinds; messages are bytes.

Each handler responds with the client of `current_token()`. What it requires is its request: `payroll.write`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio

from scopewright.verifier import Verifier
from scopewright.verifier.grpc import AioTokenInterceptor, TokenInterceptor, current_token, require
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, FakeIssuer

SERVICE: Final = "hr.Payroll"
KINDS: Final = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
METHODS: Final = tuple(f"/{SERVICE}/{kind}" for kind in KINDS)
SERVERS: Final = ("sync", "aio", "aio with writers", "aio with sync handlers")


class Answer(NamedTuple):
    """The end of a call. `metadata` is the trailing metadata."""

    code: grpc.StatusCode
    details: str
    metadata: dict[str, str]
    messages: list[str]


def caller(request: bytes = b"") -> bytes:
    token = require(*request.decode().split()) if request else current_token()
    return b"nobody" if token is None else token.client_id.encode()


class SyncPayroll:
    def unary_unary(self, request: bytes, context: Any) -> bytes:
        return caller(request)

    def unary_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield caller()
        yield caller(request)

    def stream_unary(self, requests: Iterable[bytes], context: Any) -> bytes:
        return b" ".join([caller(request) for request in requests])

    def stream_stream(self, requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield caller(request)


class AioPayroll:
    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return caller(request)

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield caller()
        await asyncio.sleep(0)
        yield caller(request)

    async def stream_unary(self, requests: Any, context: Any) -> bytes:
        return b" ".join([caller(request) async for request in requests])

    async def stream_stream(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield caller(request)


class WritingPayroll(AioPayroll):
    async def unary_stream(self, request: bytes, context: Any) -> None:  # type: ignore[override]
        await context.write(caller())
        await asyncio.sleep(0)
        await context.write(caller(request))

    async def stream_stream(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        async for request in requests:
            await context.write(caller(request))


def handlers_of(payroll: Any) -> grpc.GenericRpcHandler:
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(payroll.unary_unary),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(payroll.unary_stream),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(payroll.stream_unary),
        "StreamStream": grpc.stream_stream_rpc_method_handler(payroll.stream_stream),
        "Unlisted": grpc.unary_unary_rpc_method_handler(payroll.unary_unary),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


@contextlib.asynccontextmanager
async def running(
    server: str,
    issuer: FakeIssuer,
    scopes: Mapping[str, Any] | None = None,
    *,
    payroll: Any = None,
    verifier_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[str]:
    """`serving`, with a verifier for the tokens of `issuer`."""
    http: Any = issuer.client() if server == "sync" else issuer.async_client()
    verifier = Verifier(ISSUER, AUDIENCE, http=http, clock=Clock(), **(verifier_options or {}))
    async with serving(server, verifier, scopes, payroll=payroll, **options) as address:
        yield address


@contextlib.asynccontextmanager
async def serving(
    server: str,
    verifier: Verifier,
    scopes: Mapping[str, Any] | None = None,
    *,
    payroll: Any = None,
    interceptors: Sequence[Any] = (),
    **options: Any,
) -> AsyncIterator[str]:
    """The address of a server whose methods need payroll.read, unless `scopes` is given. `interceptors` are those
    before that of the verifier.
    """
    needed = {method: ["payroll.read"] for method in METHODS} if scopes is None else scopes
    payrolls: dict[str, Callable[[], Any]] = {"aio": AioPayroll, "aio with writers": WritingPayroll}
    handlers = handlers_of(payroll or payrolls.get(server, SyncPayroll)())
    with ThreadPoolExecutor(8) as pool:
        if server == "sync":
            threaded = grpc.server(pool, interceptors=[*interceptors, TokenInterceptor(verifier, needed, **options)])
            threaded.add_generic_rpc_handlers((handlers,))
            port = threaded.add_insecure_port("127.0.0.1:0")
            threaded.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                await asyncio.to_thread(threaded.stop(None).wait)
        else:
            aio = grpc.aio.server(pool, interceptors=[*interceptors, AioTokenInterceptor(verifier, needed, **options)])
            aio.add_generic_rpc_handlers((handlers,))
            port = aio.add_insecure_port("127.0.0.1:0")
            await aio.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                await aio.stop(None)


async def call(
    address: str, method: str, *values: str, needs: str = "", metadata: Sequence[tuple[str, str | bytes]] = ()
) -> Answer:
    """Calls a method with `values` as its values of `authorization`."""
    sent = [*(("authorization", value) for value in values), *metadata]
    return await asyncio.to_thread(_call, address, method, needs, sent)


def _call(address: str, method: str, needs: str, metadata: Any) -> Answer:
    kind = method.rpartition("/")[2]
    streams = kind.startswith("Stream")
    argument: Any = iter([needs.encode()]) if streams else needs.encode()
    messages: list[str] = []
    with grpc.insecure_channel(address) as channel:
        if kind.endswith("Stream"):
            make = channel.stream_stream if streams else channel.unary_stream
            responses: Any = make(method)(argument, metadata=metadata, timeout=30)
        else:
            one: Any = channel.stream_unary if streams else channel.unary_unary
            responses = one(method).future(argument, metadata=metadata, timeout=30)
        try:
            received = responses if kind.endswith("Stream") else [responses.result()]
            messages.extend(message.decode() for message in received)
        except grpc.RpcError:
            pass
        trailing = {name: str(value) for name, value in responses.trailing_metadata() or ()}
        return Answer(responses.code(), responses.details(), trailing, messages)
