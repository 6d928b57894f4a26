"""DPoP in HTTP (RFC 9449 §7.1, §9): requests and responses of the middleware."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scopewright.verifier import Nonces, Verifier, protect, require
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, bound_token, proof, token

PUBLIC_URL = "https://payroll.hr.example"
ALGS = 'algs="ES256 ES384 RS256 PS256 EdDSA Ed25519"'
NONCES = Nonces(b"n" * 32, "payroll")


async def salary(request: Request) -> Response:
    return PlainTextResponse(require(request, "payroll.read").client_id)


async def change(request: Request) -> Response:
    require(request, "payroll.write")
    return PlainTextResponse("changed")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


ROUTES = [
    Route("/salaries/{id:path}", salary, methods=["GET", "POST"]),
    Route("/change", change),
    Route("/500", broken),
]


def service(base_url: Any = PUBLIC_URL, **settings: Any) -> Any:
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock(), **settings)
    return protect(Starlette(routes=ROUTES), verifier, base_url=base_url)


async def ask(app: Any, path: str, *headers: tuple[str, str], method: str = "GET") -> httpx.Response:
    """Send a request as a proxy that terminates TLS: over plain HTTP, with another host."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
        return await client.request(method, path, headers=list(headers))


def dpop(sent: str, proof: str) -> list[tuple[str, str]]:
    return [("Authorization", f"DPoP {sent}"), ("DPoP", proof)]


async def test_proof_must_be_for_the_public_url() -> None:
    sent = bound_token()
    answer = await ask(service(), "/salaries/7?year=2027", *dpop(sent, proof(sent)))
    assert (answer.status_code, answer.text) == (200, "leave.leave-worker")
    assert "dpop-nonce" not in answer.headers
    here = proof(sent, htu="http://10.0.0.7:8000/salaries/7")
    assert (await ask(service(), "/salaries/7", *dpop(sent, here))).json()["error"] == "invalid_dpop_proof"


async def test_forwarded_headers_are_ignored_unless_base_url_reads_them() -> None:
    sent = bound_token()
    forwarded = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("Host", "evil.example")]
    elsewhere = dpop(sent, proof(sent, htu="https://evil.example/salaries/7"))
    assert (await ask(service(), "/salaries/7", *elsewhere, *forwarded)).status_code == 401

    def from_headers(scope: Any) -> str:
        headers = dict(scope["headers"])
        return f"https://{headers[b'x-forwarded-host'].decode()}"

    assert (await ask(service(from_headers), "/salaries/7", *elsewhere, *forwarded)).status_code == 200


@pytest.mark.parametrize(
    ("base_url", "path", "htu"),
    [
        (PUBLIC_URL + "/", "/salaries/7", f"{PUBLIC_URL}/salaries/7"),
        (PUBLIC_URL + "/v1", "/salaries/7", f"{PUBLIC_URL}/v1/salaries/7"),
        (PUBLIC_URL + ":443", "/salaries/a%2Fb", f"{PUBLIC_URL}/salaries/a%2fb"),
        (PUBLIC_URL, "/salaries/%7e", f"{PUBLIC_URL}/salaries/~"),
        (PUBLIC_URL, "/salaries/ä b", f"{PUBLIC_URL}/salaries/%C3%A4%20b"),
    ],
)
async def test_htu_is_compared_with_the_raw_path(base_url: str, path: str, htu: str) -> None:
    sent = bound_token()
    assert (await ask(service(base_url), path, *dpop(sent, proof(sent, htu=htu)))).status_code == 200
    other = htu.replace("%2f", "/") if "%2f" in htu else htu + "x"
    assert (await ask(service(base_url), path, *dpop(sent, proof(sent, htu=other)))).status_code == 401


async def test_server_without_raw_path_is_supported() -> None:
    sent, app = bound_token(), service()

    async def without(scope: Any, receive: Any, send: Any) -> None:
        await app({name: value for name, value in scope.items() if name != "raw_path"}, receive, send)

    made = proof(sent, htu=f"{PUBLIC_URL}/salaries/%C3%A4")
    assert (await ask(without, "/salaries/ä", *dpop(sent, made))).status_code == 200


async def test_htm_is_compared_with_the_method_of_the_request() -> None:
    sent = bound_token()
    assert (await ask(service(), "/salaries/7", *dpop(sent, proof(sent)), method="POST")).status_code == 401
    posted = dpop(sent, proof(sent, htm="POST"))
    assert (await ask(service(), "/salaries/7", *posted, method="POST")).status_code == 200


async def test_challenges_offer_both_schemes_if_both_are_accepted() -> None:
    answer = await ask(service(), "/salaries/7")
    assert answer.headers.get_list("www-authenticate") == ["Bearer", f"DPoP {ALGS}"]
    assert (await ask(service(), "/salaries/7", ("Authorization", f"Bearer {token()}"))).status_code == 200


async def test_dpop_is_neither_accepted_nor_offered_without_base_url() -> None:
    sent = bound_token()
    for headers in (dpop(sent, proof(sent)), []):
        answer = await ask(service(None), "/salaries/7", *headers)
        assert (answer.status_code, answer.headers.get_list("www-authenticate")) == (401, ["Bearer"])


