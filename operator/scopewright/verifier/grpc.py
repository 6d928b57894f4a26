"""gRPC server interceptors: verify the token in the metadata of each call, or refuse the call with a status."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from scopewright.verifier.bearer import has_token
from scopewright.verifier.grpchandlers import (
    RpcCall,
    RpcRefused,
    RpcStatus,
    current_call,
    is_async,
    protected,
    protected_sync,
    refusing,
    refusing_sync,
)
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.protection import Protection
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.rpcmethods import MethodRules, Needs
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier, require_verifier

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

_STATUS_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_NO_PROOF: Final = (
    "The access token is bound to a key (cnf), and a gRPC call has no DPoP proof; ask for a token without DPoP"
)
_NOT_LISTED: Final = "The method is not in scopes= or public= of the server's TokenInterceptor"


def require(*scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None) -> Token:
    """The token of this call, if it has all of `scopes`, one of `any_of` and one of `roles`.

    Raises `TokenRejected`. Do not catch it: the interceptor ends the call with PERMISSION_DENIED, or UNAUTHENTICATED if
    there is no token.
    """
    call = current_call()
    try:
        return Requirement.of(scopes, any_of, roles).check(call.token)
    except TokenRejected as refusal:
        call.refusal = refusal
        raise


def current_token() -> Token | None:
    """The token of the call that this thread or task handles; None in a public method, and in an optional method if
    none was sent.
    """
    return current_call().token


class _MethodProtection:
    """The options of both interceptors; `TokenInterceptor` describes them."""

    def __init__(
        self,
        verifier: TokenVerifier,
        scopes: Mapping[str, Needs],
        public: Iterable[str],
        optional: Iterable[str],
        realm: str | None,
    ) -> None:
        require_verifier(verifier)
        if verifier.may_require_dpop:
            raise ValueError("a gRPC call has no DPoP proof: pass a Verifier without dpop_required=True")
        self._rules = MethodRules(scopes, public, optional)
        self._protection = Protection(verifier, realm=realm)

    def require_listed(self, details: grpc.HandlerCallDetails) -> None:
        """Raises `RpcRefused`."""
        if self._rules.of(details.method) is None:
            self._protection.log_denied("POST", details.method, _NOT_LISTED)
            raise RpcRefused(RpcStatus(grpc.StatusCode.PERMISSION_DENIED, _NOT_LISTED))

    def call_sync(self, details: grpc.HandlerCallDetails) -> RpcCall:
        """Raises `RpcRefused`."""
        request = self._received(details)
        try:
            return self._call(details, None if request is None else self._protection.token_sync(request))
        except (TokenRejected, KeysUnavailable) as refusal:
            raise RpcRefused(self._status(refusal)) from None

    async def call(self, details: grpc.HandlerCallDetails) -> RpcCall:
        """`call_sync` for tasks."""
        request = self._received(details)
        try:
            return self._call(details, None if request is None else await self._protection.token(request))
        except (TokenRejected, KeysUnavailable) as refusal:
            raise RpcRefused(self._status(refusal)) from None

    def _received(self, details: grpc.HandlerCallDetails) -> ReceivedRequest | None:
        """None if no token is to be verified."""
        metadata = details.invocation_metadata or ()
        sent = [_text(value) for name, value in metadata if name.lower() == "authorization"]
        rule = self._rules.of(details.method)
        if rule is PathAuthentication.NONE or (rule is PathAuthentication.OPTIONAL and not has_token(sent)):
            return None
        return ReceivedRequest(method="POST", path=details.method, url=lambda: details.method, authorization=sent)

    def _call(self, details: grpc.HandlerCallDetails, token: Token | None) -> RpcCall:
        rule = self._rules.of(details.method)
        if isinstance(rule, Requirement):
            token = self._protection.check(rule, token, "POST", details.method)
        return RpcCall(token, lambda refusal: self._logged_status(refusal, details.method))

    def _logged_status(self, refusal: TokenRejected, method: str) -> RpcStatus:
        """For a refusal by `require` in a handler."""
        self._protection.log(refusal, "POST", method)
        return self._status(refusal)

    def _status(self, refusal: TokenRejected | KeysUnavailable) -> RpcStatus:
        code = _STATUS_CODES[refusal.status]
        if isinstance(refusal, KeysUnavailable):
            pushback = ("grpc-retry-pushback-ms", str(refusal.retry_after * 1000))  # gRFC A6
            return RpcStatus(code, refusal.description, (pushback,))
        if refusal.reason is Reason.SENDER_CONSTRAINED:
            refusal.description = _NO_PROOF
        challenges = tuple(("www-authenticate", value) for value in self._protection.challenges(refusal))
        return RpcStatus(code, refusal.description, challenges)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class _Interceptor:
    """The arguments of both interceptors."""

    def __init__(
        self,
        verifier: TokenVerifier,
        scopes: Mapping[str, Needs],
        *,
        public: Iterable[str] = (),
        optional: Iterable[str] = (),
        realm: str | None = None,
    ) -> None:
        self._protection = _MethodProtection(verifier, scopes, public, optional, realm)


class TokenInterceptor(_Interceptor, grpc.ServerInterceptor):
    """For `grpc.server(pool, interceptors=[TokenInterceptor(...)])`, before those that need the token.

    `scopes` maps full methods, such as `/hr.Payroll/GetSalary`, to the scopes that a call needs, or to a `Requirement`.
    No scopes means any valid token. `/hr.Payroll/*` stands for all methods of a service; a full method takes
    precedence. A method that is not listed is PERMISSION_DENIED. In `public` methods a token is ignored. In `optional`
    ones a call without a token is passed on, and a token that is sent must be valid.

    A refusal is UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT (two tokens) or UNAVAILABLE (the issuer's keys
    cannot be fetched), with the reason as details, and the challenge of RFC 6750 §3 as `www-authenticate` in the
    trailing metadata. Tokens that are bound to a key (DPoP) are refused: a call has no proof.
    """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[_Request, _Response] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[_Request, _Response] | None":
        try:
            self._protection.require_listed(handler_call_details)
        except RpcRefused as refused:
            return refusing_sync(refused.status)
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        # This is the thread that accepts calls. The token is verified in the one that runs the handler: it may wait.
        return protected_sync(handler, lambda: self._protection.call_sync(handler_call_details))


class AioTokenInterceptor(_Interceptor, grpc.aio.ServerInterceptor):
    """`TokenInterceptor` for `grpc.aio.server(interceptors=[AioTokenInterceptor(...)])`."""

    def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[_Request, _Response] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Coroutine[Any, Any, "grpc.RpcMethodHandler[_Request, _Response] | None"]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a coroutine as handler would end the thread that accepts calls
            raise RuntimeError("AioTokenInterceptor is for grpc.aio.server: pass TokenInterceptor here") from None
        return self._handler(continuation, handler_call_details)

    async def _handler(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[_Request, _Response] | None"]
        ],
        details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[_Request, _Response] | None":
        try:
            self._protection.require_listed(details)
            call = await self._protection.call(details)
        except RpcRefused as refused:
            return refusing(refused.status)
        handler = await continuation(details)
        if handler is None:
            return None
        return protected(handler, call) if is_async(handler) else protected_sync(handler, lambda: call)
