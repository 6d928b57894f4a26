"""What is particular to Django: settings, class-based views, CSRF, mails to ADMINS, and decoded paths."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import BaseHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import re_path
from django.utils.decorators import method_decorator
from django.utils.log import AdminEmailHandler, request_logger
from django.views import View

from scopewright.verifier import Nonces, TokenRejected, Verifier
from scopewright.verifier.django import TokenMiddleware, current_token, require
from tests.unit.verifier.django_settings import configure_django
from tests.unit.verifier.integrations.service import BASE_URL, Record, new_verifier
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService
from tests.unit.verifier.support import AUDIENCE, ISSUER, FakeIssuer, bound_token, proof, token

configure_django()

MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", "scopewright.verifier.django.TokenMiddleware"]
READ = {"authorization": f"Bearer {token()}"}
IMPORTED = new_verifier()


def view(request: HttpRequest) -> HttpResponse:
    token = require(request, "payroll.read")
    return HttpResponse(token.client_id)


@method_decorator(require("payroll.write"), name="dispatch")
class Salaries(View):  # type: ignore[misc]  # Django has no types here
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("got")


class AsyncSalaries(View):  # type: ignore[misc]  # Django has no types here
    @method_decorator(require("payroll.read"))  # type: ignore[untyped-decorator]
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("got")


@method_decorator(require("payroll.write"), name="dispatch")
class AsyncWrites(View):  # type: ignore[misc]  # Django has no types here
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("got")


def another_token(request: HttpRequest) -> HttpResponse:
    new_verifier().verify_sync("garbage")
    return HttpResponse("never")


def tolerant(request: HttpRequest) -> HttpResponse:
    try:
        require(request, "payroll.write")
    except TokenRejected:
        return HttpResponse("without", status=403)
    return HttpResponse("with")


def tolerant_and_broken(request: HttpRequest) -> HttpResponse:
    tolerant(request)
    return another_token(request)


urlpatterns = [
    re_path("^read", view),
    re_path("^salaries$", Salaries.as_view()),
    re_path("^async-salaries$", AsyncSalaries.as_view()),
    re_path("^async-writes$", AsyncWrites.as_view()),
    re_path("^another-token$", another_token),
    re_path("^tolerant$", tolerant),
    re_path("^tolerant-and-broken$", tolerant_and_broken),
    re_path("^healthz$", lambda request: HttpResponse(str(current_token(request)))),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    options = {"verifier": new_verifier(), "public": ["/healthz"]}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE, SCOPEWRIGHT=options):
        yield


def get(path: str, **headers: str) -> Any:
    return Client().get(path, headers=headers)


def get_async(path: str, **headers: str) -> Any:
    return asyncio.run(AsyncClient().get(path, headers=headers))


@pytest.mark.parametrize("get", [get, get_async])
def test_class_based_views_are_refused_and_answered(get: Callable[..., Any]) -> None:
    for path in ("/salaries", "/async-writes"):
        refused = get(path, **READ)
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope"), path
        assert refused.headers["WWW-Authenticate"].endswith('scope="payroll.write"')
        assert get(path, authorization=f"Bearer {token(scope='payroll.write')}").content == b"got"
    assert get("/async-salaries").status_code == 401
    assert get("/async-salaries", authorization=f"Bearer {token(scope='x')}").status_code == 403
    assert get("/async-salaries", **READ).content == b"got"


def test_decorator_without_parentheses_and_on_a_method_is_a_type_error() -> None:
    decorate: Any = require
    with pytest.raises(TypeError, match="parentheses"):
        decorate(view)
    with pytest.raises(TypeError, match="method_decorator"):
        require("payroll.read")(Salaries.get)(Salaries(), HttpRequest())


def test_request_that_did_not_pass_the_middleware_is_a_runtime_error() -> None:
    for function in (require, current_token):
        with pytest.raises(RuntimeError, match="MIDDLEWARE"):
            function(RequestFactory().get("/read"))


def test_verified_request_needs_no_csrf_token_and_another_one_does() -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/read", headers=READ).content == b"leave.leave-worker"
    assert client.post("/healthz", headers=READ).status_code == 403


class RecordingHandler(AdminEmailHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.setLevel("ERROR")
        self.subjects: list[str] = []

    def send_mail(self, subject: str, *_: Any, **__: Any) -> None:
        self.subjects.append(subject)


def test_unreachable_issuer_sends_no_mail_to_admins() -> None:
    web = FakeIssuer()
    web.unavailable = True
    handler = RecordingHandler()
    request_logger.addHandler(handler)
    try:
        with override_settings(SCOPEWRIGHT={"verifier": new_verifier(web)}, ADMINS=["ann@hr.example"]):
            for answer in (get("/read", **READ), get_async("/read", **READ)):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert handler.subjects == []
        with override_settings(ADMINS=["ann@hr.example"]), pytest.raises(TokenRejected):
            get("/another-token", **READ)
        assert len(handler.subjects) == 1
    finally:
        request_logger.removeHandler(handler)


def test_view_may_catch_a_refusal() -> None:
    answer = get("/tolerant", **READ)
    assert (answer.status_code, answer.content) == (403, b"without")


def test_refusal_of_another_token_is_an_error_of_the_project() -> None:
    for path in ("/another-token", "/tolerant-and-broken"):
        with pytest.raises(TokenRejected, match="malformed"):
            get(path, **READ)


def test_public_path_ignores_a_token() -> None:
    assert get("/healthz", **READ).content == b"None"


@pytest.mark.parametrize("target", ["/read", "/read/Z%C3%BCrich", "/read/7%2F8", "/read/%7Eann"])
def test_proof_is_for_the_public_url(target: str) -> None:
    def sent() -> list[tuple[str, str]]:
        bound = bound_token()
        return [("Authorization", f"DPoP {bound}"), ("DPoP", proof(bound, htu=f"{BASE_URL}/v1{target}"))]

    for base_url in (f"{BASE_URL}/v1", BASE_URL, lambda request: f"https://{request.headers['Host']}"):
        options = {"verifier": new_verifier(), "base_url": base_url}
        host = ("Host", "payroll.hr.example")
        with override_settings(SCOPEWRIGHT=options):
            wsgi = WsgiService(get_wsgi_application(), Record(), script_name="/v1")
            assert wsgi.send(target, [*sent(), host]).status == 200
            asgi = AsgiService(get_asgi_application(), Record(), root_path="/v1")
            assert asgi.send(target, [*sent(), host]).status == 200


def test_responses_to_proofs_have_the_nonce() -> None:
    verifier = new_verifier(nonces=Nonces(b"n" * 32, "payroll"))
    bound = bound_token()
    with override_settings(SCOPEWRIGHT={"verifier": verifier, "base_url": BASE_URL}):

        def get_with_proof(**claims: Any) -> Any:
            return get("/read", authorization=f"DPoP {bound}", dpop=proof(bound, htu=f"{BASE_URL}/read", **claims))

        refused = get_with_proof()
        assert 'error="use_dpop_nonce"' in refused.headers["WWW-Authenticate"]
        accepted = get_with_proof(nonce=refused.headers["DPoP-Nonce"])
        assert (accepted.status_code, accepted.headers["DPoP-Nonce"]) == (200, refused.headers["DPoP-Nonce"])


GOOD: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (None, r"SCOPEWRIGHT must be a dict"),
        ({}, r'SCOPEWRIGHT\["issuer"\] is missing'),
        ({"issuer": ISSUER}, r'SCOPEWRIGHT\["audience"\] is missing'),
        (GOOD | {"isuer": ISSUER}, r'SCOPEWRIGHT\["isuer"\] does not exist; the keys are .*issuer'),
        ({"verifier": IMPORTED, "publc": []}, r'SCOPEWRIGHT\["publc"\] does not exist; the keys are .*public'),
        (GOOD | {"issuer": "http://issuer.example"}, r"SCOPEWRIGHT: .*allow_http"),
        (GOOD | {"audience": 7}, "SCOPEWRIGHT: audience must be a string"),
        (GOOD | {"public": ["healthz"]}, r'SCOPEWRIGHT\["public"\]: .*begins with a slash'),
        (GOOD | {"optional": 7}, r'SCOPEWRIGHT\["optional"\]: '),
        (GOOD | {"scopes": ['"']}, r'SCOPEWRIGHT\["scopes"\]: not a scope'),
        (GOOD | {"base_url": "payroll.hr.example"}, r'SCOPEWRIGHT\["base_url"\]: not an absolute http'),
        (GOOD | {"dpop_required": True}, "SCOPEWRIGHT: the verifier requires DPoP: pass base_url"),
        (GOOD | {"verifier": IMPORTED}, r'SCOPEWRIGHT\["issuer"\] cannot be combined with "verifier"'),
        ("no.such.verifier", "SCOPEWRIGHT: No module named 'no'"),
        (f"{__name__}.view", "the dotted path of a Verifier"),
    ],
)
def test_broken_setting_is_named_when_the_process_starts(setting: Any, message: str) -> None:
    with override_settings(SCOPEWRIGHT=setting), pytest.raises(ImproperlyConfigured, match=message):
        BaseHandler().load_middleware()


def test_error_lists_each_key_once() -> None:
    with override_settings(SCOPEWRIGHT=GOOD | {"isuer": ISSUER}), pytest.raises(ImproperlyConfigured) as caught:
        BaseHandler().load_middleware()
    keys = str(caught.value).partition("the keys are ")[2].split(", ")
    assert len(keys) == len(set(keys))
    assert {"issuer", "scopes", "base_url"} <= set(keys)


@pytest.mark.parametrize("setting", [IMPORTED, f"{__name__}.IMPORTED", {"verifier": f"{__name__}.IMPORTED"}])
def test_verifier_may_be_an_object_or_its_dotted_path(setting: Any) -> None:
    with override_settings(SCOPEWRIGHT=setting):
        assert TokenMiddleware(view).protection.verifier is IMPORTED


def test_verifier_is_made_of_the_settings() -> None:
    with override_settings(SCOPEWRIGHT=GOOD | {"public": "/healthz", "allow_http": ["issuer"], "leeway": 10}):
        verifier = TokenMiddleware(view).protection.verifier
        assert isinstance(verifier, Verifier)
        assert (verifier.policy.issuer, verifier.policy.leeway) == (ISSUER, 10)
