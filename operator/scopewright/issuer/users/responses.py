"""Answers of the users' endpoints: pages, and redirects to the issuer itself or to a client."""

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from scopewright.issuer.protocol.errors import AuthorizationErrorCode
from scopewright.issuer.users.authorization_request import ResponseTarget
from scopewright.issuer.users.page_headers import SECURITY_HEADERS, content_security_policy
from scopewright.issuer.users.pages import Page
from scopewright.issuer.users.rendering import render


def page_response(
    page: Page, status: int = HTTPStatus.OK, *, redirect_uri: str = "", set_cookies: Iterable[str] = ()
) -> Response:
    """`redirect_uri` is where the page's forms may lead in the end; empty: nowhere but to the issuer."""
    headers = {**SECURITY_HEADERS, "content-security-policy": content_security_policy(redirect_uri)}
    return with_cookies(Response(render(page), status, headers, "text/html; charset=utf-8"), set_cookies)


def redirect(url: str, set_cookies: Iterable[str] = ()) -> Response:
    """303: the browser sends GET, and never the form again (RFC 9700 §4.12)."""
    headers = {**SECURITY_HEADERS, "content-security-policy": content_security_policy()}
    return with_cookies(RedirectResponse(url, HTTPStatus.SEE_OTHER, headers), set_cookies)


def code_url(target: ResponseTarget, issuer: str, code: str) -> str:
    """RFC 6749 §4.1.2."""
    return _response_url(target, issuer, {"code": code})


def error_url(target: ResponseTarget, issuer: str, error: AuthorizationErrorCode, description: str) -> str:
    """RFC 6749 §4.1.2.1."""
    return _response_url(target, issuer, {"error": error, "error_description": description})


def _response_url(target: ResponseTarget, issuer: str, parameters: dict[str, str]) -> str:
    """With `state`, `iss` (RFC 9207) and the query that the redirect URI has itself."""
    query = urlencode(parameters | ({"state": target.state} if target.state else {}) | {"iss": issuer})
    uri = target.redirect_uri
    separator = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
    return f"{uri}{separator}{query}"


def with_cookies(response: Response, set_cookies: Iterable[str]) -> Response:
    for cookie in set_cookies:
        response.headers.append("set-cookie", cookie)
    return response
