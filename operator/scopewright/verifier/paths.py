"""The path of a request below the application's root, and its URL as the caller sees it.

`root_path` is what stands before the application: a proxy has removed it (`uvicorn --root-path`), or a router matched
it (Starlette's `Mount`). Since 2024 the `path` of an ASGI scope begins with it; older servers leave it out there.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

Scope = MutableMapping[str, Any]


def path_below_root(scope: Scope) -> str:
    """Decoded. The whole path where it does not begin with `root_path`, which is what Starlette routes by as well."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    below = path.removeprefix(root)
    return below if path.startswith(root) and (not below or below.startswith("/")) else path


def url_of(base_url: str, scope: Scope) -> str:
    """The URL of the request without its query, as bytes on the wire have it where the server tells.

    `base_url` is the application's root as the caller sees it, with all, a part or nothing of `root_path` at its end.
    """
    base = base_url.rstrip("/")
    root = quote((scope.get("root_path") or "").rstrip("/"))
    return base + _after_overlap(urlsplit(base).path, root) + _raw_path_below_root(scope)


def _after_overlap(path: str, root: str) -> str:
    """What of `root` does not stand at the end of `path` already."""
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
    # As many slashes as the root has: what stands before the next one is the root, however it was encoded.
    slashes = scope["root_path"].count("/")
    parts = raw.split("/", slashes + 1)
    rest = f"/{parts[-1]}" if len(parts) > slashes + 1 else ""
    return rest if unquote(rest) == below else quote(below)
