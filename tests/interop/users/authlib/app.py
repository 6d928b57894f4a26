"""An application that logs users in with Authlib's client for Starlette. It keeps tokens on the server."""

import logging
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
from authlib.integrations.starlette_client import OAuth, OAuthError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

log = logging.getLogger(__name__)

HOME = os.environ["HOME_URL"]  # such as http://127.0.0.1:3000
PUSHES = os.environ.get("PUSH") == "true"  # the request goes to the issuer, and the browser has a reference to it
_SECRET = Path(os.environ["SCOPEWRIGHT_SECRET_DIR"])


def secret(name: str) -> str:
    return (_SECRET / name).read_text().strip()


scopewright = OAuth().register(
    "scopewright",
    client_id=secret("client_id"),
    server_metadata_url=f"{secret('issuer')}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email groups", "code_challenge_method": "S256"},
)
tokens: dict[str, Any] = {}  # by the name in the browser's session


async def login(request: Request) -> Response:
    if not PUSHES:
        redirect: Response = await scopewright.authorize_redirect(request, f"{HOME}/callback")
        return redirect
    made = await scopewright.create_authorization_url(f"{HOME}/callback")
    await scopewright.save_authorize_data(request, redirect_uri=f"{HOME}/callback", **made)
    return RedirectResponse(await pushed(made["url"]), 302)


async def pushed(url: str) -> str:
    """Push the request (RFC 9126). Return the URL with the reference to it."""
    target, _, query = url.partition("?")
    metadata = await scopewright.load_server_metadata()
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            metadata["pushed_authorization_request_endpoint"],
            data=dict(parse_qsl(query)),
            auth=(scopewright.client_id, secret("client_secret")),
        )
    reference = answer.raise_for_status().json()["request_uri"]
    return f"{target}?{urlencode({'client_id': scopewright.client_id, 'request_uri': reference})}"


async def callback(request: Request) -> Response:
    scopewright.client_secret = secret("client_secret")  # read for each request: it rotates
    token = await scopewright.authorize_access_token(request)  # checks state, nonce and the ID token
    request.session.clear()
    request.session["name"] = name = secrets.token_urlsafe()
    tokens[name] = token
    return RedirectResponse(HOME, 302)


async def refresh(request: Request) -> Response:
    name = request.session["name"]
    scopewright.client_secret = secret("client_secret")
    refreshed = await scopewright.fetch_access_token(
        grant_type="refresh_token", refresh_token=tokens[name]["refresh_token"]
    )
    tokens[name] |= refreshed | {"userinfo": await scopewright.parse_id_token(refreshed, nonce=None)}
    return RedirectResponse(HOME, 302)


async def logout(request: Request) -> Response:
    token = tokens.pop(request.session.pop("name"))
    redirect: Response = await scopewright.logout_redirect(request, HOME, token["id_token"])
    return redirect


async def profile(request: Request) -> Response:
    token = tokens.get(request.session.get("name", ""))
    if token is None:
        return JSONResponse({"login": f"{HOME}/login"}, 401)
    return JSONResponse({"user": token["userinfo"], "userinfo": await scopewright.userinfo(token=token)})


async def failed(request: Request, error: Exception) -> Response:
    log.error("%s", error)
    return PlainTextResponse("The login failed; the log has the reason.", 502)


app = Starlette(
    routes=[
        Route("/", profile),
        Route("/login", login),
        Route("/callback", callback),
        Route("/refresh", refresh),
        Route("/logout", logout),
    ],
    exception_handlers={OAuthError: failed},
    middleware=[Middleware(SessionMiddleware, secret_key=secrets.token_hex(), https_only=HOME.startswith("https:"))],
)
