"""The token of a browser's websocket, which cannot set headers: a value of Sec-WebSocket-Protocol (RFC 6455 §4.1)."""

from collections.abc import Iterable
from typing import Final

from scopewright.verifier.paths import Scope
from scopewright.verifier.refusals import Reason, TokenRejected

TOKEN_PREFIX: Final = "bearer.scopewright."  # noqa: S105  # the prefix of a subprotocol
_HEADER: Final = b"sec-websocket-protocol"


def offered_token(offered: Iterable[str]) -> str | None:
    """The token among the subprotocols that a websocket offers: `bearer.scopewright.<token>`.

    Raises `TokenRejected` for two tokens, and for a token without another subprotocol: the server must select one of
    those that are offered, and the response must not contain the token.
    """
    names = list(offered)
    tokens = [name.removeprefix(TOKEN_PREFIX) for name in names if name.startswith(TOKEN_PREFIX)]
    if not tokens:
        return None
    if len(tokens) > 1:
        raise TokenRejected(Reason.TWO_WAYS)
    if len(names) == 1:
        raise TokenRejected(Reason.SUBPROTOCOL)
    return tokens[0]


def without_token(offered: Iterable[str]) -> list[str]:
    """The subprotocols for the application to select from."""
    return [name for name in offered if not name.startswith(TOKEN_PREFIX)]


def with_token_in_header(scope: Scope) -> Scope:
    """The ASGI scope of a websocket, with its token in the header Authorization and not among the subprotocols.

    Raises `TokenRejected` for subprotocols that are ambiguous.
    """
    offered: list[str] = list(scope.get("subprotocols", ())) if scope["type"] == "websocket" else []
    token = offered_token(offered)
    if token is None:
        return scope
    kept = without_token(offered)
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != _HEADER]
    headers += [(_HEADER, ", ".join(kept).encode("latin-1")), (b"authorization", f"Bearer {token}".encode("latin-1"))]
    return {**scope, "subprotocols": kept, "headers": headers}
