"""Redirect URIs of clients: which one an authorization request may name (RFC 6749 §3.1.2.3, RFC 8252 §7)."""

import re
from collections.abc import Iterable
from typing import Final

_LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::(?P<port>[1-9][0-9]{0,4}))?(?=/|\?|$)")
_LOOPBACK_HOST: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?(?=/|\?|$)")
_HTTP: Final = re.compile(r"https?://")
_MAX_PORT: Final = 65535


def is_registered(requested: str, registered: Iterable[str], *, public: bool) -> bool:
    """Whether the requested URI is one of the registered ones, character by character.

    `public`: the client has no credential. Then a registered URI of the addresses 127.0.0.1 or [::1] stands for every
    port of that address, because an application on a desktop listens on a free one (RFC 8252 §7.3).
    """
    return any(requested == uri or (public and _equal_but_port(requested, uri)) for uri in registered)


def is_native(uri: str) -> bool:
    """Whether any program of the user's machine may receive it: loopback, or a private-use scheme (RFC 8252 §8.6)."""
    return _LOOPBACK_HOST.match(uri) is not None or _HTTP.match(uri) is None


def _equal_but_port(requested: str, registered: str) -> bool:
    mine, theirs = _LOOPBACK.match(requested), _LOOPBACK.match(registered)
    if mine is None or theirs is None or int(mine["port"] or 80) > _MAX_PORT:
        return False
    return mine[1] == theirs[1] and requested[mine.end() :] == registered[theirs.end() :]
