"""The API on Flask. It trusts the gateway: it checks nothing itself.

It takes the method from X-HTTP-Method-Override, by the recipe for method overrides in the documentation of Flask.
"""

from collections.abc import Iterable
from typing import Any

from flask import Flask, request

from tests.gateway.services.recording import record, wsgi_headers
from tests.gateway.services.routes import METHODS, ROUTES, UNROUTED

app = Flask(__name__)


class MethodOverride:
    """Some frameworks do the same for X-HTTP-Method and X-Method-Override."""

    _NAMES = ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE")

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for name in self._NAMES:
            method = environ.get(name, "").upper()
            if method in METHODS:
                environ["REQUEST_METHOD"] = method
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


app.wsgi_app = MethodOverride(app.wsgi_app)  # type: ignore[method-assign]


@app.before_request
def _record() -> None:
    route = request.url_rule.endpoint.partition(" ")[0] if request.url_rule else UNROUTED
    record(request.method, request.path, route, wsgi_headers(request.environ))


def _answer(**_: str) -> str:
    request.get_data()
    return "done"


for _path, _name in ROUTES:
    _pattern = _path.replace("<rest>", "<path:rest>")
    # An endpoint of Flask has one name; two routes may have the same here.
    app.add_url_rule(_pattern, f"{_name} {_path}", _answer, methods=METHODS)
