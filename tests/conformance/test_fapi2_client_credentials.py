"""The modules of the OpenID Foundation's FAPI 2.0 Security Profile Final plan that apply to client credentials.

Reimplemented here: an issuer process with `profile: FAPI2`, two clients with different keys, and a service behind
`scopewright.verifier`. The docstring of each test names its module (`fapi2-security-profile-final-…`).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import jwt
import pytest

from scopewright.verifier import Verifier, protect
from tests.conformance.fapi2.client import ALGORITHMS, Client, Keys, refused
from tests.conformance.fapi2.wrong_proofs import CHANGED, changed_proof, malformed_proofs
from tests.dev.test_dev import PAYROLL, Dev

AUDIENCE: Final = "https://payroll-api.payroll.svc"
RESOURCE: Final = "https://payroll.hr.example"


@dataclass
class Plan:
    """Issuer, two clients and a service: what a test plan of the foundation calls its configuration."""

    issuer: str
    clients: tuple[Client, Client]
    service: Any

    async def call(self, token: str, proof: str | None, scheme: str = "DPoP", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"{scheme} {token}", **headers} | ({"DPoP": proof} if proof else {})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.service), base_url=RESOURCE) as http:
            return await http.get("/salaries", headers=sent)


async def salaries(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


def manifest(name: str, key: Keys) -> str:
    jwk = key.jwk | {"kid": "k", "alg": key.algorithm}
    access = [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]
    spec = {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": [jwk]}}, "access": access}
    metadata = {"name": name, "namespace": "leave"}
    return json.dumps(
        {"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": metadata, "spec": spec}
    )


@pytest.fixture(scope="module", params=["PS256", "ES256", "EdDSA"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("fapi2")
    (folder / "config.yaml").write_text("profile: FAPI2\n")
    running = Dev(folder, ["--config", str(folder / "config.yaml")])
    keys = [Keys.make(request.param) for _ in range(4)]
    running.write(
        "payroll.yaml", PAYROLL.replace("to: [{namespace: leave, client: worker}]", "to: [{namespace: leave}]")
    )
    running.write("worker.yaml", manifest("worker", keys[0]))
    running.write("second.yaml", manifest("second", keys[1]))
    running.start()
    clients = [
        Client(running.url, f"leave.{name}", key, holder)
        for name, key, holder in zip(("worker", "second"), keys[:2], keys[2:], strict=True)
    ]
    verifier = Verifier(
        running.url,
        AUDIENCE,
        scopes=["payroll.read"],
        dpop_required=True,
        algorithms=ALGORITHMS,
        dpop_algorithms=ALGORITHMS,
    )
    try:
        yield Plan(running.url, (clients[0], clients[1]), protect(salaries, verifier, base_url=RESOURCE))
    finally:
        running.stop()


def get(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(url).json()
    return answer


async def test_discovery(plan: Plan) -> None:
    """discovery-end-point-verification"""
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
        metadata = get(plan.issuer + path)
        assert metadata["issuer"] == plan.issuer
        assert metadata["response_types_supported"]
        assert metadata["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert set(metadata["token_endpoint_auth_signing_alg_values_supported"]) == set(ALGORITHMS)
        assert set(metadata["dpop_signing_alg_values_supported"]) == set(ALGORITHMS)
        assert "client_credentials" in metadata["grant_types_supported"]
        assert all(value != [] for value in metadata.values())
    keys = get(metadata["jwks_uri"])["keys"]
    assert keys
    for key in keys:
        assert key["alg"] in ALGORITHMS
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()


async def test_happy_flow(plan: Plan) -> None:
    """happy-flow, for both clients; a token is accepted with the proof key of its client only."""
    first, second = plan.clients
    for client in plan.clients:
        response = client.ask()
        body = response.json()
        assert response.status_code == 200, body
        assert response.headers["cache-control"] == "no-store"
        assert body["token_type"] == "DPoP"
        assert body["scope"] == "payroll.read"
        assert "refresh_token" not in body
        token = body["access_token"]
        assert len(token) * 6 >= 128
        assert jwt.get_unverified_header(token)["alg"] in ALGORITHMS
        for accept in ("application/json", "*/*", "text/html, application/json;q=0.9"):
            answer = await plan.call(token, client.proof("GET", f"{RESOURCE}/salaries", token), Accept=accept)
            assert answer.status_code == 200, answer.text
    answer = await plan.call(token, first.proof("GET", f"{RESOURCE}/salaries", token))
    assert refused(answer, "invalid_token"), "the key of the first client with the token of the second"
    assert second.client_id != first.client_id


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP", "dPoP"])
async def test_scheme_is_case_insensitive_at_the_resource(plan: Plan, scheme: str) -> None:
    """access-token-type-header-case-sensitivity"""
    client = plan.clients[0]
    token = client.token()
    assert (await plan.call(token, client.proof("GET", f"{RESOURCE}/salaries", token), scheme)).status_code == 200


async def test_nbf_and_exp_in_a_proof_are_accepted(plan: Plan) -> None:
    """check-dpop-proof-nbf-exp"""
    client, now = plan.clients[0], int(time.time())
    times: dict[str, Any] = {"nbf": now, "exp": now + 60}
    token = client.token(**times)
    assert (await plan.call(token, client.proof("GET", f"{RESOURCE}/salaries", token, **times))).status_code == 200


@pytest.mark.parametrize("seconds", [-10, 10])
async def test_clocks_may_differ_by_ten_seconds(plan: Plan, seconds: int) -> None:
    """ensure-dpopproof-with-iat-10seconds-before-succeeds, ensure-dpopproof-with-iat-10seconds-after-succeeds"""
    client = plan.clients[0]
    token = client.token(iat=int(time.time()) + seconds)
    proof = client.proof("GET", f"{RESOURCE}/salaries", token, iat=int(time.time()) + seconds)
    assert (await plan.call(token, proof)).status_code == 200


async def test_request_without_a_proof_gets_neither_token_nor_access(plan: Plan) -> None:
    """ensure-holder-of-key-required (TLS is tested with the HTTP server)"""
    client = plan.clients[0]
    assert refused(client.ask(bound=False), "invalid_request", "invalid_dpop_proof")
    token = client.token()
    assert refused(await plan.call(token, None), "invalid_token", "invalid_dpop_proof")
    assert refused(await plan.call(token, None, "Bearer"), "invalid_token")


async def test_client_id_of_another_client_is_refused(plan: Plan) -> None:
    """ensure-client-id-in-token-endpoint"""
    first, second = plan.clients
    mine = first.assertion(iss=second.client_id, sub=second.client_id)
    assert refused(second.ask(mine), "invalid_client")
    assert refused(second.ask(first.assertion()), "invalid_client", "invalid_request")


async def test_an_assertion_signed_with_rs256_is_refused(plan: Plan) -> None:
    """ensure-signed-client-assertion-with-RS256-fails: with the RSA key of the client, or with another one."""
    client = plan.clients[0]
    key = client.key if client.key.algorithm == "PS256" else Keys.make("PS256")
    assert refused(client.ask(replace(client, key=key).assertion("RS256")), "invalid_client")


async def test_request_without_an_assertion_gets_no_token(plan: Plan) -> None:
    """ensure-client-assertion-in-token-endpoint; the refusal names the client's method only."""
    response = plan.clients[0].ask("")
    assert refused(response, "invalid_client", "invalid_request")
    assert "private_key_jwt" in response.json()["error_description"]
    assert "www-authenticate" not in response.headers
    secret = plan.clients[0].ask("", client_secret="secret")
    assert refused(secret, "invalid_client")


