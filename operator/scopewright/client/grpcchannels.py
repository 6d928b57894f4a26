"""gRPC channels without TLS that send a token: to loopback, and to hosts of `allow_http`, such as those of a mesh.

gRPC sends call credentials over TLS only. Here an interceptor sets the metadata, after the target was checked.
"""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from scopewright.client.auth import ClientCredentials
from scopewright.client.errors import invalid_request, raised_as
from scopewright.client.request_flow import url_of
from scopewright.client.token import AccessToken

Options = Sequence[tuple[str, Any]]
_TARGET: Final = re.compile(r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)?(?P<address>[\w.:\[\]-]+)")


class RpcTokenError(grpc.RpcError):
    """The part of an RpcError that a `TokenError` has: UNAVAILABLE if a retry may help, and UNAUTHENTICATED if not."""

    error: str

    def code(self) -> grpc.StatusCode:
        is_temporary = self.error == "temporarily_unavailable"
        return grpc.StatusCode.UNAVAILABLE if is_temporary else grpc.StatusCode.UNAUTHENTICATED

    def details(self) -> str:
        return str(self)


def insecure_channel(target: str, credentials: ClientCredentials, options: Options | None = None) -> grpc.Channel:
    """A `grpc.insecure_channel` that sends the token of `credentials`, to loopback and to hosts of `allow_http`.

    Raises `TokenError` for another target, and ValueError for credentials that gRPC cannot use. An RPC for which there
    is no token raises an error that is both `TokenError` and `grpc.RpcError`.
    """
    check_usable(credentials)
    _check_target(target, credentials)
    return grpc.intercept_channel(grpc.insecure_channel(target, options), _TokenInterceptor(credentials))


def aio_insecure_channel(
    target: str, credentials: ClientCredentials, options: Options | None = None
) -> grpc.aio.Channel:
    """`insecure_channel` of `grpc.aio`."""
    check_usable(credentials, in_event_loop=True)
    _check_target(target, credentials)
    kinds = (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)
    return grpc.aio.insecure_channel(target, options, interceptors=[kind(credentials) for kind in kinds])


def check_usable(credentials: ClientCredentials, *, in_event_loop: bool = False) -> None:
    """Raises ValueError."""
    if credentials.sender.is_bound:
        raise ValueError("gRPC has no DPoP proofs: make the ClientCredentials without dpop=")
    if not in_event_loop:
        credentials.sender.check_sync()


def _check_target(target: str, credentials: ClientCredentials) -> None:
    if target.startswith("unix:"):
        return
    match = _TARGET.fullmatch(target)
    if match is None:
        raise invalid_request(
            f"the target {target} is not one address: pass host:port, or use TLS and call_credentials"
        )
    parts = urlsplit(f"http://{match['address']}")
    credentials.sender.check(url_of(parts.scheme, parts.hostname or "", parts.port, ""))


class _CallDetails(grpc.ClientCallDetails):
    """`details` with the token."""

    def __init__(self, details: grpc.ClientCallDetails, token: AccessToken) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), ("authorization", f"Bearer {token.value}"))
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, credentials: ClientCredentials) -> None:
        self._credentials = credentials

    def _intercept(self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any) -> Any:
        with raised_as(RpcTokenError):
            token = self._credentials.token_sync()
        call = continuation(_CallDetails(client_call_details, token), request)
        call.add_done_callback(lambda ended: self._after(ended.code(), token))
        return call

    def _after(self, code: grpc.StatusCode, token: AccessToken) -> None:
        if code is grpc.StatusCode.UNAUTHENTICATED:
            self._credentials.invalidate(token)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


class _AioInterceptor:
    def __init__(self, credentials: ClientCredentials) -> None:
        self._credentials = credentials
        self._tasks: set[asyncio.Task[None]] = set()

    async def intercept(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        with raised_as(RpcTokenError):
            token = await self._credentials.token()
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add("authorization", f"Bearer {token.value}")
        call = await continuation(client_call_details._replace(metadata=metadata), request)
        call.add_done_callback(lambda ended: self._start(self._after(ended, token)))
        return call

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _after(self, ended: grpc.aio.Call, token: AccessToken) -> None:
        if await ended.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._credentials.invalidate(token)


class _AioUnaryUnary(_AioInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _AioInterceptor.intercept


class _AioUnaryStream(_AioInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _AioInterceptor.intercept


class _AioStreamUnary(_AioInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _AioInterceptor.intercept


class _AioStreamStream(_AioInterceptor, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _AioInterceptor.intercept
