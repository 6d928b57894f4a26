"""What is particular to Flask: error handlers, blueprints, preflights, contexts and decorators."""

from typing import Any

import flask
import pytest
from flask.views import MethodView
from werkzeug.exceptions import HTTPException, Unauthorized

from scopewright.verifier import Nonces, Token, TokenRejected, Verifier
from scopewright.verifier.flask import TokenAuth, current_token, require
from tests.harness.clock import Clock
from tests.unit.verifier.integrations.service import BASE_URL, new_verifier
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, bound_token, proof, token

READ = {"Authorization": f"Bearer {token()}"}
PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}


def create_app(**options: Any) -> flask.Flask:
    auth = TokenAuth(new_verifier(), public=("/healthz",), **options)
    app = flask.Flask(__name__)
    auth.init_app(app)

    @app.get("/read")
    @auth.require("payroll.read")
    def read() -> dict[str, str]:
        return {"caller": require().client_id}

    @app.get("/write")
    @auth.require("payroll.write")
    def write() -> str:
        return "written"

    @app.get("/healthz")
    def healthz() -> str:
        return str(current_token())

    return app


def test_handler_for_http_exceptions_formats_refusals_and_the_challenge_is_kept() -> None:
    app = create_app()

    @app.errorhandler(HTTPException)
    def formatted(error: HTTPException) -> Any:
        return {"title": error.description, "name": error.name}, error.code

    refused = app.test_client().get("/read")
    assert (refused.status_code, refused.get_json()["name"]) == (401, "Unauthorized")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.headers["Cache-Control"] == "no-store"
    lacking = app.test_client().get("/write", headers=READ)
    assert (lacking.status_code, lacking.get_json()["name"]) == (403, "Forbidden")
    assert 'error="insufficient_scope"' in lacking.headers["WWW-Authenticate"]


def test_handler_may_keep_the_response_of_the_exception() -> None:
    app = create_app()

    @app.errorhandler(HTTPException)
    def with_body(error: HTTPException) -> Any:
        response = error.get_response()
        response.data = flask.json.dumps({"title": error.name})
        return response

    refused = app.test_client().get("/read")
    assert (refused.json, refused.headers["WWW-Authenticate"]) == ({"title": "Unauthorized"}, "Bearer")
    assert refused.content_type == "application/json"


@pytest.mark.parametrize("kind", [401, Unauthorized, TokenRejected])
def test_handler_for_a_status_or_a_class_gets_the_refusal(kind: Any) -> None:
    app = create_app()
    app.register_error_handler(kind, lambda error: (f"own {error.error}", error.status))
    refused = app.test_client().get("/read", headers={"Authorization": "Bearer garbage"})
    assert (refused.status_code, refused.text) == (401, "own invalid_token")
    assert "WWW-Authenticate" in refused.headers


def test_response_that_a_handler_makes_of_an_outage_has_retry_after() -> None:
    web = FakeIssuer()
    web.unavailable = True
    app = flask.Flask(__name__)
    TokenAuth(new_verifier(web)).init_app(app)
    app.register_error_handler(503, lambda error: ("later", 503))
    refused = app.test_client().get("/", headers=READ)
    assert (refused.text, refused.headers["Retry-After"]) == ("later", "1")


def test_response_without_a_handler_has_a_challenge_for_each_scheme_and_json() -> None:
    refused = create_app(base_url=BASE_URL).test_client().get("/read")
    assert [each.partition(" ")[0] for each in refused.headers.getlist("WWW-Authenticate")] == ["Bearer", "DPoP"]
    assert refused.get_json()["error_description"].startswith("No access token was sent")


def test_unknown_path_and_static_file_need_a_token() -> None:
    client = create_app().test_client()
    assert client.get("/nowhere").status_code == 401
    assert client.get("/static/x.js").status_code == 401
    assert client.get("/nowhere", headers=READ).status_code == 404


def test_preflight_that_flask_answers_needs_no_token_and_reaches_no_view() -> None:
    app = create_app()
    reached: list[str] = []

    @app.after_request
    def cors(response: flask.Response) -> flask.Response:  # as flask-cors does
        response.headers["Access-Control-Allow-Origin"] = "https://app.example"
        return response

    @app.route("/own", methods=["GET", "OPTIONS"])
    def own() -> str:
        reached.append(flask.request.method)
        return "own"

    client = app.test_client()
    allowed = client.options("/read", headers=PREFLIGHT)
    assert (allowed.status_code, allowed.text) == (200, "")
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert client.options("/read").status_code == 401
    assert client.get("/read", headers=PREFLIGHT).headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert client.options("/own", headers=PREFLIGHT).status_code == 401
    assert client.options("/nowhere", headers=PREFLIGHT).status_code == 401
    assert reached == []


