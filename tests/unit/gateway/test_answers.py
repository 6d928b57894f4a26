"""Answers: the identity of an allowed request, or a refusal that each proxy understands."""

import json

import pytest

from scopewright.gateway.identity_headers import DEFAULT_NAMES
from scopewright.gateway.profiles import PROFILES
from scopewright.http.encode import encode
from scopewright.http.messages import Answer
from scopewright.verifier import Nonces
from scopewright.verifier.resource_metadata import ResourceMetadata
from tests.unit.gateway.support import MemoryGateway, bearer, headers_of, question
from tests.unit.verifier.support import AUDIENCE, ISSUER, bound_token, proof, token

EVERY_PROFILE = pytest.mark.parametrize("profile", sorted(PROFILES))
NAMES = {name.lower() for name in DEFAULT_NAMES.values()}


def body_of(answer: Answer) -> dict[str, str]:
    decoded = json.loads(answer.body)
    assert isinstance(decoded, dict)
    return decoded


@EVERY_PROFILE
async def test_allowed_request_has_200_with_every_identity_header(profile: str) -> None:
    gateway = MemoryGateway()
    with_token = await gateway.answer(question(profile, sent=[bearer(token())]))
    without = [await gateway.answer(question(profile, target)) for target in ("/healthz", "/hello")]
    for allowed in (with_token, *without):
        headers = headers_of(allowed)
        assert allowed.status == 200
        assert headers.keys() == NAMES | {"cache-control"}
        assert headers["cache-control"] == ["no-store"]
    assert headers_of(with_token)["x-auth-client"] == ["leave.leave-worker"]
    assert all(headers_of(each)["x-auth-client"] == [""] for each in without)


@EVERY_PROFILE
async def test_missing_token_has_401_with_a_challenge_for_each_scheme(profile: str) -> None:
    refused = await MemoryGateway().answer(question(profile))
    assert refused.status == 401
    bearer_challenge, dpop_challenge = headers_of(refused)["www-authenticate"]
    assert bearer_challenge == "Bearer"
    assert dpop_challenge.startswith('DPoP algs="ES256')


@EVERY_PROFILE
async def test_insufficient_scope_has_403_with_the_scope(profile: str) -> None:
    refused = await MemoryGateway().answer(question(profile, sent=[bearer(token(scope="other"))]))
    (challenge,) = headers_of(refused)["www-authenticate"]
    assert refused.status == 403
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="payroll.read"' in challenge
    assert body_of(refused) == {
        "error": "insufficient_scope",
        "error_description": body_of(refused)["error_description"],
        "scope": "payroll.read",
    }


@EVERY_PROFILE
async def test_bad_request_has_a_status_that_the_proxy_understands(profile: str) -> None:
    """nginx answers 500 if auth_request gets anything but 2xx, 401 and 403."""
    gateway = MemoryGateway()
    status = 403 if profile in {"nginx", "ingress-nginx"} else 400
    for asked in (
        question(profile, "/salaries//7", sent=[bearer(token())]),
        question(profile, sent=[bearer(token()), bearer(token())]),
        question(profile, hostname="10.0.0.1"),
    ):
        refused = await gateway.answer(asked)
        assert refused.status == status
        assert body_of(refused)["error"] == "invalid_request"
        assert all('error="invalid_request"' in value for value in headers_of(refused)["www-authenticate"])


@EVERY_PROFILE
async def test_unknown_hostname_has_403_without_an_error_code(profile: str) -> None:
    refused = await MemoryGateway().answer(question(profile, hostname="other.example"))
    assert refused.status == 403
    assert headers_of(refused)["www-authenticate"] == ["Bearer"]
    assert body_of(refused).keys() == {"error_description"}


@EVERY_PROFILE
async def test_missing_keys_have_503_with_retry_after(profile: str) -> None:
    gateway = MemoryGateway()
    gateway.web.unavailable = True
    unavailable = await gateway.answer(question(profile, sent=[bearer(token())]))
    headers = headers_of(unavailable)
    assert unavailable.status == 503
    assert int(headers["retry-after"][0]) >= 1
    assert "www-authenticate" not in headers
    assert body_of(unavailable)["error"] == "temporarily_unavailable"


