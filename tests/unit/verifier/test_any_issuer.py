"""`AnyIssuer`: the `iss` of a token chooses a verifier, and nothing else."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scopewright.verifier import (
    AnyIssuer,
    IssuerMismatch,
    KeysUnavailable,
    Nonces,
    Reason,
    Token,
    TokenRejected,
    TokenVerifier,
    Verifier,
    any_issuer,
    protect,
)
from tests.cases.attacks import Attack, Forge, attacks
from tests.harness.clock import Clock
from tests.unit.verifier.support import (
    AUDIENCE,
    HOLDER,
    ISSUER,
    KEY,
    NOW,
    OTHER,
    URL,
    FakeIssuer,
    bound_token,
    claims,
    proof,
    raw_token,
    token,
)

IDP = "https://idp.example"
JWKS = "https://issuer.example/tenant/jwks.json"
Verify = Callable[[TokenVerifier, str], Token]


def verify_async(verifier: TokenVerifier, sent: str, **arguments: Any) -> Token:
    return asyncio.run(verifier.verify(sent, **arguments))


@pytest.fixture(params=[verify_async, AnyIssuer.verify_sync], ids=["verify", "verify_sync"])
def verify(request: pytest.FixtureRequest) -> Verify:
    found: Verify = request.param
    return found


def of_scopewright(web: FakeIssuer | None = None, **options: Any) -> Verifier:
    web = web or FakeIssuer(KEY)
    return Verifier(ISSUER, AUDIENCE, http=web.client(), **({"clock": Clock()} | options))


def of_idp(web: FakeIssuer | None = None, **options: Any) -> Verifier:
    """A verifier of an issuer with the key OTHER."""
    web = web or FakeIssuer(OTHER)
    return Verifier(IDP, AUDIENCE, jwks_uri=JWKS, http=web.client(), clock=Clock(), **options)


def refusal_of(verifier: TokenVerifier, sent: str, **arguments: Any) -> TokenRejected:
    with pytest.raises(TokenRejected) as caught:
        verifier.verify_sync(sent, **arguments)
    return caught.value


def test_token_of_each_issuer_is_verified_with_the_keys_of_that_issuer(verify: Verify) -> None:
    both = AnyIssuer(of_scopewright(), of_idp())
    for _ in range(2):  # the second time from the caches
        assert verify(both, token()).issuer == ISSUER
        assert verify(both, token(OTHER, iss=IDP)).issuer == IDP


@pytest.mark.parametrize("attack", attacks(Forge(KEY, claims(), int(NOW))), ids=lambda attack: attack.name)
def test_every_attack_is_refused_for_its_reason(attack: Attack) -> None:
    assert refusal_of(AnyIssuer(of_idp(), of_scopewright()), attack.token).reason is attack.reason


def test_token_with_the_issuer_of_one_and_the_key_of_the_other_is_refused() -> None:
    both = AnyIssuer(of_scopewright(), of_idp())
    assert refusal_of(both, token(OTHER, {"kid": "key-1"})).reason is Reason.SIGNATURE
    assert refusal_of(both, token(OTHER)).reason is Reason.UNKNOWN_KEY
    assert refusal_of(both, token(KEY, {"kid": "key-2"}, iss=IDP)).reason is Reason.SIGNATURE


@pytest.mark.parametrize(
    "issuer", [f"{IDP}/", "https://IDP.example", "https://idp.example:443", "idp.example", "", None, 5, [IDP], {}]
)
def test_unknown_issuer_is_refused_without_a_fetch(issuer: Any) -> None:
    webs = FakeIssuer(KEY), FakeIssuer(OTHER)
    refusal = refusal_of(AnyIssuer(of_scopewright(webs[0]), of_idp(webs[1])), token(OTHER, iss=issuer))
    assert refusal.reason is Reason.ISSUER
    assert refusal.description == f"The token is from another issuer; ask {ISSUER} or {IDP} for one"
    assert [web.requests for web in webs] == [[], []]


@pytest.mark.parametrize(
    "sent",
    [
        "opaque",
        "a.b",
        "..",
        "a.b.c.d.e",
        raw_token('{"alg":"ES256","alg":"none"}', json.dumps({"iss": ISSUER})),
        raw_token('{"alg":"ES256"}', f'{{"iss":"{ISSUER}","iss":"{IDP}"}}'),
        raw_token('{"alg":"ES256"}', "[" * 5000),
    ],
)
def test_token_that_cannot_be_parsed_is_malformed(sent: str) -> None:
    assert refusal_of(AnyIssuer(of_scopewright(), of_idp()), sent).reason is Reason.MALFORMED


def test_token_is_not_parsed_beyond_the_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    both = AnyIssuer(of_scopewright(max_token_bytes=1000), of_idp(max_token_bytes=2000))
    assert refusal_of(both, "x" * 2001).reason is Reason.TOO_LARGE
    assert refusal_of(both, token(junk="x" * 1500)).reason is Reason.TOO_LARGE, "the limit of its own issuer"
    assert both.verify_sync(token(OTHER, iss=IDP, junk="x" * 800)).issuer == IDP


def test_cached_token_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    both = AnyIssuer(of_scopewright(), of_idp())
    sent = token(OTHER, iss=IDP)
    assert both.cached(sent) is None
    verified = both.verify_sync(sent)
    monkeypatch.delattr(any_issuer, "parse")
    assert both.cached(sent) is verified
    assert both.verify_sync(sent) is verified
    with pytest.raises(TokenRejected):
        both.cached(sent, scopes="payroll.write")


def test_cached_token_of_an_issuer_is_refused_after_its_end() -> None:
    clock = Clock()
    both = AnyIssuer(of_scopewright(clock=clock), of_idp())
    sent = token()
    assert both.verify_sync(sent)
    clock.set(NOW + 700)
    assert both.cached(sent) is None
    assert refusal_of(both, sent).reason is Reason.EXPIRED


def test_two_verifiers_of_one_issuer_are_refused() -> None:
    with pytest.raises(ValueError, match="pass several audiences to one instead"):
        AnyIssuer(of_scopewright(), of_scopewright().for_audience("https://leave.hr.example"))
    with pytest.raises(ValueError, match="at least one"):
        AnyIssuer()


def test_proof_is_checked_by_the_verifier_of_the_issuer(verify: Verify) -> None:
    both = AnyIssuer(of_scopewright(), of_idp(dpop_required=True))
    sent = bound_token()
    used = {"proof": proof(sent, HOLDER), "method": "GET", "url": URL}
    assert both.verify_sync(sent, **used).jkt
    assert refusal_of(both, sent, **used).reason is Reason.PROOF
    unbound = refusal_of(both, token(OTHER, iss=IDP))
    assert (unbound.reason, unbound.scheme) == (Reason.PROOF_NEEDED, "DPoP")
    assert refusal_of(both, token(iss="https://evil.example"), **used).scheme == "DPoP"


def test_dpop_is_required_if_all_verifiers_require_it() -> None:
    assert not AnyIssuer(of_scopewright(), of_idp(dpop_required=True)).dpop_required
    assert AnyIssuer(of_scopewright(dpop_required=True), of_idp(dpop_required=True)).dpop_required


def test_algorithms_of_proofs_are_those_of_all_verifiers() -> None:
    both = AnyIssuer(of_scopewright(dpop_algorithms=["RS256"]), of_idp(dpop_algorithms=["PS256", "ES256"]))
    assert both.dpop_algorithms == ("ES256", "RS256", "PS256")


def test_nonce_is_that_of_the_verifiers_with_nonces() -> None:
    nonces = Nonces(b"k" * 32, "api")
    assert AnyIssuer(of_scopewright(), of_idp()).nonce() is None
    assert AnyIssuer(of_scopewright(), of_idp(nonces=nonces)).nonce() == nonces.current(NOW)
    assert AnyIssuer(of_scopewright(nonces=nonces), of_idp(nonces=nonces)).nonce() == nonces.current(NOW)
    with pytest.raises(ValueError, match="the same Nonces"):
        AnyIssuer(of_scopewright(nonces=nonces), of_idp(nonces=Nonces(b"k" * 32, "api")))


def ready_async(verifier: TokenVerifier) -> None:
    asyncio.run(verifier.ready(1))


def ready_sync(verifier: TokenVerifier) -> None:
    verifier.ready_sync(1)


@pytest.fixture(params=[ready_async, ready_sync])
def ready(request: pytest.FixtureRequest) -> Callable[[TokenVerifier], None]:
    found: Callable[[TokenVerifier], None] = request.param
    return found


def test_ready_fetches_the_keys_of_all_issuers(ready: Callable[[TokenVerifier], None]) -> None:
    webs = FakeIssuer(KEY), FakeIssuer(OTHER)
    ready(AnyIssuer(of_scopewright(webs[0]), of_idp(webs[1])))
    assert [web.fetches() for web in webs] == [1, 1]


def test_ready_reports_a_wrong_issuer_before_an_unreachable_one(ready: Callable[[TokenVerifier], None]) -> None:
    unreachable, wrong = FakeIssuer(OTHER), FakeIssuer(KEY)
    unreachable.unavailable = True
    with pytest.raises(KeysUnavailable, match="connection refused"):
        ready(AnyIssuer(of_idp(unreachable), of_scopewright()))
    wrong.metadata["issuer"] = "https://issuer.example"
    with pytest.raises(IssuerMismatch):
        ready(AnyIssuer(of_idp(unreachable), of_scopewright(wrong)))


def test_unreachable_issuer_does_not_affect_the_tokens_of_another(verify: Verify) -> None:
    web = FakeIssuer(OTHER)
    web.unavailable = True
    both = AnyIssuer(of_scopewright(), of_idp(web))
    assert verify(both, token()).issuer == ISSUER
    with pytest.raises(KeysUnavailable):
        verify(both, token(OTHER, iss=IDP))


async def test_application_accepts_several_issuers() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    app = protect(application, AnyIssuer(of_scopewright(), of_idp()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        sent = (token(), token(OTHER, iss=IDP), token(OTHER, iss="https://evil.example"))
        found = [(await client.get("/", headers={"Authorization": f"Bearer {each}"})).status_code for each in sent]
    assert found == [204, 204, 401]


@pytest.mark.parametrize("name", ["verify", "verify_sync", "cached", "nonce", "ready", "ready_sync"])
def test_methods_have_the_signatures_of_a_single_verifier(name: str) -> None:
    signatures = {inspect.signature(getattr(kind, name)) for kind in (Verifier, AnyIssuer, TokenVerifier)}
    assert len(signatures) == 1