def test_blueprint_alone_can_be_protected() -> None:
    auth = TokenAuth(new_verifier())
    api = flask.Blueprint("api", __name__, url_prefix="/api")
    auth.init_app(api)

    @api.get("/read")
    @auth.require("payroll.read")
    def read() -> str:
        return "read"

    app = flask.Flask(__name__)
    app.register_blueprint(api)
    app.add_url_rule("/page", view_func=lambda: "page", endpoint="page")
    client = app.test_client()
    assert client.get("/page").text == "page"
    assert client.get("/api/read").status_code == 401
    assert client.get("/api/read", headers=READ).text == "read"


def test_view_outside_of_the_protected_blueprint_is_a_runtime_error() -> None:
    auth = TokenAuth(new_verifier())
    app = flask.Flask(__name__)
    app.add_url_rule("/page", view_func=auth.require("payroll.read")(lambda: "page"), endpoint="page")
    app.testing = True
    with pytest.raises(RuntimeError, match="init_app"):
        app.test_client().get("/page", headers=READ)


def test_view_that_requires_a_token_of_another_token_auth_is_a_runtime_error() -> None:
    app, admin = create_app(), TokenAuth(Verifier(ISSUER, "https://admin.example"))
    app.add_url_rule("/admin", view_func=admin.require("payroll.read")(lambda: "admin"), endpoint="admin")
    app.testing = True
    with pytest.raises(RuntimeError, match="not verified by this TokenAuth"):
        app.test_client().get("/admin", headers=READ)


def test_blueprint_may_need_the_token_of_its_application_too() -> None:
    outer = TokenAuth(new_verifier(), optional=("/both",))
    inner = TokenAuth(Verifier(ISSUER, AUDIENCE, scopes=["payroll.read"], http=FakeIssuer(KEY).client(), clock=Clock()))
    app, api = flask.Flask(__name__), flask.Blueprint("api", __name__)
    outer.init_app(app)
    inner.init_app(api)

    @api.get("/both")
    @outer.require("payroll.read")
    @inner.require("payroll.read")
    def both() -> str:
        return require().client_id

    app.register_blueprint(api)
    client = app.test_client()
    assert client.get("/both", headers=READ).text == "leave.leave-worker"
    assert client.get("/both").status_code == 401


def test_decorator_above_the_route_is_a_runtime_error() -> None:
    auth = TokenAuth(new_verifier())
    app = flask.Flask(__name__)
    auth.init_app(app)

    @auth.require("payroll.write")
    @app.get("/write")
    def write() -> str:
        return "written"

    assert app.test_client().get("/write", headers=READ).status_code == 500
    app.testing = True
    with pytest.raises(RuntimeError, match=r"'write'.*below @app\.route"):
        app.test_client().get("/write", headers=READ)


def test_async_view_and_class_of_views() -> None:
    auth = TokenAuth(new_verifier())

    class Salaries(MethodView):
        decorators = [auth.require("payroll.read")]  # noqa: RUF012  # Flask's type

        def get(self) -> str:
            return "got"

        async def post(self) -> str:
            require("payroll.write")
            return "posted"

    app = flask.Flask(__name__)
    auth.init_app(app)
    app.add_url_rule("/salaries", view_func=Salaries.as_view("salaries"))
    client = app.test_client()
    assert client.get("/salaries").status_code == 401
    assert client.get("/salaries", headers=READ).text == "got"
    assert client.post("/salaries", headers=READ).status_code == 403
    both = {"Authorization": f"Bearer {token(scope='payroll.read payroll.write')}"}
    assert client.post("/salaries", headers=both).text == "posted"


def test_token_of_one_request_is_not_that_of_the_next_in_one_application_context() -> None:
    app = create_app()
    with app.app_context():
        client = app.test_client()
        assert client.get("/read", headers=READ).json == {"caller": "leave.leave-worker"}
        assert client.get("/healthz", headers=READ).text == "None"
        assert client.get("/read").status_code == 401


def test_token_is_available_to_other_hooks() -> None:
    app = create_app()
    seen: list[Token | None] = []
    app.before_request(lambda: seen.append(current_token()))
    client = app.test_client()
    client.get("/healthz")
    client.options("/read", headers=PREFLIGHT)
    client.get("/read", headers=READ)
    assert [token and token.client_id for token in seen] == [None, None, "leave.leave-worker"]


def test_responses_to_proofs_have_the_nonce() -> None:
    auth = TokenAuth(new_verifier(nonces=Nonces(b"n" * 32, "payroll")), base_url=BASE_URL)
    app = flask.Flask(__name__)
    auth.init_app(app)
    app.add_url_rule("/read", view_func=lambda: "read", endpoint="read")
    client, sent = app.test_client(), bound_token()

    def get(**claims: Any) -> Any:
        headers = {"Authorization": f"DPoP {sent}", "DPoP": proof(sent, htu=f"{BASE_URL}/read", **claims)}
        return client.get("/read", headers=headers)

    refused = get()
    assert 'error="use_dpop_nonce"' in refused.headers.getlist("WWW-Authenticate")[-1]
    accepted = get(nonce=refused.headers["DPoP-Nonce"])
    assert (accepted.text, accepted.headers["DPoP-Nonce"]) == ("read", refused.headers["DPoP-Nonce"])
