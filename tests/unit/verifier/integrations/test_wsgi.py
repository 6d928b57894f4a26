"""What is particular to WSGI: bodies that are made while they are sent, paths as bytes, and the servers."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any
from wsgiref.validate import validator

import pytest

from scopewright.verifier import Nonces, TokenRejected, Verifier
from scopewright.verifier.wsgi import current_token, protect, require
from tests.unit.verifier.integrations.service import BASE_URL, Record, bearer, new_verifier
from tests.unit.verifier.integrations.transports import WsgiService
from tests.unit.verifier.support import bound_token, proof, token


def service(app: Any, verifier: Verifier | None = None, **options: Any) -> WsgiService:
    transport = {name: options.pop(name) for name in ("raw_uri", "script_name") if name in options}
    return WsgiService(protect(app, verifier or new_verifier(), **options), Record(), **transport)


def answer(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [require(environ, "payroll.read").client_id.encode()]


def test_refusal_after_the_first_part_of_the_body_is_raised_to_the_server() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        require(environ, "payroll.write")

    with pytest.raises(TokenRejected):
        service(app).send("/", bearer(token()))


def test_refusal_of_another_token_is_an_error_of_the_application() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        new_verifier().verify_sync("garbage")

    with pytest.raises(TokenRejected):
        service(app).send("/", bearer(token()))


def test_application_may_catch_a_refusal() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            require(environ, "payroll.write")
        except TokenRejected:
            start_response("200 OK", [])
        return [b"without"]

    assert service(app).send("/", bearer(token())).body == b"without"


def test_body_is_closed_after_a_refusal() -> None:
    class Body:
        closed = False

        def __init__(self, environ: Any) -> None:
            self.environ = environ

        def __iter__(self) -> Iterator[bytes]:
            require(self.environ, "payroll.write")
            yield b"x"

        def close(self) -> None:
            Body.closed = True

    def app(environ: Any, start_response: Any) -> Body:
        start_response("200 OK", [])
        return Body(environ)

    assert service(app).send("/", bearer(token())).status == 403
    assert Body.closed


def test_list_and_file_are_passed_to_the_server_as_they_are() -> None:
    class FileWrapper:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.file)

    def returned(body: Any, environ: Any, start_response: Any) -> Any:
        return body

    for body in ([b"x"], FileWrapper(io.BytesIO(b"x"))):
        app = protect(partial(returned, body), new_verifier(), public=("/**",))
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.file_wrapper": FileWrapper}
        assert app(environ, lambda *_: None) is body


@pytest.mark.parametrize(("sent", "status"), [(token(), 200), (token(scope="x"), 403), ("garbage", 401)])
def test_responses_conform_to_the_interface(sent: str, status: int) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield require(environ, "payroll.read").client_id.encode()

    checked = validator(protect(validator(app), new_verifier()))
    assert WsgiService(checked, Record()).send("/", bearer(sent)).status == status


def test_refusal_of_head_has_no_body() -> None:
    refused = service(answer).send("/", method="HEAD")
    assert (refused.status, refused.body) == (401, b"")


def test_require_accepts_a_request_object() -> None:
    class Request:
        def __init__(self, environ: Any) -> None:
            self.environ = environ

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        assert current_token(Request(environ)) is environ["scopewright.token"]
        return [require(Request(environ), "payroll.read").client_id.encode()]

    assert service(app).send("/", bearer(token())).body == b"leave.leave-worker"


def test_request_that_did_not_pass_protect_is_a_runtime_error() -> None:
    for function in (require, current_token):
        with pytest.raises(RuntimeError, match="protect"):
            function({"REQUEST_METHOD": "GET", "scopewright.token": None})


@pytest.mark.parametrize(
    ("script_name", "target", "base_url"),
    [
        ("", "/salaries/Z%C3%BCrich", BASE_URL),
        ("", "/salaries/%7Eann", BASE_URL),
        ("/v1", "/salaries/7", f"{BASE_URL}/v1"),
        ("/Zürich".encode().decode("latin-1"), "/salaries/7", BASE_URL),
    ],
)
@pytest.mark.parametrize("raw_uri", [True, False])
def test_proof_is_for_the_public_url(script_name: str, target: str, base_url: str, raw_uri: bool) -> None:
    sent = bound_token()
    root = script_name.encode("latin-1").decode().replace("ü", "%C3%BC")
    good = proof(sent, htu=f"{BASE_URL}{root}{target}")
    wsgi = service(answer, base_url=base_url, script_name=script_name, raw_uri=raw_uri)
    assert wsgi.send(f"{target}?x=1", [("Authorization", f"DPoP {sent}"), ("DPoP", good)]).status == 200


@pytest.mark.parametrize(("raw_uri", "status"), [(True, 200), (False, 401)])
def test_encoded_slash_is_part_of_the_url_if_the_server_passes_it(raw_uri: bool, status: int) -> None:
    sent = bound_token()
    good = proof(sent, htu=f"{BASE_URL}/v1/salaries/7%2F8")
    wsgi = service(answer, base_url=BASE_URL, script_name="/v1", raw_uri=raw_uri)
    assert wsgi.send("/salaries/7%2F8", [("Authorization", f"DPoP {sent}"), ("DPoP", good)]).status == status


def test_path_as_sent_may_lack_the_script_name() -> None:
    """A proxy has removed it, and the application knows it from a header (`ProxyFix`)."""
    sent = bound_token()
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/v1",
        "PATH_INFO": "/salaries/7/8",
        "RAW_URI": "/salaries/7%2F8",
        "HTTP_AUTHORIZATION": f"DPoP {sent}",
        "HTTP_DPOP": proof(sent, htu=f"{BASE_URL}/v1/salaries/7%2F8"),
    }
    started: list[str] = []
    protect(answer, new_verifier(), base_url=BASE_URL)(environ, lambda status, *_: started.append(status))
    assert started == ["200 OK"]


@pytest.mark.parametrize(("raw_uri", "status"), [(True, 401), (False, 200)])
def test_encoded_slash_below_a_public_path_needs_a_token_if_it_is_known(raw_uri: bool, status: int) -> None:
    """Without the path as it was sent, pattern and application see the same slash."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    wsgi = service(app, public=("/assets/**",), raw_uri=raw_uri)
    assert wsgi.send("/assets/a%2Fb").status == status


@pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
def test_absolute_form_of_the_target_is_understood(name: str) -> None:
    sent = bound_token()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/salaries/7/8",
        name: "http://payroll.hr.example/salaries/7%2F8?x=1",
        "HTTP_AUTHORIZATION": f"DPoP {sent}",
        "HTTP_DPOP": proof(sent, htu=f"{BASE_URL}/salaries/7%2F8"),
    }
    started: list[str] = []
    protect(answer, new_verifier(), base_url=BASE_URL)(environ, lambda status, *_: started.append(status))
    assert started == ["200 OK"]


def test_base_url_may_be_a_function_of_the_environ() -> None:
    sent = bound_token()
    wsgi = service(answer, base_url=lambda environ: f"https://{environ['HTTP_HOST']}")
    headers = [
        ("Authorization", f"DPoP {sent}"),
        ("DPoP", proof(sent, htu="https://x.example/a")),
        ("Host", "x.example"),
    ]
    assert wsgi.send("/a", headers).status == 200


def test_responses_to_proofs_have_the_nonce() -> None:
    verifier = new_verifier(nonces=Nonces(b"n" * 32, "payroll"))
    wsgi = service(answer, verifier, base_url=BASE_URL)
    sent = bound_token()
    refused = wsgi.send("/", [("Authorization", f"DPoP {sent}"), ("DPoP", proof(sent, htu=f"{BASE_URL}/"))])
    assert 'error="use_dpop_nonce"' in refused.challenge
    (nonce,) = refused.values("DPoP-Nonce")
    again = proof(sent, htu=f"{BASE_URL}/", nonce=nonce)
    accepted = wsgi.send("/", [("Authorization", f"DPoP {sent}"), ("DPoP", again)])
    assert (accepted.status, accepted.values("DPoP-Nonce")) == (200, [nonce])


def test_patterns_are_compared_below_the_script_name() -> None:
    wsgi = service(lambda environ, start: [start("200 OK", []), b"ok"][1:], public=("/healthz",), script_name="/v1")
    assert wsgi.send("/healthz").status == 200
    assert wsgi.send("/v1/healthz").status == 401