@EVERY_PROFILE
async def test_refusals_have_no_identity_and_are_not_stored(profile: str) -> None:
    gateway = MemoryGateway()
    sent = token(scope="other")
    for asked in (question(profile, sent=[bearer(sent)]), question(profile), question(profile, "//")):
        refused = await gateway.answer(asked)
        headers = headers_of(refused)
        assert not headers.keys() & NAMES
        assert headers["cache-control"] == ["no-store"]
        assert headers["content-type"] == ["application/json"]
        assert sent not in str(headers) + refused.body.decode()


async def test_nonce_is_in_the_answer_to_a_request_with_a_proof() -> None:
    gateway, sent = MemoryGateway(nonces=Nonces(b"k" * 32, "x")), bound_token()
    dpop = [("Authorization", f"DPoP {sent}"), ("DPoP", proof(sent))]
    refused = await gateway.answer(question(sent=dpop))
    assert refused.status == 401
    assert headers_of(refused)["dpop-nonce"] == [gateway.verifier.nonce()]
    dpop = [("Authorization", f"DPoP {sent}"), ("DPoP", proof(sent, nonce=gateway.verifier.nonce()))]
    allowed = await gateway.answer(question(sent=dpop))
    assert allowed.status == 200
    assert headers_of(allowed)["dpop-nonce"] == [gateway.verifier.nonce()]


async def test_api_that_requires_dpop_offers_no_bearer() -> None:
    gateway = MemoryGateway()
    gateway.verifier = gateway.verifier.for_audience("https://payroll.hr.example", dpop_required=True)
    gateway.serve(gateway.api())
    (challenge,) = headers_of(await gateway.answer(question()))["www-authenticate"]
    assert challenge.startswith("DPoP ")


@EVERY_PROFILE
async def test_challenges_name_the_protected_resource_metadata(profile: str) -> None:
    gateway = MemoryGateway()
    gateway.serve(gateway.api(metadata=ResourceMetadata.of(AUDIENCE, ISSUER)))
    url = 'resource_metadata="https://payroll.hr.example/.well-known/oauth-protected-resource"'
    for sent in ([], [bearer(token(scope="other"))]):
        challenges = headers_of(await gateway.answer(question(profile, sent=sent)))["www-authenticate"]
        assert challenges
        assert all(url in challenge for challenge in challenges)


async def test_401_of_an_api_with_metadata_names_the_scopes_of_the_rule() -> None:
    """A client that finds the issuer by the metadata asks for them, and not for all scopes of the API."""
    gateway = MemoryGateway()
    gateway.serve(gateway.api(metadata=ResourceMetadata.of(AUDIENCE, ISSUER, scopes=["payroll.read", "payroll.write"])))
    challenges = headers_of(await gateway.answer(question()))["www-authenticate"]
    assert 'scope="payroll.read"' in challenges[0]
    gateway.serve(gateway.api())
    assert "scope=" not in headers_of(await gateway.answer(question()))["www-authenticate"][0]


async def test_answer_is_one_http_response() -> None:
    """Values of a token cannot add a header."""
    gateway = MemoryGateway()
    allowed = await gateway.answer(question(sent=[bearer(token(sub="a\r\nX-Evil: 1\r\n\r\n"))]))
    data = encode(allowed, b"", b"", head_only=False)
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b""
    assert head.count(b"\r\n") == len(allowed.headers) + 1  # and content-length


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - {"envoy"}))
async def test_method_of_the_proxys_own_request_has_no_meaning(profile: str) -> None:
    """Traefik and others may keep the method of the caller. The server sends no body in answer to HEAD."""
    gateway = MemoryGateway()
    asked = question(profile, sent=[bearer(token())])
    for method in (b"HEAD", b"POST", b"OPTIONS"):
        assert (await gateway.answer(asked.replace(b"GET", method, 1))).status == 200
        assert (await gateway.answer(question(profile).replace(b"GET", method, 1))).status == 401
