"""Handlers of gRPC methods, run with their call as the current one; a refusal ends the call with its status."""

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import grpc
import grpc.aio

from scopewright.verifier.refusals import TokenRejected
from scopewright.verifier.token import Token

Handler = TypeVar("Handler", bound="grpc.RpcMethodHandler[Any, Any]")
AioContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CALL: ContextVar["RpcCall"] = ContextVar("scopewright.call")
_END: Final = object()


class RpcStatus(NamedTuple):
    """The arguments of `ServicerContext.abort`."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...] = ()


class RpcRefused(Exception):
    """Ends the call with `status`."""

    def __init__(self, status: RpcStatus) -> None:
        self.status = status
        super().__init__(status.details)


class RpcCall:
    """A call whose token, if it has one, is verified. `refusal` is the last one that `require` has raised."""

    def __init__(self, token: Token | None, status_of: Callable[[TokenRejected], RpcStatus]) -> None:
        self.token = token
        self.refusal: TokenRejected | None = None
        self._status_of = status_of

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Raises `RpcRefused` in place of a refusal by `require`.

        It surrounds each step of a stream: a generator runs in the context of the code that calls it.
        """
        before = _CALL.set(self)
        try:
            yield
        except TokenRejected as refusal:
            if refusal is not self.refusal:
                raise
            raise RpcRefused(self._status_of(refusal)) from None
        finally:
            _CALL.reset(before)


def current_call() -> RpcCall:
    call = _CALL.get(None)
    if call is None:
        raise RuntimeError(
            "no call is handled here: pass interceptors=[TokenInterceptor(...)] to the server, and copy the context "
            "(contextvars.copy_context) to threads that a handler starts"
        )
    return call


def is_async(handler: Handler) -> bool:
    """Whether an aio server runs the handler on its event loop. It runs others in a thread."""
    behavior = _behavior_of(handler)
    return inspect.iscoroutinefunction(behavior) or inspect.isasyncgenfunction(behavior)


def protected_sync(handler: Handler, begin: Callable[[], RpcCall]) -> Handler:
    """`handler`, after `begin` in the same thread. `begin` may raise `RpcRefused`."""
    behavior = _behavior_of(handler)

    def respond(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            with begin().current():
                return behavior(request, context)
        except RpcRefused as refused:
            context.set_trailing_metadata(refused.status.trailing_metadata)
            return context.abort(refused.status.code, refused.status.details)

    def respond_in_stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from _responses(begin(), lambda: behavior(request, context))
        except RpcRefused as refused:
            # An aio server may still be sending the response before, and then cannot abort.
            context.set_trailing_metadata(refused.status.trailing_metadata)
            context.set_code(refused.status.code)
            context.set_details(refused.status.details)

    return _with_behavior(handler, respond_in_stream if handler.response_streaming else respond)


def _responses(call: RpcCall, respond: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    with call.current():
        responses = iter(respond())
    try:
        while True:
            with call.current():
                response = next(responses, _END)
            if response is _END:
                return
            yield response
    finally:  # also if the caller cancels
        if isinstance(responses, Generator):
            with call.current():
                responses.close()


def protected(handler: Handler, call: RpcCall) -> Handler:
    """`handler`, a coroutine function or an asynchronous generator function, with `call` as the current one."""
    behavior = _behavior_of(handler)

    async def respond(request: Any, context: AioContext) -> Any:
        try:
            with call.current():
                return await behavior(request, context)
        except RpcRefused as refused:
            await context.abort(*refused.status)

    async def respond_in_stream(request: Any, context: AioContext) -> AsyncIterator[Any]:
        responses = behavior(request, context)
        try:
            while True:
                with call.current():
                    response = await anext(responses, _END)
                if response is _END:
                    return
                yield response
        except RpcRefused as refused:
            await context.abort(*refused.status)
        finally:
            with call.current():
                await responses.aclose()

    return _with_behavior(handler, respond_in_stream if inspect.isasyncgenfunction(behavior) else respond)


def refusing_sync(status: RpcStatus) -> "grpc.RpcMethodHandler[Any, Any]":
    """A handler that refuses a call of any kind before a message is read."""

    def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata(status.trailing_metadata)
        return context.abort(status.code, status.details)

    return grpc.stream_stream_rpc_method_handler(refuse)


def refusing(status: RpcStatus) -> "grpc.RpcMethodHandler[Any, Any]":
    """`refusing_sync` for aio servers."""

    async def refuse(_: Any, context: AioContext) -> None:
        await context.abort(*status)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _kind_of(handler: Handler) -> str:
    """`unary_unary`, `unary_stream`, `stream_unary` or `stream_stream`."""
    kinds = ("unary", "stream")
    return f"{kinds[handler.request_streaming]}_{kinds[handler.response_streaming]}"


def _behavior_of(handler: Handler) -> Callable[..., Any]:
    """The function of the service."""
    behavior: Callable[..., Any] = getattr(handler, _kind_of(handler))
    return behavior


def _with_behavior(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    make = getattr(grpc, f"{_kind_of(handler)}_rpc_method_handler")
    changed: Handler = make(behavior, handler.request_deserializer, handler.response_serializer)
    return changed