async def test_assertion_that_expired_five_minutes_ago_is_refused(plan: Plan) -> None:
    """ensure-client-assertion-with-exp-is-5-minutes-in-past-fails"""
    client, now = plan.clients[0], int(time.time())
    assert refused(client.ask(client.assertion(exp=now - 300, iat=now - 360)), "invalid_client")


@pytest.mark.parametrize("audience", ["https://other.example", "{}/token", "{}/", ["{}"], ["{}", "https://x"], None])
async def test_an_assertion_for_another_audience_is_refused(plan: Plan, audience: Any) -> None:
    """ensure-client-assertion-with-wrong-aud-fails, and modules for PAR: its URL, an array"""
    client = plan.clients[0]
    filled = (
        audience.format(plan.issuer)
        if isinstance(audience, str)
        else audience and [a.format(plan.issuer) for a in audience]
    )
    assert refused(client.ask(client.assertion(aud=filled)), "invalid_client")


async def test_an_assertion_without_sub_is_refused(plan: Plan) -> None:
    """ensure-client-assertion-with-no-sub-fails"""
    client = plan.clients[0]
    assert refused(client.ask(client.assertion(sub=None)), "invalid_client")


async def test_nbf_of_an_assertion_may_be_eight_and_not_ninety_seconds_ahead(plan: Plan) -> None:
    """par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted, …-nbf-over-60-seconds-…-fails"""
    client, now = plan.clients[0], int(time.time())
    assert client.ask(client.assertion(nbf=now + 8)).status_code == 200
    assert refused(client.ask(client.assertion(nbf=now + 90)), "invalid_client")


@pytest.mark.parametrize("what", CHANGED)
async def test_wrong_proof_is_refused_at_the_resource(plan: Plan, what: str) -> None:
    """dpop-negative-tests"""
    first, second = plan.clients
    token = first.token()
    answer = await plan.call(token, changed_proof(what, first, second, "GET", f"{RESOURCE}/salaries", token))
    assert refused(answer, "invalid_dpop_proof", "invalid_token"), answer.text
    assert "DPoP" in answer.headers["www-authenticate"]
    assert f'algs="{" ".join(a for a in ALGORITHMS)}"' in answer.headers["www-authenticate"]


async def test_malformed_unsigned_and_used_proofs_are_refused(plan: Plan) -> None:
    """dpop-negative-tests: none, HMAC, RS256, a broken signature, several proofs, a proof that was used"""
    client = plan.clients[0]
    token = client.token()
    url = f"{RESOURCE}/salaries"
    good = client.proof("GET", url, token)
    bad = malformed_proofs(client, good)
    if client.holder.algorithm == "PS256":
        bad.append(client.proof("GET", url, token, header={"alg": "RS256"}))
    for proof in bad:
        assert refused(await plan.call(token, proof), "invalid_dpop_proof", "invalid_token"), proof
    assert (await plan.call(token, good)).status_code == 200
    assert refused(await plan.call(token, good), "invalid_dpop_proof"), "the proof was used"
