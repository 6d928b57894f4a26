"""The path of a request below the application's root, and its URL as the caller sees it.

`root_path` is the prefix before the application: a proxy has removed it (`uvicorn --root-path`), or a router matched
it (Starlette's `Mount`). Since 2024 the `path` of an ASGI scope begins with it; older servers omit it there.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

Scope = MutableMapping[str, Any]


def path_below_root(scope: Scope) -> str:
    """The decoded path. The whole path if it does not begin with `root_path`, as in Starlette's routing."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    below = path.removeprefix(root)
    return below if path.startswith(root) and (not below or below.startswith("/")) else path


def routed_path(scope: Scope) -> str | None:
    """The path that patterns are compared with; None if routers disagree about it.

    Not all routers look for `root_path` at the start alone: Litestar removes all up to its first occurrence.
    """
    below = path_below_root(scope)
    root = (scope.get("root_path") or "").rstrip("/")
    return None if root and below == scope["path"] and root in below else below


def url_of(base_url: str, scope: Scope) -> str:
    """The URL of the request without its query, as on the wire if the server provides `raw_path`.

    `base_url` is the application's root as the caller sees it, with all, a part or nothing of `root_path` at its end.
    """
    base = base_url.rstrip("/")
    root = quote((scope.get("root_path") or "").rstrip("/"))
    return base + _after_overlap(urlsplit(base).path, root) + _raw_path_below_root(scope)


def _after_overlap(path: str, root: str) -> str:
    """The part of `root` that is not at the end of `path` already."""
    segments = root.split("/")
    for count in range(len(segments), 1, -1):
        if path.endswith("/".join(segments[:count])):
            return "".join(f"/{segment}" for segment in segments[count:])
    return root


def _raw_path_below_root(scope: Scope) -> str:
    below = path_below_root(scope)
    raw_path = scope.get("raw_path")
    if raw_path is None:
        return quote(below)
    raw: str = raw_path.decode("latin-1").partition("?")[0]
    if below == scope["path"]:
        return raw
    # The root ends before the slash after as many slashes as it has, in any encoding.
    slashes = scope["root_path"].count("/")
    parts = raw.split("/", slashes + 1)
    rest = f"/{parts[-1]}" if len(parts) > slashes + 1 else ""
    return next((sent for sent in (rest, raw) if unquote(sent) == below), quote(below))