async def test_bound_token_sent_as_bearer_is_refused_with_a_dpop_challenge() -> None:
    sent = bound_token()
    for headers in ([], [("DPoP", proof(sent))]):
        answer = await ask(service(), "/salaries/7", ("Authorization", f"Bearer {sent}"), *headers)
        bearer, other = answer.headers.get_list("www-authenticate")
        assert (answer.status_code, other) == (401, f"DPoP {ALGS}")
        assert bearer.startswith('Bearer error="invalid_token"')


async def test_bearer_is_neither_accepted_nor_offered_if_dpop_is_required() -> None:
    app, sent = service(dpop_required=True), bound_token()
    assert (await ask(app, "/salaries/7")).headers.get_list("www-authenticate") == [f"DPoP {ALGS}"]
    for plain in (token(), sent):
        answer = await ask(app, "/salaries/7", ("Authorization", f"Bearer {plain}"))
        (challenge,) = answer.headers.get_list("www-authenticate")
        assert challenge.startswith('DPoP error="invalid_token"')
        assert challenge.endswith(ALGS)
    assert (await ask(app, "/salaries/7", *dpop(sent, proof(sent)))).status_code == 200


def test_dpop_cannot_be_required_without_a_base_url() -> None:
    with pytest.raises(ValueError, match="pass base_url"):
        service(None, dpop_required=True)
    with pytest.raises(ValueError, match="URL"):
        service("payroll.hr.example")


async def test_missing_malformed_and_repeated_proofs_are_invalid_dpop_proof() -> None:
    sent = bound_token()
    for headers in ([], [("DPoP", "x")], [("DPoP", proof(sent)), ("DPoP", proof(sent))]):
        answer = await ask(service(), "/salaries/7", ("Authorization", f"DPoP {sent}"), *headers)
        used, other = answer.headers.get_list("www-authenticate")
        assert (answer.status_code, answer.json()["error"], used) == (401, "invalid_dpop_proof", "Bearer")
        assert other.startswith('DPoP error="invalid_dpop_proof"')
        assert sent not in answer.text + str(answer.headers)


async def test_error_of_a_token_is_in_the_challenge_of_its_scheme() -> None:
    for sent in (bound_token(exp=1), token()):
        answer = await ask(service(), "/salaries/7", *dpop(sent, proof(sent)))
        assert any(c.startswith('DPoP error="invalid_token"') for c in answer.headers.get_list("www-authenticate"))
    sent = bound_token()
    answer = await ask(service(), "/change", *dpop(sent, proof(sent, htu=f"{PUBLIC_URL}/change")))
    (challenge,) = answer.headers.get_list("www-authenticate")
    assert answer.status_code == 403
    assert challenge.startswith('DPoP error="insufficient_scope"')


async def test_two_authorization_headers_are_refused() -> None:
    sent = bound_token()
    answer = await ask(service(), "/salaries/7", *dpop(sent, proof(sent)), ("Authorization", f"Bearer {token()}"))
    assert answer.status_code == 400


async def test_nonce_is_required_and_every_response_has_the_next() -> None:
    app, sent = service(nonces=NONCES), bound_token()
    answer = await ask(app, "/salaries/7", *dpop(sent, proof(sent)))
    assert (answer.status_code, answer.json()["error"]) == (401, "use_dpop_nonce")
    assert any(c.startswith('DPoP error="use_dpop_nonce"') for c in answer.headers.get_list("www-authenticate"))
    nonce = answer.headers["dpop-nonce"]
    for path, status in {"/salaries/7": 200, "/change": 403, "/500": 500, "/nothing": 404}.items():
        answer = await ask(app, path, *dpop(sent, proof(sent, htu=f"{PUBLIC_URL}{path}", nonce=nonce)))
        assert (answer.status_code, answer.headers.get_list("dpop-nonce")) == (status, [nonce])
    plain = await ask(app, "/salaries/7", ("Authorization", f"Bearer {token()}"))
    assert "dpop-nonce" not in plain.headers


async def test_websocket_needs_a_proof_for_its_handshake() -> None:
    sent, got = bound_token(), []

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        got.append(scope["scopewright.token"].client_id)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        got.append(message["type"])

    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    guarded = protect(app, verifier, base_url=PUBLIC_URL)
    headers = [(name.lower().encode(), value.encode()) for name, value in dpop(sent, proof(sent))]
    scope = {"type": "websocket", "path": "/salaries/7", "raw_path": b"/salaries/7", "headers": headers}
    await guarded(scope, receive, send)
    await guarded(scope, receive, send)
    assert got == ["leave.leave-worker", "websocket.close"], "the second proof is a replay"


@pytest.mark.parametrize("path", ["/salaries/7", "/change"])
async def test_challenges_list_the_proof_algorithms_of_the_verifier(path: str) -> None:
    """Both a refusal of the middleware (401) and one that `require` raises (403)."""
    sent = bound_token()
    made = proof(sent, htu=f"{PUBLIC_URL}/change")
    answer = await ask(service(dpop_algorithms=("ES256", "PS256")), path, *dpop(sent, made))
    assert answer.status_code == (403 if path == "/change" else 401)
    assert 'algs="ES256 PS256"' in answer.headers["www-authenticate"]
