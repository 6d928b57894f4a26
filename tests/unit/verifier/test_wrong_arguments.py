"""Arguments of a wrong type are refused where they are passed, with a text that names the right one."""

import asyncio
from collections.abc import Callable
from typing import Any

import flask
import pytest

from scopewright.verifier import AnyIssuer, Reason, TokenRejected, Verifier, asgi, wsgi
from scopewright.verifier.aiohttp import token_middleware
from scopewright.verifier.fastapi import TokenAuth as FastApiAuth
from scopewright.verifier.flask import TokenAuth as FlaskAuth
from scopewright.verifier.grpc import AioTokenInterceptor, TokenInterceptor
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

Integrate = Callable[[Any], Any]
INTEGRATIONS: dict[str, Integrate] = {
    "asgi": lambda verifier: asgi.protect(lambda *_: None, verifier),  # type: ignore[arg-type]
    "wsgi": lambda verifier: wsgi.protect(lambda *_: [], verifier),
    "aiohttp": token_middleware,
    "fastapi": FastApiAuth,
    "flask": FlaskAuth,
    "grpc": lambda verifier: TokenInterceptor(verifier, {}),
    "grpc.aio": lambda verifier: AioTokenInterceptor(verifier, {}),
}


@pytest.mark.parametrize("integration", INTEGRATIONS)
@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        (flask.Flask(__name__), "a value of type Flask"),
        (ISSUER, "a value of type str"),
        (None, "a value of type NoneType"),
        (Verifier, "the class Verifier"),
    ],
)
def test_integration_takes_a_verifier_and_nothing_else(integration: str, argument: object, shown: str) -> None:
    with pytest.raises(TypeError, match=f"takes a Verifier, such as .*, and not {shown}$"):
        INTEGRATIONS[integration](argument)


def test_any_issuer_takes_verifiers_and_not_a_list() -> None:
    one: Any = [Verifier(ISSUER, AUDIENCE)]
    with pytest.raises(TypeError, match=r"as AnyIssuer\(first, second\), and not a value of type list$"):
        AnyIssuer(one)


@pytest.mark.parametrize("revocations", ["yes", 1, 5.0, RuntimeError])
def test_revocations_takes_a_bool_or_a_feed(revocations: Any) -> None:
    with pytest.raises(TypeError, match="revocations= takes True, False, or a RevocationFeed, not "):
        Verifier(ISSUER, AUDIENCE, revocations=revocations)


@pytest.mark.parametrize("http", ["https://proxy.example", 5, FakeIssuer, object()])
def test_http_takes_a_client_of_httpx(http: Any) -> None:
    with pytest.raises(TypeError, match=r"http= takes an httpx\.Client, or an AsyncClient for async code only, not "):
        Verifier(ISSUER, AUDIENCE, http=http)


def test_require_without_parentheses_is_an_error_where_it_is_written() -> None:
    auth: Any = FlaskAuth(Verifier(ISSUER, AUDIENCE))
    with pytest.raises(TypeError, match=r"write @require\(\.\.\.\) with parentheses"):
        auth.require(lambda: "view")


def test_list_of_scopes_in_require_is_an_error_where_it_is_written() -> None:
    auth: Any = FlaskAuth(Verifier(ISSUER, AUDIENCE))
    with pytest.raises(ValueError, match="pass each scope as a string of its own"):
        auth.require(["payroll.read"])


def verifiers() -> list[Any]:
    one = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).client())
    return [one, AnyIssuer(one)]


@pytest.mark.parametrize("sent", [token().encode(), None, 7])
def test_token_that_is_no_text_is_a_type_error(sent: object) -> None:
    for verifier in verifiers():
        with pytest.raises(TypeError, match="the token must be a str"):
            verifier.verify_sync(sent)
        with pytest.raises(TypeError, match="the token must be a str"):
            asyncio.run(verifier.verify(sent))


def test_token_with_its_scheme_is_refused_with_a_text_that_names_it() -> None:
    for verifier in verifiers():
        with pytest.raises(TokenRejected, match="without Bearer before it") as caught:
            verifier.verify_sync(f"Bearer {token()}")
        assert caught.value.reason is Reason.MALFORMED
