"""The web application of the HR staff, on Starlette: a backend for its own pages. Authlib logs users in.

GET  /                     employees, and what the user may do
GET  /employees/7          absences, and the salary if the user may read it
POST /employees/7/salary   changes the salary
POST /requests/1/approval  approves a request for leave
GET  /login /callback      login at the issuer
POST /logout               logout, here and at the issuer

There is no code of Scopewright in it. The browser gets a cookie that names the login, never a token.

    SCOPEWRIGHT_SECRET_DIR               where the Secret of the OAuthClient `hr-web` is mounted
    HOME_URL                             the URL of this application, such as http://127.0.0.1:9100
    EMPLOYEE_URL, LEAVE_URL, PAYROLL_URL
"""

import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
from authlib.integrations.starlette_client import OAuth, OAuthError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from examples.hr.web.apis import Apis, Login, LoginEnded, NoAccess

log = logging.getLogger("hr")

SCOPES = "openid profile groups employee.read leave.read leave.approve payroll.read payroll.write"
MAX_LOGINS = 1000
"""Logins in memory. The oldest ends when there are more."""
OF_THE_USER = (404, 409, 422)
"""Answers of an API that concern what the user has asked for."""
pages = Jinja2Templates(Path(__file__).parent / "templates")


def secret(entry: str) -> str:
    """An entry of the mounted Secret, read each time: the client secret rotates."""
    folder = os.environ.get("SCOPEWRIGHT_SECRET_DIR", "/var/run/secrets/oauth")
    return Path(folder, entry).read_text(encoding="utf-8").strip()


def home() -> str:
    return os.environ["HOME_URL"]


Handler = Callable[[Request, Login], Awaitable[Response]]


def logged_in(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Calls the handler with the login; without one, the user is asked to log in."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        login = request.app.state.logins.get(request.session.get("login", ""))
        if login is None:
            return pages.TemplateResponse(request, "welcome.html", status_code=200 if request.url.path == "/" else 401)
        return await handler(request, login)

    return handle


async def begin(request: Request) -> Response:
    redirect: Response = await request.app.state.oauth.authorize_redirect(request, f"{home()}/callback")
    return redirect


async def callback(request: Request) -> Response:
    oauth, logins = request.app.state.oauth, request.app.state.logins
    oauth.client_secret = secret("client_secret")
    # The token of the login is for the issuer itself. Those for the APIs follow, one for each, when they are needed.
    token = await oauth.authorize_access_token(request, resource=secret("issuer"))
    request.session.clear()  # another session than before the login
    request.session["login"] = name = secrets.token_urlsafe()
    request.session["csrf"] = secrets.token_urlsafe()
    logins[name] = Login(token["userinfo"], token["id_token"], token["refresh_token"])
    while len(logins) > MAX_LOGINS:
        del logins[next(iter(logins))]
    return RedirectResponse(home(), 303)


@logged_in
async def index(request: Request, login: Login) -> Response:
    apis: Apis = request.app.state.apis
    employees = await apis.call(login, "employee", "GET", "/employees")
    requests = await optional(apis.call(login, "leave", "GET", "/requests"))
    return pages.TemplateResponse(
        request, "index.html", {"user": login.user, "employees": employees, "requests": requests}
    )


@logged_in
async def employee(request: Request, login: Login) -> Response:
    apis, number = request.app.state.apis, request.path_params["id"]
    context = {
        "user": login.user,
        "employee": await apis.call(login, "employee", "GET", f"/employees/{number}"),
        "salary": await optional(apis.call(login, "payroll", "GET", f"/salaries/{number}")),
    }
    return pages.TemplateResponse(request, "employee.html", context)


@logged_in
async def change_salary(request: Request, login: Login) -> Response:
    amount = (await form(request)).get("monthly", "")
    if not amount.isdigit() or len(amount) > 6:
        raise HTTPException(422, "Enter the monthly salary as a whole number with at most six digits.")
    number = request.path_params["id"]
    await request.app.state.apis.call(login, "payroll", "PUT", f"/salaries/{number}", content=amount)
    return RedirectResponse(f"{home()}/employees/{number}", 303)


@logged_in
async def approve(request: Request, login: Login) -> Response:
    await form(request)
    await request.app.state.apis.call(login, "leave", "POST", f"/requests/{request.path_params['id']}/approval")
    return RedirectResponse(home(), 303)


@logged_in
async def end(request: Request, login: Login) -> Response:
    await form(request)
    request.app.state.logins.pop(request.session["login"], None)
    request.session.clear()
    redirect: Response = await request.app.state.oauth.logout_redirect(request, home(), login.id_token)
    return redirect


async def form(request: Request) -> dict[str, str]:
    """The fields of a form of this application. A form of another site does not know the value of `csrf`."""
    body = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=20)
    fields = {name: values[0] for name, values in body.items()}
    if not secrets.compare_digest(fields.get("csrf", "").encode(), request.session.get("csrf", "").encode()):
        raise HTTPException(403, "This form is not of your current login. Go back, reload the page and send it again.")
    return fields


async def optional(call: Awaitable[Any]) -> Any:
    """The answer of a call; None if the user has no access there."""
    try:
        return await call
    except NoAccess:
        return None


async def no_access(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, NoAccess)
    context = {"api": refusal.api, "reason": refusal.reason}
    return pages.TemplateResponse(request, "no_access.html", context, status_code=403)


async def login_ended(request: Request, _: Exception) -> Response:
    request.app.state.logins.pop(request.session.pop("login", ""), None)
    return pages.TemplateResponse(request, "welcome.html", {"ended": True}, status_code=401)


async def refused(request: Request, error: Exception) -> Response:
    """The issuer ended the login with an error, such as access_denied."""
    assert isinstance(error, OAuthError)
    log.info("login refused: %s", error.error)
    return pages.TemplateResponse(request, "refused.html", {"error": error.error}, status_code=403)


async def failed(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status, message = error.status_code, error.detail
    elif isinstance(error, httpx.HTTPStatusError) and error.response.status_code in OF_THE_USER:
        status, message = error.response.status_code, error.response.json().get("error_description", "not possible")
    else:
        log.warning("%s: %r", request.url.path, error)
        status, message = 502, "A service that is needed here did not answer as it should."
    return pages.TemplateResponse(request, "failed.html", {"message": message}, status_code=status)


async def healthy(_: Request) -> Response:
    return Response("ok", media_type="text/plain")


def create() -> Starlette:
    """uvicorn --factory examples.hr.web.app:create"""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=10) as http:
            app.state.apis = Apis(app.state.oauth, http)
            yield

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/employees/{id:int}", employee),
            Route("/employees/{id:int}/salary", change_salary, methods=["POST"]),
            Route("/requests/{id:int}/approval", approve, methods=["POST"]),
            Route("/login", begin),
            Route("/callback", callback),
            Route("/logout", end, methods=["POST"]),
            Route("/healthz", healthy),
        ],
        exception_handlers={
            NoAccess: no_access,
            LoginEnded: login_ended,
            OAuthError: refused,
            HTTPException: failed,
            httpx.HTTPError: failed,
        },
        middleware=[
            Middleware(
                SessionMiddleware, secret_key=secrets.token_hex(), https_only=home().startswith("https:"), max_age=None
            )
        ],
        lifespan=lifespan,
    )
    app.state.logins = {}
    app.state.oauth = OAuth().register(
        "scopewright",
        client_id=secret("client_id"),
        client_secret=secret("client_secret"),
        server_metadata_url=f"{secret('issuer')}/.well-known/openid-configuration",
        client_kwargs={"scope": SCOPES, "code_challenge_method": "S256"},
    )
    return app
