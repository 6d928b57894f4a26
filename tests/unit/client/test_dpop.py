"""Tokens bound to a key of this process (RFC 9449): proofs and nonces."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.client import ClientCredentials, TokenError
from scopewright.client.dpop import Prover
from scopewright.verifier.proof import DpopProof, check_proof
from tests.unit.client.support import TOKEN_ENDPOINT, Api, Endpoint, FakeClock, Mount, busy, call, call_async, refused

ORIGIN = "https://payroll.example"


def checked_proof(request: httpx.Request, clock: FakeClock, token: str | None = None) -> DpopProof:
    """The proof of a request, checked as a service checks it."""
    return check_proof(
        request.headers.get_list("dpop"),
        method=request.method, url=str(request.url), now=clock.now(), leeway=0.0, token=token,
    )  # fmt: skip


class Issuer(Endpoint):
    """A token endpoint that issues bound tokens, and requires `nonce` in proofs if it is set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.nonce: str | None = None
        self.type = "DPoP"
        self.proofs: list[DpopProof] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        proof = checked_proof(request, self.clock)
        self.proofs.append(proof)
        headers = {"dpop-nonce": self.nonce} if self.nonce else {}
        if self.answers:
            return super().__call__(request)
        if proof.nonce != self.nonce:
            self.requests.append(request)
            body = {"error": "use_dpop_nonce", "error_description": "with a nonce"}
            return httpx.Response(400, headers=headers, json=body)
        answer = super().__call__(request)
        return httpx.Response(200, headers=headers, json=answer.json() | {"token_type": self.type})


class BoundApi(Api):
    """An API that accepts bound tokens, and requires `nonce` in proofs if it is set."""

    def __init__(self, clock: FakeClock, good: set[str] | None = None) -> None:
        super().__init__(good)
        self.clock = clock
        self.nonce: str | None = None
        self.proofs: list[DpopProof] = []
        self.silent = False

    def answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        scheme, _, token = request.headers["authorization"].partition(" ")
        assert scheme == "DPoP"
        proof = checked_proof(request, self.clock, token)
        self.proofs.append(proof)
        self.bodies.append(body)
        self.sent.append(token)
        headers = {"dpop-nonce": self.nonce} if self.nonce and not self.silent else {}
        if self.nonce is not None and proof.nonce != self.nonce:
            challenge = 'DPoP error="use_dpop_nonce", algs="ES256"'
            return httpx.Response(401, headers=headers | {"www-authenticate": challenge})
        if self.good is not None and token not in self.good:
            return httpx.Response(401, headers=headers | {"www-authenticate": 'DPoP error="invalid_token"'})
        return httpx.Response(200, headers=headers, text="salaries")


