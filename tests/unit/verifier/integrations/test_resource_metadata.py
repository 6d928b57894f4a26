"""Protected resource metadata (RFC 9728), on every integration."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import flask
import pytest
from fastapi import FastAPI, Security

from scopewright.verifier import ResourceMetadata, Rules, Token, Verifier, asgi, wsgi
from scopewright.verifier import fastapi as for_fastapi
from scopewright.verifier import flask as for_flask
from tests.unit.verifier.integrations.service import Record, Service, bearer, new_verifier
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

PATH = "/.well-known/oauth-protected-resource"
PARAMETER = f'resource_metadata="{AUDIENCE}{PATH}"'
DOCUMENT = {
    "resource": AUDIENCE,
    "authorization_servers": [ISSUER],
    "bearer_methods_supported": ["header"],
    "dpop_signing_alg_values_supported": ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"],
}


@pytest.mark.parametrize("headers", [[], bearer("garbage"), [("X-Forwarded-Host", "elsewhere.example")]])
def test_document_needs_no_token_and_reads_nothing_of_the_request(
    service: Service, headers: list[tuple[str, str]]
) -> None:
    answer = service.send(f"{PATH}?resource=https://elsewhere.example", headers)
    assert (answer.status, json.loads(answer.body)) == (200, DOCUMENT)
    assert answer.values("Content-Type") == ["application/json"]
    assert answer.values("Content-Length") == [str(len(answer.body))]
    assert answer.values("Access-Control-Allow-Origin") == ["*"]
    assert service.record.seen == []


def test_head_gets_the_headers_of_the_document(service: Service) -> None:
    answer = service.send(PATH, method="HEAD")
    assert answer.status == 200
    assert answer.values("Content-Length") == [str(len(json.dumps(DOCUMENT, separators=(",", ":"))))]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", PATH),
        ("DELETE", PATH),
        ("GET", f"{PATH}/payroll"),
        ("GET", f"{PATH}x"),
        ("GET", "/.well-known/"),
        ("GET", "/.well-known/oauth-authorization-server"),
    ],
)
def test_every_other_request_needs_a_token(service: Service, method: str, target: str) -> None:
    assert service.send(target, method=method).status == 401
    assert service.record.seen == []


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/salaries/7", [], 401),
        ("/salaries/7", bearer("garbage"), 401),
        ("/salaries/7", bearer(token(aud="https://leave.hr.example")), 401),
        ("/write", bearer(token()), 403),
        ("/audit", bearer(token()), 403),
    ],
)
def test_every_challenge_names_the_document(
    service: Service, target: str, headers: list[tuple[str, str]], status: int
) -> None:
    answer = service.send(target, headers)
    assert answer.status == status
    challenges = 2 if status == 401 else 1  # Bearer and DPoP
    assert answer.challenge.count(PARAMETER) == challenges


def test_accepted_request_is_not_changed(service: Service) -> None:
    answer = service.send("/salaries/7", bearer(token()))
    assert (answer.status, answer.values("WWW-Authenticate")) == (200, [])


MAKERS: dict[str, Callable[[Verifier, Any], object]] = {
    "asgi": lambda verifier, metadata: asgi.protect(FastAPI(), verifier, resource_metadata=metadata),
    "wsgi": lambda verifier, metadata: wsgi.protect(lambda *_: [], verifier, resource_metadata=metadata),
    "fastapi": lambda verifier, metadata: for_fastapi.TokenAuth(verifier, resource_metadata=metadata),
    "flask": lambda verifier, metadata: for_flask.TokenAuth(verifier, resource_metadata=metadata),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_wrong_metadata_is_refused_when_the_service_starts(make: Callable[[Verifier, Any], object]) -> None:
    several = Verifier(ISSUER, [AUDIENCE, "https://leave.hr.example"])
    with pytest.raises(ValueError, match="several audiences"):
        make(several, True)
    make(several, ResourceMetadata.of("https://leave.hr.example", ISSUER))
    with pytest.raises(ValueError, match="not an audience of the verifier"):
        make(several, ResourceMetadata.of("https://time.hr.example", ISSUER))
    with pytest.raises(ValueError, match="has no protected resource metadata"):
        make(Verifier(ISSUER, "payroll"), True)


def payroll(audience: str) -> Verifier:
    return Verifier(ISSUER, audience, http=FakeIssuer(KEY).client())


def test_document_of_an_audience_with_a_path_is_at_the_root_of_the_host() -> None:
    """The proxy strips `/payroll`, which is then the root path, and passes the path of the document on."""
    protected = asgi.protect(FastAPI(), payroll("https://hr.example/payroll"), resource_metadata=True)
    for root_path in ("", "/payroll"):
        service = AsgiService(protected, Record(), root_path=root_path)
        assert service.send(f"{PATH}/payroll").status == 200
        assert service.send(PATH).status == 401
        challenge = service.send("/salaries").challenge
        assert challenge == f'Bearer resource_metadata="https://hr.example{PATH}/payroll"'


def test_document_has_the_scopes_that_the_middleware_requires() -> None:
    protected = asgi.protect(FastAPI(), payroll(AUDIENCE), ["payroll.read"], resource_metadata=True)
    answer = AsgiService(protected, Record()).send(PATH)
    assert json.loads(answer.body)["scopes_supported"] == ["payroll.read"]
    assert "dpop_signing_alg_values_supported" not in json.loads(answer.body)


RULES = Rules.parse(
    {
        "audience": AUDIENCE,
        "rules": [
            {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["payroll.read"]},
            {"name": "write", "methods": ["PUT"], "paths": ["/salaries/**"], "anyScope": ["payroll.write", "hr.admin"]},
            {"name": "well-known", "paths": ["/.well-known/**"], "scopes": ["payroll.internal"]},
        ],
    }
)


@pytest.mark.parametrize("sent", [[], bearer("garbage"), bearer(token(aud="https://leave.hr.example"))])
def test_401_names_the_scopes_of_the_rule_or_of_the_application(sent: list[tuple[str, str]]) -> None:
    """A client then asks for them, and not for all scopes in the document."""
    by_rules = AsgiService(asgi.protect(FastAPI(), payroll(AUDIENCE), rules=RULES, resource_metadata=True), Record())
    same = AsgiService(asgi.protect(FastAPI(), payroll(AUDIENCE), ["payroll.read"], resource_metadata=True), Record())
    for service in (by_rules, same):
        answer = service.send("/salaries/7", sent)
        assert answer.status == 401
        assert 'scope="payroll.read"' in answer.challenge
    plain = AsgiService(asgi.protect(FastAPI(), payroll(AUDIENCE), ["payroll.read"]), Record())
    assert "scope=" not in plain.send("/salaries/7", sent).challenge


def test_rules_cannot_cover_the_document_and_their_scopes_are_in_it() -> None:
    protected = asgi.protect(FastAPI(), payroll(AUDIENCE), rules=RULES, resource_metadata=True)
    service = AsgiService(protected, Record())
    answer = service.send(PATH)
    assert answer.status == 200
    assert json.loads(answer.body)["scopes_supported"] == [
        "hr.admin",
        "payroll.internal",
        "payroll.read",
        "payroll.write",
    ]
    assert service.send(PATH, method="POST").status == 401
    assert service.send("/.well-known/other").challenge == f'Bearer scope="payroll.internal", {PARAMETER}'
    assert PARAMETER in service.send("/without-a-rule", bearer(token())).challenge


@contextmanager
def flask_with_two_apis() -> Iterator[Service]:
    """The application has an API of its own, and protects all paths. The blueprint's audience is another one."""
    app, leave = flask.Flask(__name__, static_folder=None), flask.Blueprint("leave", __name__)
    for_flask.TokenAuth(new_verifier(), resource_metadata=True).init_app(app)
    for_flask.TokenAuth(payroll("https://hr.example/leave"), resource_metadata=True).init_app(leave)
    app.register_blueprint(leave, url_prefix="/leave")
    yield WsgiService(app, Record())


def test_blueprint_of_flask_has_a_document_of_its_own() -> None:
    with flask_with_two_apis() as service:
        assert json.loads(service.send(PATH).body)["resource"] == AUDIENCE
        assert json.loads(service.send(f"{PATH}/leave").body)["resource"] == "https://hr.example/leave"


def test_fastapi_serves_the_document_without_the_dependencies_of_the_application() -> None:
    auth = for_fastapi.TokenAuth(new_verifier(), resource_metadata=True)
    app = FastAPI(dependencies=[Security(auth)])

    @app.get("/{path:path}")
    def other(token: Annotated[Token, Security(auth)]) -> str:
        return token.client_id

    auth.add_metadata_route(app)
    service = AsgiService(app, Record())
    assert service.send(PATH).status == 200
    assert service.send("/x").challenge == f"Bearer {PARAMETER}"
    assert "oauth-protected-resource" not in json.dumps(app.openapi())


def test_fastapi_has_no_document_without_the_option() -> None:
    auth = for_fastapi.TokenAuth(new_verifier())
    with pytest.raises(ValueError, match="resource_metadata=True"):
        auth.add_metadata_route(FastAPI())
