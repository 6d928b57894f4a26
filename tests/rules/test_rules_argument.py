"""`rules=` of the integrations: what is wrong at start, and what vectors.json cannot say about a request."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import flask
import pytest
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path as django_path
from fastapi import FastAPI, Security
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from scopewright.verifier import AnyIssuer, Rules, Token, Verifier, asgi, wsgi
from scopewright.verifier.aiohttp import token_middleware
from scopewright.verifier.django import TokenMiddleware
from scopewright.verifier.fastapi import TokenAuth as FastApiAuth
from scopewright.verifier.flask import TokenAuth as FlaskAuth
from tests.rules.middleware import MIDDLEWARE
from tests.rules.vectors import RULES
from tests.unit.verifier.django_settings import configure_django
from tests.unit.verifier.integrations.service import Headers, Record, bearer, new_verifier
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService
from tests.unit.verifier.support import AUDIENCE, ISSUER, token

PAYROLL = RULES["payroll"]
READ = bearer(token(scope="read"))
OWN = bearer(token(scope="own"))


def rules(*listed: dict[str, Any], **members: Any) -> Rules:
    return Rules.parse({"rules": list(listed), **members})


def django_middleware(verifier: Verifier, **options: Any) -> Any:
    configure_django()
    with override_settings(SCOPEWRIGHT={"verifier": verifier, **options}):
        return TokenMiddleware(lambda request: HttpResponse())


INTEGRATIONS: dict[str, Callable[..., Any]] = {
    "ASGI": lambda verifier, **options: asgi.protect(lambda *_: None, verifier, **options),  # type: ignore[arg-type]
    "WSGI": lambda verifier, **options: wsgi.protect(lambda *_: [], verifier, **options),
    "FastAPI": FastApiAuth,
    "Flask": FlaskAuth,
    "Django": django_middleware,
    "aiohttp": token_middleware,
}
every_integration = pytest.mark.parametrize("integrate", INTEGRATIONS.values(), ids=INTEGRATIONS)
every_middleware = pytest.mark.parametrize("name", MIDDLEWARE)

# At start


@every_integration
def test_file_that_cannot_be_used_is_an_error_at_start(integrate: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    for content in ("", '{"rules": [{"name": "a"}]}'):
        file.write_text(content)
        with pytest.raises((ValueError, ImproperlyConfigured), match=r"rules\.json cannot be used: "):
            integrate(new_verifier(), rules=str(file))
    with pytest.raises((ValueError, ImproperlyConfigured), match=r"absent\.json cannot be used: "):
        integrate(new_verifier(), rules=tmp_path / "absent.json")
    file.write_text(json.dumps(PAYROLL.document() | {"audience": AUDIENCE}))
    integrate(new_verifier(), rules=file)


@every_integration
def test_rules_of_another_audience_are_an_error_at_start(integrate: Callable[..., Any]) -> None:
    other = rules(audience="https://leave.hr.example")
    for verifier in (new_verifier(), AnyIssuer(new_verifier())):
        with pytest.raises((ValueError, ImproperlyConfigured), match=r"leave\.hr\.example, and the verifier accepts"):
            integrate(verifier, rules=other)
    integrate(Verifier(ISSUER, [AUDIENCE, "https://leave.hr.example"]), rules=other)


@every_integration
def test_rule_that_no_token_can_meet_is_an_error_at_start(integrate: Callable[..., Any]) -> None:
    for members, words in (
        ({"scopes": ["two words"]}, "not a scope"),
        ({"anyScope": ["é"]}, "not a scope"),
        ({"roles": ["a\nb"]}, "a role must be printable"),
    ):
        broken = rules({"name": "broken", "paths": ["/"], **members})
        with pytest.raises((ValueError, ImproperlyConfigured), match=f"rule broken: {words}"):
            integrate(new_verifier(), rules=broken)


@every_integration
@pytest.mark.parametrize("wrong", [7, [], {"rules": []}, b"rules.json", True])
def test_rules_takes_rules_or_a_file(integrate: Callable[..., Any], wrong: Any) -> None:
    with pytest.raises((TypeError, ImproperlyConfigured), match="rules= takes Rules or the path of a JSON file"):
        integrate(new_verifier(), rules=wrong)


@pytest.mark.parametrize("name", [name for name in INTEGRATIONS if name != "FastAPI"])
@pytest.mark.parametrize("other", ["public", "optional"])
def test_rules_exclude_public_and_optional_paths(name: str, other: str) -> None:
    with pytest.raises((ValueError, ImproperlyConfigured), match="rules= excludes public= and optional=: remove them"):
        INTEGRATIONS[name](new_verifier(), rules=PAYROLL, **{other: ["/healthz"]})


# Requests


@every_middleware
@pytest.mark.parametrize(
    "header",
    ["X-HTTP-Method-Override", "x-http-method", "X-METHOD-OVERRIDE", "X_HTTP_Method_Override", "X-Http_Method"],
)
def test_header_that_overrides_the_method_is_refused(name: str, header: str) -> None:
    with MIDDLEWARE[name](new_verifier(), PAYROLL, "") as service:
        for value in ("DELETE", "GET", ""):
            for target, sent in (("/healthz", []), ("/salaries/me", OWN)):
                assert service.send(target, [*sent, (header, value)]).status == 400
        assert service.record.seen == []
        assert service.send("/salaries/me", [*OWN, ("X-HTTP-Method-Overrides", "DELETE")]).status == 200


SCOPES_AND_ROLES = rules(
    {
        "name": "write",
        "paths": ["/**"],
        "scopes": ["payroll.read"],
        "anyScope": ["payroll.write", "payroll.admin"],
        "roles": ["manager", "owner"],
    }
)


@every_middleware
def test_rule_needs_all_scopes_one_alternative_and_one_role(name: str) -> None:
    def sent(scope: str, *roles: str) -> Headers:
        return bearer(token(scope=scope, roles=list(roles)))

    with MIDDLEWARE[name](new_verifier(), SCOPES_AND_ROLES, "") as service:
        for sufficient in (sent("payroll.read payroll.admin", "owner"), sent("payroll.write payroll.read", "manager")):
            assert service.send("/x", sufficient).status == 200
        service.record.seen.clear()
        for insufficient, scope in (
            (sent("payroll.read", "owner"), 'scope="payroll.read payroll.write"'),
            (sent("payroll.write payroll.admin", "owner"), 'scope="payroll.read'),
            (sent("payroll.read payroll.write"), "manager or owner is needed"),
            (sent("payroll.read payroll.write", "other"), "manager or owner is needed"),
        ):
            answer = service.send("/x", insufficient)
            assert answer.status == 403
            assert 'error="insufficient_scope"' in answer.challenge
            assert scope in answer.challenge
        assert service.record.seen == []


@every_middleware
def test_refusal_without_a_rule_says_who_can_change_that(name: str) -> None:
    with MIDDLEWARE[name](new_verifier(), PAYROLL, "") as service:
        for sent in ([], READ, bearer("garbage"), [*READ, *READ]):
            answer = service.send("/unknown", sent)
            assert (answer.status, answer.challenge) == (403, "Bearer")
            assert b"ask the owner of this API to add one" in answer.body


def test_scopes_are_needed_besides_those_of_the_rule() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    protected = AsgiService(asgi.protect(app, new_verifier(), ["all"], rules=PAYROLL), Record())
    found = [
        protected.send(target, bearer(token(scope=scope)))
        for target, scope in (("/salaries/7", "read"), ("/salaries/7", "all"), ("/salaries/7", "all read"))
    ]
    assert [answer.status for answer in found] == [403, 403, 200]
    assert 'scope="all read"' in found[0].challenge
    assert protected.send("/healthz").status == 200


def test_log_has_the_rule_and_what_is_wrong_with_the_path(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), MIDDLEWARE["ASGI"](new_verifier(), PAYROLL, "") as service:
        service.send("/salaries/7", OWN)
        service.send("/healthz/../salaries/7")
        service.send("/unknown")
    lines = [record.getMessage() for record in caplog.records if record.name == "scopewright.verifier"]
    assert lines[0].startswith("refused GET /salaries/7: 403 scope, rule read, client leave.leave-worker: ")
    assert lines[1].startswith("refused GET /healthz/../salaries/7: 400 path: The path is not canonical;")
    assert lines[1].endswith(": it has an empty or dot segment, or a character that services read in different ways")
    assert lines[2].startswith("refused GET /unknown: 403 no_rule: No rule of this API covers the method and path;")


# The raw path


def environ_status(app: Any, path_info: str, raw_uri: str | None, script_name: str = "", **more: str) -> int:
    seen: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path_info, "SCRIPT_NAME": script_name, "QUERY_STRING": "", **more}
    if raw_uri is not None:
        environ["REQUEST_URI"] = raw_uri
    app(environ, lambda status, headers, exc_info=None: seen.append(status))
    return int(seen[0][:3])


@pytest.mark.parametrize(
    ("path_info", "raw_uri", "script_name", "status"),
    [
        ("/healthz", "/healthz", "", 200),
        ("/healthz", "/healthz?x=//", "", 200),
        ("/healthz", "/%68ealthz/", "", 200),
        ("/healthz", None, "", 200),
        ("/healthz", "/api/healthz", "/api", 200),
        ("/healthz", "/%61pi/healthz", "/api", 200),
        ("/healthz", "/healthz", "/api", 200),  # a proxy has removed it; the server has it as root_path
        ("/healthz", "/api/healthz", "/api/", 200),
        ("/healthz", "http://payroll.hr.example/healthz", "", 400),
        ("/healthz", "//healthz", "", 400),
        ("/healthz", "/x/../healthz", "", 400),
        ("/healthz", "/salaries/7", "", 400),
        ("/healthz", "/api/healthz", "", 400),  # a rewrite that the server does not know
        ("/healthz", "/api/healthz", "/api/v1", 400),
        ("/healthz", "/x/healthz", "/api", 400),
        ("/healthz", "/api/api/healthz", "/api", 400),
        ("/healthz", "/healthz/api", "/api", 400),
        ("/healthz", "/api/../healthz", "/api", 400),
        ("/healthz", "/api%2fhealthz", "/api", 400),
        ("/a/b", "/a%2Fb", "", 400),
        ("/a;b", "/a%3Bb", "", 400),
        ("/healthz", "*", "", 400),
        ("/healthz", "/healthz\u20ac", "", 400),
    ],
)
def test_path_that_was_sent_in_another_form_than_it_is_routed_is_refused(
    path_info: str, raw_uri: str | None, script_name: str, status: int
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    protected = wsgi.protect(app, new_verifier(), rules=PAYROLL)
    assert environ_status(protected, path_info, raw_uri, script_name) == status


# The path that is routed


async def ok(request: Request) -> Response:
    return PlainTextResponse(request.scope["path"])


ADMIN = rules(
    {"name": "open", "paths": ["/open/**"], "authentication": "None"},
    {"name": "all", "paths": ["/**"], "scopes": ["read"]},
    {"name": "admin", "paths": ["/admin/**"], "scopes": ["admin"]},
    {"name": "api", "paths": ["/api/admin/**"], "scopes": ["api"]},
)


def statuses(app: Any, *targets: str, root_path: str = "") -> list[int]:
    """For a token with the scope `read`."""
    return [AsgiService(app, Record(), root_path).send(target, READ).status for target in targets]


def test_rules_of_a_mounted_application_begin_below_the_mount() -> None:
    routes = [Route("/admin/x", ok), Route("/x", ok), Route("/open/x", ok)]
    inner = asgi.protect(Starlette(routes=routes), new_verifier(), rules=ADMIN)
    app = Starlette(routes=[Mount("/api", inner)])
    assert statuses(app, "/api/admin/x", "/api/x", "/api/open/x") == [403, 200, 200]
    assert statuses(app, "/api/admin/x", "/api/x", root_path="/outer") == [403, 200]


def test_rules_outside_of_a_mount_match_the_whole_path() -> None:
    app = Starlette(routes=[Mount("/api", Starlette(routes=[Route("/admin/x", ok)])), Route("/admin/x", ok)])
    needs_api = asgi.protect(app, new_verifier(), rules=ADMIN)
    assert statuses(needs_api, "/api/admin/x", "/admin/x") == [403, 403]
    assert AsgiService(needs_api, Record()).send("/api/admin/x", bearer(token(scope="api"))).status == 200


def test_rules_outside_of_a_fastapi_application_match_below_its_own_root_path() -> None:
    """FastAPI removes it from the path after the middleware, also if the server does not know it."""
    app = FastAPI(openapi_url=None)
    app.root_path = "/api"  # the argument of this name is deprecated
    app.add_route("/admin/x", ok)
    app.add_route("/x", ok)
    for protected in (
        asgi.protect(app, new_verifier(), rules=ADMIN),
        asgi.protect(asgi.protect(app, new_verifier()), new_verifier(), rules=ADMIN),
    ):
        assert statuses(protected, "/api/admin/x", "/admin/x", "/api/x", "/x") == [403, 403, 200, 200]
        assert AsgiService(protected, Record()).send("/api/admin/x", bearer(token(scope="admin"))).status == 200


def test_rules_of_a_fastapi_middleware_match_below_its_own_root_path() -> None:
    app = FastAPI(openapi_url=None)
    app.root_path = "/api"  # the argument of this name is deprecated
    app.add_route("/admin/x", ok)
    app.add_route("/x", ok)
    app.add_middleware(asgi.RequireToken, verifier=new_verifier(), rules=ADMIN)
    assert statuses(app, "/api/admin/x", "/admin/x", "/api/x", "/x") == [403, 403, 200, 200]


def test_base_path_in_the_path_is_refused_if_the_rules_are_relative_to_it(caplog: pytest.LogCaptureFixture) -> None:
    """Another rule, such as the one for /**, would decide about the path of an administrator."""
    relative = rules(
        {"name": "all", "paths": ["/**"], "scopes": ["read"]},
        {"name": "admin", "paths": ["/admin/**"], "scopes": ["admin"]},
        basePath="/payroll",
    )
    with caplog.at_level(logging.INFO), MIDDLEWARE["WSGI"](new_verifier(), relative, "") as service:
        assert [service.send(target, READ).status for target in ("/payroll/admin/x", "/payroll")] == [403, 403]
        assert service.send("/x", READ).status == 200
    assert "pass rules.with_base_path() for an application that routes on the whole path" in caplog.text
    with MIDDLEWARE["WSGI"](new_verifier(), relative, "/payroll") as service:
        assert service.send("/payroll/x", READ).status == 200
    with MIDDLEWARE["WSGI"](new_verifier(), relative.with_base_path(), "") as service:
        assert [service.send(target, READ).status for target in ("/payroll/admin/x", "/payroll/x")] == [403, 200]


# One framework each


def test_stricter_one_of_rule_and_fastapi_route_applies() -> None:
    auth = FastApiAuth(new_verifier(), rules=ADMIN)
    app = FastAPI(openapi_url=None)
    app.add_api_route("/x", lambda: "x", dependencies=[Security(auth, scopes=["route"])])
    app.add_api_route("/open/required", lambda: "x", dependencies=[Security(auth)])
    app.add_api_route("/plain", lambda: "x")

    def optional(token: Annotated[Token | None, Security(auth.optional)]) -> str:
        return token.client_id if token else "anonymous"

    app.add_api_route("/open/optional", optional)
    app.add_api_route("/optional", optional)
    service = AsgiService(app, Record())

    def status(target: str, scope: str | None = None) -> int:
        return service.send(target, [] if scope is None else bearer(token(scope=scope))).status

    assert [status("/x", scope) for scope in ("read", "route", "read route")] == [403, 403, 200]
    assert [status("/open/required", scope) for scope in (None, "any")] == [401, 200]
    assert b"anonymous" in service.send("/open/optional").body
    assert [status("/optional", scope) for scope in (None, "route", "read")] == [401, 403, 200]
    assert status("/plain") == 200  # no dependency, and so no rule
    assert service.send("/plain", method="POST").status == 405


def test_preflight_that_flask_answers_itself_needs_a_rule() -> None:
    app = flask.Flask(__name__)
    FlaskAuth(new_verifier(), rules=PAYROLL).init_app(app)
    app.add_url_rule("/salaries/<name>", view_func=lambda name: name)
    app.add_url_rule("/salaries/<name>/payslips", endpoint="payslips", view_func=lambda name: name)
    preflight = [("Origin", "https://web.hr.example"), ("Access-Control-Request-Method", "GET")]
    service = WsgiService(app, Record())
    assert service.send("/salaries/7", preflight, "OPTIONS").status == 403
    assert service.send("/salaries/7/payslips", preflight, "OPTIONS").status == 200  # rule preflight


@pytest.mark.parametrize("route", ["/salaries/<name>", "/salaries/<name>/"])
def test_flask_redirects_only_what_a_rule_allows(route: str) -> None:
    app = flask.Flask(__name__)
    FlaskAuth(new_verifier(), rules=PAYROLL).init_app(app)
    app.add_url_rule(route, view_func=lambda name: name)
    service = WsgiService(app, Record())
    targets = ("/salaries/7", "/salaries/7/")
    assert [service.send(target).status for target in targets] == [401, 401]
    assert min(service.send(target, READ).status for target in targets) == 200
    for target in ("//salaries/7", "/salaries//7", "/salaries/7//"):
        for sent in ([], READ):
            assert service.send(target, sent).status == 400


@pytest.mark.parametrize("asynchronous", [False, True])
def test_django_appends_a_slash_only_to_what_a_rule_allows(asynchronous: bool) -> None:
    def view(request: HttpRequest, name: str) -> HttpResponse:
        return HttpResponse(name)

    configure_django()
    urls = type("Urls", (), {"urlpatterns": [django_path("salaries/<name>/", view)]})
    middleware = ["scopewright.verifier.django.TokenMiddleware", "django.middleware.common.CommonMiddleware"]
    options = {"verifier": new_verifier(), "rules": PAYROLL}
    with override_settings(
        ROOT_URLCONF=urls, SCOPEWRIGHT=options, MIDDLEWARE=middleware, APPEND_SLASH=True, ALLOWED_HOSTS=["*"]
    ):
        service = (
            AsgiService(get_asgi_application(), Record())
            if asynchronous
            else WsgiService(get_wsgi_application(), Record())
        )
        host = [("Host", "payroll")]
        assert [service.send(target, host).status for target in ("/salaries/7", "/salaries/7/")] == [401, 401]
        assert service.send("/salaries/7", [*host, *READ]).status == 301
        assert service.send("/salaries/7/", [*host, *READ]).status == 200
        assert service.send("//salaries/7", [*host, *READ]).status == 400


def test_handshake_of_a_websocket_needs_a_rule_for_get() -> None:
    async def changes(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(asgi.require(websocket).client_id)
        await websocket.close()

    routes = [WebSocketRoute(path, changes) for path in ("/salaries/7", "/reports/archive", "/post")]
    more = rules(
        *PAYROLL.document()["rules"], {"name": "post", "paths": ["/post"], "methods": ["POST"], "scopes": ["read"]}
    )
    client = TestClient(asgi.protect(Starlette(routes=routes), new_verifier(), rules=more))
    headers = dict(READ)
    with client.websocket_connect("/salaries/7", headers=headers) as websocket:
        assert websocket.receive_text() == "leave.leave-worker"
    for path, status in (("/reports/archive", 403), ("/post", 403), ("/unknown", 403), ("/salaries/7;x", 400)):
        with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(path, headers=headers):
            pass
        assert caught.value.status_code == status