@pytest.fixture
def issuer(clock: FakeClock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def api(clock: FakeClock) -> BoundApi:
    return BoundApi(clock)


@pytest.fixture
def auth(mount: Mount, issuer: Issuer, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, dpop=True, http=issuer.client(), clock=clock, jitter=lambda: 0.0)


def test_token_request_and_api_requests_have_proofs_of_one_key(
    auth: ClientCredentials, issuer: Issuer, api: BoundApi
) -> None:
    with call(api, auth) as client:
        assert client.get("/salaries/7?year=2027").text == "salaries"
        assert client.post("/salaries", json={"pay": 1}).text == "salaries"
    (first,) = issuer.proofs
    assert {proof.jkt for proof in api.proofs} == {first.jkt}
    assert len({proof.jti for proof in (first, *api.proofs)}) == 3
    assert api.sent == ["token-1"] * 2


async def test_each_request_of_a_task_has_its_own_proof(auth: ClientCredentials, issuer: Issuer, api: BoundApi) -> None:
    async with call_async(api, auth) as client:
        await asyncio.gather(*(client.get("/salaries") for _ in range(20)))
    assert len({proof.jti for proof in api.proofs}) == 20
    assert len(issuer.proofs) == 1


def test_proof_key_is_generated_unless_one_is_passed(mount: Mount, issuer: Issuer, clock: FakeClock) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for dpop in (True, True, key, key):
        ClientCredentials(mount.path, dpop=dpop, http=issuer.client(), clock=clock).token_sync()
    a, b, c, d = [proof.jkt for proof in issuer.proofs]
    assert len({a, b, c}) == 3
    assert c == d


def test_proof_key_of_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        Prover(ec.generate_private_key(ec.SECP384R1()))


def test_no_proof_is_sent_without_dpop(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    plain = Api()
    auth = ClientCredentials(mount.path, http=endpoint.client(), clock=clock)

    def seen(request: httpx.Request) -> httpx.Response:
        assert "dpop" not in request.headers
        return plain(request)

    with httpx.Client(transport=httpx.MockTransport(seen), auth=auth) as client:
        client.get(f"{ORIGIN}/salaries")
    assert "dpop" not in endpoint.requests[0].headers
    assert plain.sent == ["Bearer token-1"]


# Nonces


def test_nonce_of_the_issuer_is_used_and_kept(auth: ClientCredentials, issuer: Issuer, clock: FakeClock) -> None:
    issuer.nonce = "one"
    assert auth.token_sync().value == "token-2"
    assert [proof.nonce for proof in issuer.proofs] == [None, "one"]
    clock.instant += 596
    auth.token_sync()
    issuer.nonce = "two"
    clock.instant += 596
    auth.token_sync()
    assert [proof.nonce for proof in issuer.proofs][2:] == ["one", "one", "two"]
    assert clock.waits == []


def test_token_request_is_repeated_at_most_twice_for_a_nonce(auth: ClientCredentials, issuer: Issuer) -> None:
    issuer.answers = [
        httpx.Response(400, headers={"dpop-nonce": str(n)}, json={"error": "use_dpop_nonce"}) for n in range(9)
    ]
    with pytest.raises(TokenError) as caught:
        auth.token_sync()
    assert (caught.value.error, len(issuer.requests)) == ("use_dpop_nonce", 3)


@pytest.mark.parametrize("headers", [{}, {"dpop-nonce": ""}, {"dpop-nonce": "a b"}, {"dpop-nonce": "x" * 257}])
def test_malformed_nonce_is_ignored(auth: ClientCredentials, issuer: Issuer, headers: dict[str, str]) -> None:
    issuer.answers = [httpx.Response(400, headers=headers, json={"error": "use_dpop_nonce"})]
    with pytest.raises(TokenError):
        auth.token_sync()
    assert len(issuer.requests) == 1


def test_nonce_and_retry_after_of_a_busy_issuer_are_both_obeyed(
    auth: ClientCredentials, issuer: Issuer, clock: FakeClock
) -> None:
    issuer.nonce = "one"
    issuer.answers = [busy("1")]
    assert auth.token_sync().value == "token-3"
    assert clock.waits == [1.0]


def test_nonce_of_the_api_is_used_and_kept(auth: ClientCredentials, api: BoundApi) -> None:
    api.nonce = "one"
    with call(api, auth) as client:
        assert client.post("/salaries", json={"pay": 1}).status_code == 200
        assert client.get("/salaries").status_code == 200
        api.nonce = "two"
        assert client.get("/salaries").status_code == 200
    assert [proof.nonce for proof in api.proofs] == [None, "one", "one", "one", "two"]
    assert api.bodies[:2] == [b'{"pay":1}'] * 2
    assert set(api.sent) == {"token-1"}


async def test_nonce_of_the_api_is_used_by_async_requests(auth: ClientCredentials, api: BoundApi) -> None:
    api.nonce = "one"
    async with call_async(api, auth) as client:
        answers = await asyncio.gather(*(client.get("/salaries") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}


def test_refusal_of_an_api_without_a_nonce_is_not_retried(auth: ClientCredentials, api: BoundApi) -> None:
    api.nonce, api.silent = "one", True
    with call(api, auth) as client:
        assert client.get("/salaries").status_code == 401
    assert len(api.proofs) == 1


def test_nonce_is_sent_only_to_its_origin(auth: ClientCredentials, issuer: Issuer, clock: FakeClock) -> None:
    issuer.nonce = "of-the-issuer"
    one, other = BoundApi(clock), BoundApi(clock)
    one.nonce = "of-one"
    with call(one, auth) as first, call(other, auth) as second:
        assert first.get("/salaries").status_code == 200
        assert second.get("https://leave.example/requests").status_code == 200
        assert second.get(f"{ORIGIN}:8443/salaries").status_code == 200
        assert second.get(f"{ORIGIN}:443/salaries").status_code == 200
    assert [proof.nonce for proof in other.proofs] == [None, None, "of-one"]


def test_nonces_of_at_most_a_hundred_origins_are_kept() -> None:
    prover = Prover()
    for number in range(250):
        assert prover.keep_nonce(httpx.URL(f"https://{number}.example/"), "x")
    assert len(prover._nonces) == 100


def test_request_with_a_streamed_body_is_not_repeated_and_the_next_one_has_the_nonce(
    auth: ClientCredentials, clock: FakeClock
) -> None:
    api = BoundApi(clock)
    api.nonce = "one"

    class Streaming(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.SyncByteStream)
            return api.answer(request, b"".join(request.stream))

    def body() -> Iterator[bytes]:
        yield b"x"

    with httpx.Client(transport=Streaming(), auth=auth, base_url=ORIGIN) as client:
        assert client.post("/salaries", content=body()).status_code == 401
        assert client.post("/salaries", content=body()).status_code == 200


# Tokens


def test_refused_bound_token_is_replaced_with_a_new_proof(
    auth: ClientCredentials, issuer: Issuer, clock: FakeClock
) -> None:
    api = BoundApi(clock, good={"token-2"})
    api.nonce = "one"
    with call(api, auth) as client:
        assert client.get("/salaries").status_code == 200
    assert api.sent == ["token-1", "token-1", "token-2"]
    assert len({proof.jti for proof in api.proofs}) == 3


async def test_refused_bound_token_is_replaced_in_async_requests(auth: ClientCredentials, clock: FakeClock) -> None:
    api = BoundApi(clock, good={"token-2"})
    async with call_async(api, auth) as client:
        assert (await client.get("/salaries")).status_code == 200


def test_requests_on_behalf_of_a_caller_have_proofs_of_the_same_key(
    auth: ClientCredentials, issuer: Issuer, api: BoundApi
) -> None:
    issuer.nonce = "one"
    with call(api, auth) as client:
        client.get("/salaries")
        client.get("/salaries", auth=auth.on_behalf_of("the-callers-token"))
    assert len({proof.jkt for proof in (*issuer.proofs, *api.proofs)}) == 1
    assert [proof.nonce for proof in issuer.proofs] == [None, "one", "one"]


def test_bearer_token_in_response_to_a_proof_is_refused(auth: ClientCredentials, issuer: Issuer) -> None:
    issuer.type = "Bearer"
    with pytest.raises(TokenError) as caught:
        auth.token_sync()
    assert caught.value.error == "invalid_response"
    assert "token_type other than DPoP" in caught.value.description


@pytest.mark.parametrize("error", ["invalid_dpop_proof", "use_dpop_nonce"])
def test_error_for_a_refused_proof_mentions_the_clocks(auth: ClientCredentials, issuer: Issuer, error: str) -> None:
    issuer.answers = [refused(error)]
    with pytest.raises(TokenError, match="clocks"):
        auth.token_sync()


def test_no_repr_contains_the_proof_key(auth: ClientCredentials) -> None:
    prover = Prover()
    assert "d" not in prover._header["jwk"]
    for shown in (repr(auth), repr(prover)):
        assert "PrivateKey" not in shown


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        (f"{ORIGIN}/a?b=c#d", f"{ORIGIN}/a"),
        ("https://Payroll.Example:443", f"{ORIGIN}/"),
        (f"{ORIGIN}:8443/ä b", f"{ORIGIN}:8443/%C3%A4%20b"),
        (TOKEN_ENDPOINT, TOKEN_ENDPOINT),
    ],
)
def test_htu_has_neither_query_nor_fragment(url: str, htu: str, clock: FakeClock) -> None:
    claims: dict[str, Any] = jwt.decode(
        Prover().proof("GET", httpx.URL(url), clock.now()), options={"verify_signature": False}
    )
    assert claims["htu"] == htu
    assert claims.keys() == {"jti", "htm", "htu", "iat"}
