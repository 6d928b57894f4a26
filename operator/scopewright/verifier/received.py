"""Reads a `ReceivedRequest` from an ASGI scope or a WSGI environ (PEP 3333)."""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from scopewright.verifier.paths import Scope, routed_path, url_of
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.rules import METHOD_OVERRIDES

Environ = MutableMapping[str, Any]

_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_OVERRIDES: Final = frozenset(name.replace("-", "_") for name in METHOD_OVERRIDES)
_OVERRIDE_KEYS: Final = tuple(f"HTTP_{name.upper()}" for name in _OVERRIDES)


def request_of_scope(scope: Scope, base_url: str | Callable[[Scope], str] | None) -> ReceivedRequest:
    raw_path = scope.get("raw_path")
    return ReceivedRequest(
        method=scope.get("method", "GET"),  # a websocket's handshake has none
        path=routed_path(scope),
        raw_path=raw_path.decode("latin-1").partition("?")[0] if raw_path is not None else None,
        query=scope.get("query_string", b"").decode("latin-1"),
        authorization=_values(scope, b"authorization"),
        dpop=_values(scope, b"dpop") if base_url is not None else (),
        url=lambda: url_of(base_url(scope) if callable(base_url) else str(base_url), scope),
        root=scope.get("root_path") or "",
        overrides_method=overrides_method(name.decode("latin-1") for name, _ in scope["headers"]),
    )


def request_of_environ(environ: Environ, base_url: str | Callable[[Environ], str] | None) -> ReceivedRequest:
    """A server joins the values of a repeated header by commas, or passes only one of them."""
    bound = (lambda: base_url(environ)) if callable(base_url) else base_url
    root, path = (_decoded(environ.get(name, "")) for name in ("SCRIPT_NAME", "PATH_INFO"))
    return request_of_meta(environ, root, path, target_path(environ), bound)


def request_of_meta(
    meta: Mapping[str, Any], root: str, path: str, raw_path: str | None, base_url: str | Callable[[], str] | None
) -> ReceivedRequest:
    """`meta` has the method, the query and the headers of a WSGI environ. `root` and `path` are decoded."""
    sent = None if raw_path is None else _without_origin(raw_path).encode("latin-1", "replace")
    scope = {"root_path": root, "path": root + path, "raw_path": sent}
    return ReceivedRequest(
        method=meta["REQUEST_METHOD"],
        path=path,
        raw_path=raw_path,
        query=meta.get("QUERY_STRING", ""),
        authorization=[meta["HTTP_AUTHORIZATION"]] if "HTTP_AUTHORIZATION" in meta else [],
        dpop=[meta["HTTP_DPOP"]] if base_url is not None and "HTTP_DPOP" in meta else (),
        url=lambda: url_of(base_url() if callable(base_url) else str(base_url), scope),
        root=root,
        overrides_method=any(key in meta for key in _OVERRIDE_KEYS),
    )


def target_path(environ: Mapping[str, Any]) -> str | None:
    """The request target up to its query. Servers other than that of the standard library pass it, under one of two
    names.
    """
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    return sent.partition("?")[0] if isinstance(sent, str) else None


def overrides_method(headers: Iterable[str]) -> bool:
    """Whether one of the names is of a header that overrides the method. Some servers replace `_` by `-`."""
    return any(name.lower().replace("-", "_") in _OVERRIDES for name in headers)


def _without_origin(target: str) -> str:
    origin = _ORIGIN.match(target)
    return target[origin.end() if origin else 0 :]


def _decoded(path: str) -> str:
    """PEP 3333 passes the bytes of a path as Latin-1."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == header]
