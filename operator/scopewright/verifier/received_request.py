"""A request as a framework received it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class ReceivedRequest(NamedTuple):
    """`path` is decoded, and begins below the application's root; None matches no pattern and no rule. `raw_path` is
    the request target as it was sent, up to its query, if the server provides it; it may be in absolute form (RFC 9112
    §3.2.2). `root` is decoded: the prefix that a server or a router has removed.

    `authorization` and `dpop` are all values of these headers. `url` returns the URL without its query as the caller
    sees it; it is called for DPoP alone. `overrides_method`: a header names another method than `method`.
    """

    method: str
    path: str | None
    url: Callable[[], str]
    raw_path: str | None = None
    query: str = ""
    authorization: Sequence[str] = ()
    dpop: Sequence[str] = ()
    root: str = ""
    overrides_method: bool = False
