"""Behind real servers, which read the bytes of a request in their own way, a view sees only what a rule allows."""

import contextlib
from typing import Any, Final

import pytest

from scopewright.verifier.canonical_path import canonical_segments
from tests.rules.middleware import MIDDLEWARE
from tests.rules.vectors import RULES, VECTORS, Scopes
from tests.unit.verifier.integrations.aiohttp_server import SocketService
from tests.unit.verifier.integrations.service import Headers, bearer, new_verifier
from tests.unit.verifier.integrations.test_servers import asgi_server, wsgi_server
from tests.unit.verifier.support import token

SERVERS: Final = (
    ("ASGI", "uvicorn with h11"),
    ("FastAPI", "uvicorn with h11"),
    ("ASGI", "uvicorn with httptools"),
    ("Django over ASGI", "uvicorn with httptools"),
    ("WSGI", "wsgiref"),
    ("Flask", "werkzeug"),
    ("Django over WSGI", "wsgiref"),
)


@pytest.mark.parametrize("name", ["payroll", "open"])
@pytest.mark.parametrize("server", SERVERS, ids=lambda each: f"{each[0]} on {each[1]}")
def test_view_sees_only_what_a_rule_allows(server: tuple[str, str], name: str) -> None:
    """Whatever a server makes of the target: the rule for the path that the view sees allows the request."""
    rules = RULES[name]
    start = asgi_server if server[1].startswith("uvicorn") else wsgi_server
    tokens: dict[str, Headers] = {scope: bearer(token(scope=scope)) for scope in Scopes(rules).all}
    seen = 0
    with MIDDLEWARE[server[0]](new_verifier(), rules, "") as built:
        app: Any = built
        with start(app.app, server[1]) as port:
            service = SocketService(port, built.record)
            for vector in VECTORS:
                if vector.rules != name:
                    continue
                # The scope of another rule where none should decide, so that a wrong decision would let it pass.
                for scope in (None, vector.decision if vector.decision in tokens else "read"):
                    service.record.seen.clear()
                    # A server closes the connection of some requests, or answers without a status, as in HTTP/0.9.
                    with contextlib.suppress(IndexError, ValueError, ConnectionError):
                        service.send(vector.target, tokens.get(scope or "", []), vector.method)
                    for path in service.record.seen:
                        rule = rules.find(vector.method, canonical_segments(path))
                        assert rule is not None, (vector, path)
                        assert not rule.scopes or rule.scopes == (scope,), (vector, path)
                    seen += len(service.record.seen)
    assert seen > 70
