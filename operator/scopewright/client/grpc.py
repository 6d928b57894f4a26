"""The adapter for gRPC: `grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), call_credentials(…))`.

gRPC asks for the metadata of each RPC on a thread of its own: nothing here waits. It sends call credentials over TLS
only, or to loopback with `grpc.local_channel_credentials`; `insecure_channel` is for the rest.
"""

from urllib.parse import urlsplit

import grpc
import httpx

from scopewright.client.auth import ClientCredentials
from scopewright.client.errors import TokenError
from scopewright.client.grpcchannels import aio_insecure_channel, check_usable, insecure_channel
from scopewright.client.request_flow import TokenSender, url_of

__all__ = ["aio_insecure_channel", "call_credentials", "insecure_channel"]


def call_credentials(credentials: ClientCredentials) -> grpc.CallCredentials:
    """Call credentials that send the token of `credentials`, for channels of `grpc` and of `grpc.aio`.

    An RPC for which there is no token ends with UNAVAILABLE and the description of the `TokenError`. Raises ValueError
    for credentials with `dpop`, which has no proofs for gRPC, and for those with an `AsyncClient` as `http`.
    """
    check_usable("call_credentials", credentials)
    return grpc.metadata_call_credentials(_TokenPlugin(credentials.sender), "scopewright")


class _TokenPlugin(grpc.AuthMetadataPlugin):
    def __init__(self, sender: TokenSender) -> None:
        self._sender = sender

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        try:
            self._sender.check(_url(context))
            flight = self._sender.tokens.begin()
        except (TokenError, RuntimeError) as error:  # the latter in a forked child
            callback((), error)
            return
        if flight is None:
            self._answer(callback)
        else:
            flight.add_done_callback(lambda _: self._answer(callback))

    def _answer(self, callback: grpc.AuthMetadataPluginCallback) -> None:
        try:
            token = self._sender.tokens.result()
        except TokenError as error:
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token.value}"),), None)


def _url(context: grpc.AuthMetadataContext) -> httpx.URL:
    """The service that is called. The scheme of `grpc.local_channel_credentials` is empty."""
    parts = urlsplit(f"https://{context.service_url.partition('://')[2]}")
    return url_of(parts.scheme, parts.hostname or "", parts.port, parts.path)
