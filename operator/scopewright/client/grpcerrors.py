"""The errors of an RPC for which there is no token, as gRPC's own errors: for `grpc`, and for `grpc.aio`."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import grpc
import grpc.aio

from scopewright.client.errors import TokenError


class RpcDeadlineError(TokenError):
    """The deadline of the RPC has passed before there was a token."""

    def __init__(self) -> None:
        text = "no token within the timeout= of the RPC; pass a longer one, or try again"
        super().__init__("temporarily_unavailable", text, retry_after=1.0)


class RpcTokenError(grpc.RpcError):
    """The part of an RpcError that a `TokenError` has: DEADLINE_EXCEEDED, UNAVAILABLE if a retry may help, and
    UNAUTHENTICATED if not.

    It is also the call that an interceptor of the application gets from its continuation, as gRPC's own errors are.
    """

    error: str

    def code(self) -> grpc.StatusCode:
        if isinstance(self, RpcDeadlineError):
            return grpc.StatusCode.DEADLINE_EXCEEDED
        is_temporary = self.error == "temporarily_unavailable"
        return grpc.StatusCode.UNAVAILABLE if is_temporary else grpc.StatusCode.UNAUTHENTICATED

    def details(self) -> str:
        return str(self)

    debug_error_string = details

    def initial_metadata(self) -> Any:
        return ()

    trailing_metadata = initial_metadata

    def done(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    is_active = cancel = cancelled = running

    def time_remaining(self) -> None:
        return None

    def result(self, timeout: float | None = None) -> NoReturn:
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """False: the RPC has ended, and `callback` is not called."""
        return False


class AioRpcTokenError(RpcTokenError, grpc.aio.AioRpcError):
    """`RpcTokenError` of `grpc.aio`."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)

    def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    trailing_metadata = initial_metadata

    __str__ = Exception.__str__
    __repr__ = Exception.__repr__
