"""gRPC channels without TLS that send a token: to loopback, and to hosts of `allow_http`, such as those of a mesh.

gRPC sends call credentials over TLS only. Here an interceptor sets the metadata, after the target was checked.
"""

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from scopewright.client.auth import ClientCredentials, sender_of
from scopewright.client.errors import invalid_request, raised_as
from scopewright.client.grpcerrors import AioRpcTokenError, RpcDeadlineError, RpcTokenError
from scopewright.client.request_flow import url_of
from scopewright.client.token import AccessToken
from scopewright.singleflight import MAX_WAIT_SECONDS

Options = Sequence[tuple[str, Any]]
_TARGET: Final = re.compile(r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)?(?P<address>[\w.:\[\]-]+)")
_NO_PROXY: Final = ("grpc.enable_http_proxy", 0)  # of the environment: it would send the token on in plain text


def insecure_channel(target: str, credentials: ClientCredentials, options: Options | None = None) -> grpc.Channel:
    """A `grpc.insecure_channel` that sends the token of `credentials`, to loopback and to hosts of `allow_http`.

    Raises `TokenError` for another target, and ValueError for credentials that gRPC cannot use. An RPC for which there
    is no token raises an error that is both `TokenError` and `grpc.RpcError`. The `timeout` of an RPC includes the wait
    for a token. `http_proxy` of the environment is not used, unless `options` have `grpc.enable_http_proxy`.
    """
    check_usable("insecure_channel", credentials)
    _check_target(target, credentials)
    return grpc.intercept_channel(
        grpc.insecure_channel(target, _without_proxy(options)), _TokenInterceptor(credentials)
    )


def aio_insecure_channel(
    target: str, credentials: ClientCredentials, options: Options | None = None
) -> grpc.aio.Channel:
    """`insecure_channel` of `grpc.aio`, whose errors are also `grpc.aio.AioRpcError`."""
    check_usable("aio_insecure_channel", credentials, in_event_loop=True)
    _check_target(target, credentials)
    kinds = (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)
    interceptors = [kind(credentials) for kind in kinds]
    return grpc.aio.insecure_channel(target, _without_proxy(options), interceptors=interceptors)


def check_usable(adapter: str, credentials: ClientCredentials, *, in_event_loop: bool = False) -> None:
    """Raises ValueError, and TypeError for anything else than credentials."""
    sender = sender_of(credentials, adapter)
    if sender.is_bound:
        raise ValueError("gRPC has no DPoP proofs: make the ClientCredentials without dpop=")
    if not in_event_loop:
        sender.check_sync()


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


def _without_proxy(options: Options | None) -> Options:
    given = options or ()
    return given if any(name == _NO_PROXY[0] for name, _ in given) else (*given, _NO_PROXY)


class _Deadline:
    """Of one RPC: the `timeout` in seconds that the application has passed, from now on. None: no limit."""

    def __init__(self, timeout: float | None) -> None:
        self._ends_at = None if timeout is None else time.monotonic() + timeout

    @property
    def remaining(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    @property
    def wait(self) -> float:
        """How long to wait for a token."""
        remaining = self.remaining
        return MAX_WAIT_SECONDS if remaining is None else min(remaining, MAX_WAIT_SECONDS)

    def check(self) -> None:
        """Raises `RpcDeadlineError`."""
        if self.remaining == 0:
            raise RpcDeadlineError


class _CallDetails(grpc.ClientCallDetails):
    """`details` with the token, and with the rest of the timeout."""

    def __init__(self, details: grpc.ClientCallDetails, token: AccessToken, timeout: float | None) -> None:
        self.method = details.method
        self.timeout = timeout
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
        deadline, tokens = _Deadline(client_call_details.timeout), self._credentials.sender.tokens
        with raised_as(RpcTokenError):
            flight = tokens.begin()
            in_time = flight is None or tokens.wait_sync(flight, deadline.wait)
            deadline.check()
            token = tokens.result(in_time=in_time)
        call = continuation(_CallDetails(client_call_details, token, deadline.remaining), request)
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
        deadline, tokens = _Deadline(client_call_details.timeout), self._credentials.sender.tokens
        with raised_as(AioRpcTokenError):
            flight = tokens.begin()
            in_time = flight is None or await tokens.wait(flight, deadline.wait)
            deadline.check()
            token = tokens.result(in_time=in_time)
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add("authorization", f"Bearer {token.value}")
        details = client_call_details._replace(metadata=metadata, timeout=deadline.remaining)
        call = await continuation(details, request)
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
