"""A WSGI service, as `mypy --strict` sees it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_type
from wsgiref.simple_server import make_server

from flask import Flask

from scopewright.verifier import AnyIssuer, Token, Verifier
from scopewright.verifier.wsgi import current_token, protect, require

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

verifier = AnyIssuer(Verifier("https://issuer.example", "https://payroll.example"))


def salaries(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    token = assert_type(require(environ, "payroll.read", any_of=("a", "b"), roles=["auditor"]), Token)
    assert_type(current_token(environ), Token | None)
    start_response("200 OK", [])
    return [token.client_id.encode()]


app = protect(salaries, verifier, ["payroll.read"], public=("/healthz",), base_url=lambda environ: "https://x.example")
of_flask = protect(Flask(__name__).wsgi_app, verifier)


def main() -> None:
    make_server("127.0.0.1", 8000, app).serve_forever()
