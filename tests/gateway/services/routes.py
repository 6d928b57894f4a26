"""The routes of the API, which all four services have, and what each needs. Not derived from the rules."""

from collections.abc import Collection, Mapping
from typing import Final

ROUTES: Final = (
    ("/healthz", "health"),
    ("/assets/<rest>", "asset"),
    ("/greeting", "greeting"),
    ("/salaries", "salaries"),
    ("/salaries/export", "export"),
    ("/salaries/<id>", "salary"),
    ("/salaries/<id>/history", "history"),
    ("/reports", "reports"),
    ("/admin", "admin"),
    ("/admin/<rest>", "admin"),
    ("/internal/<rest>", "internal"),
)
"""Path and name. `<id>` is one segment, `<rest>` any number of them. A literal stands before a wildcard."""

UNROUTED: Final = "unrouted"
"""Recorded for a request for which the framework found no route."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

ANYONE: Final = frozenset({""})
READERS: Final = frozenset({"payroll.read"})
WRITERS: Final = frozenset({"payroll.write"})
ADMINISTRATORS: Final = frozenset({"payroll.admin"})

_BY_ROUTE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("health", "GET"): ANYONE,
    ("asset", "GET"): ANYONE,
    ("greeting", "GET"): ANYONE,
    ("salaries", "GET"): READERS,
    ("salaries", "OPTIONS"): ANYONE,
    ("salary", "GET"): READERS,
    ("salary", "PUT"): WRITERS,
    ("salary", "OPTIONS"): ANYONE,
    ("history", "GET"): READERS,
    ("history", "OPTIONS"): ANYONE,
    ("export", "GET"): ADMINISTRATORS,
    ("reports", "POST"): WRITERS | ADMINISTRATORS,
}


def may_reach(route: str, method: str, scopes: Collection[str]) -> bool:
    """Whether a caller with these scopes may reach a route, by what the routes are meant for. `internal`: no caller."""
    needed = ADMINISTRATORS if route == "admin" else _BY_ROUTE.get((route, "GET" if method == "HEAD" else method))
    return needed is not None and (needed == ANYONE or bool(needed & set(scopes)))
