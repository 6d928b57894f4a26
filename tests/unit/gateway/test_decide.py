"""A request is allowed only by a rule, and by a token that is good at that moment."""

from typing import Any

import pytest

from scopewright.gateway.decide import Decider, Decision, Result
from scopewright.gateway.profiles import PROFILES, auth_route
from scopewright.gateway.refusals import GatewayReason
from scopewright.verifier import Nonces, Reason
from tests.unit.gateway.support import HOST, MemoryGateway, Sent, bearer, parsed, question
from tests.unit.verifier.support import HOLDER, NOW, OTHER, bound_token, feed, proof, token

EVERY_PROFILE = pytest.mark.parametrize("profile", sorted(PROFILES))


def dpop(sent: str, *proofs: str) -> list[tuple[str, str]]:
    return [("Authorization", f"DPoP {sent}"), *(("DPoP", each) for each in proofs)]


@EVERY_PROFILE
async def test_token_with_the_scope_of_the_rule_is_allowed(profile: str) -> None:
    decision = await MemoryGateway().decide(question(profile, sent=[bearer(token())]))
    assert decision.result is Result.ALLOWED
    assert (decision.api_key, decision.rule, decision.reason) == ("payroll/payroll", "read", "")
    assert (decision.client_id, decision.token_id) == ("leave.leave-worker", "0")
    assert decision.original == ("GET", b"/salaries/7", HOST)


@EVERY_PROFILE
async def test_refusals_have_the_reasons_of_the_verifier(profile: str) -> None:
    gateway = MemoryGateway()

    async def reason(target: str = "/salaries/7", method: str = "GET", sent: Sent = ()) -> str:
        decision = await gateway.decide(question(profile, target, method, sent=sent))
        assert decision.result is Result.REFUSED
        return decision.reason

    assert await reason() == Reason.MISSING
    assert await reason(sent=[bearer(token(scope="other"))]) == Reason.SCOPE
    assert await reason(method="PUT", sent=[bearer(token())]) == Reason.ROLE
    assert await reason(sent=[bearer(token(key=OTHER))]) == Reason.UNKNOWN_KEY
    assert await reason(sent=[bearer(token(aud="https://other.example"))]) == Reason.AUDIENCE
    assert await reason(sent=[bearer(token(exp=int(NOW) - 61))]) == Reason.EXPIRED
    assert await reason(sent=[bearer("x y")]) == Reason.MALFORMED
    assert await reason(method="DELETE", sent=[bearer(token())]) == Reason.NO_RULE
    assert await reason(method="OPTIONS") == Reason.NO_RULE
    assert await reason("/", sent=[bearer(token())]) == Reason.NO_RULE
    assert await reason("/salaries//7", sent=[bearer(token())]) == Reason.PATH
    assert await reason("/healthz/../salaries/7", sent=[bearer(token())]) == Reason.PATH
    assert await reason("/healthz%2f..%2fsalaries", sent=[bearer(token())]) == Reason.PATH
    assert await reason("*", "OPTIONS") in (Reason.PATH, GatewayReason.HOSTNAME, GatewayReason.PROXY_HEADERS)


async def test_refusal_of_a_verified_token_names_its_client() -> None:
    decision = await MemoryGateway().decide(question(sent=[bearer(token(scope="other"))]))
    assert (decision.client_id, decision.token_id, decision.rule) == ("leave.leave-worker", "0", "read")


async def test_get_covers_head() -> None:
    gateway = MemoryGateway()
    for profile in ("nginx", "envoy"):
        decision = await gateway.decide(question(profile, method="HEAD", sent=[bearer(token())]))
        assert (decision.result, decision.rule) == (Result.ALLOWED, "read")


@pytest.mark.parametrize("method", ["get", "GeT", "GET ", "GET,PUT", "PROP-FIND", "", "G" * 33])
async def test_method_that_is_not_in_upper_case_is_refused(method: str) -> None:
    decision = await MemoryGateway().decide(question("nginx", method=method, sent=[bearer(token())]))
    assert decision.reason in (Reason.METHOD, Reason.NO_RULE)
    assert decision.result is Result.REFUSED
    assert decision.reason == Reason.METHOD or method.strip() == "GET"


@EVERY_PROFILE
@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-HTTP_Method-Override",
    ],
)
async def test_header_that_overrides_the_method_is_refused(profile: str, header: str) -> None:
    for target in ("/salaries/7", "/healthz"):
        decision = await MemoryGateway().decide(question(profile, target, sent=[bearer(token()), (header, "PUT")]))
        assert decision.reason == Reason.METHOD_OVERRIDE


@EVERY_PROFILE
async def test_unknown_hostname_is_refused(profile: str) -> None:
    gateway = MemoryGateway()
    for target in ("/healthz", "/salaries/7"):
        decision = await gateway.decide(question(profile, target, hostname="other.example", sent=[bearer(token())]))
        assert (decision.result, decision.reason, decision.api_key) == (Result.REFUSED, GatewayReason.NO_API, "")
    gateway.serve()
    assert (await gateway.decide(question(profile, "/healthz"))).reason == GatewayReason.NO_API


async def test_api_without_rules_refuses_every_request() -> None:
    gateway = MemoryGateway()
    gateway.serve(gateway.api(rules=[{"name": "x", "paths": ["/x"], "authentication": "None"}]))
    assert (await gateway.decide(question(target="/x"))).result is Result.ALLOWED
    gateway.serve(gateway.api(rules=[]))
    for target in ("/", "/x"):
        decision = await gateway.decide(question(target=target, sent=[bearer(token())]))
        assert (decision.reason, decision.api_key) == (Reason.NO_RULE, "payroll/payroll")


async def test_paths_of_rules_are_below_the_base_path() -> None:
    gateway = MemoryGateway()
    gateway.serve(gateway.api(basePath="/payroll"))
    assert (await gateway.decide(question(target="/payroll/salaries/7", sent=[bearer(token())]))).rule == "read"
    assert (await gateway.decide(question(target="/salaries/7", sent=[bearer(token())]))).reason == GatewayReason.NO_API


async def test_decision_is_unavailable_until_the_rules_are_read() -> None:
    gateway = MemoryGateway()
    gateway.decider = Decider()
    decision = await gateway.decide(question(target="/healthz"))
    assert (decision.result, decision.reason) == (Result.UNAVAILABLE, "")


# Tokens


async def test_token_that_was_verified_before_needs_no_awaitable() -> None:
    gateway, sent = MemoryGateway(), token()
    first = gateway.decide_at_once(question(sent=[bearer(sent)]))
    assert not isinstance(first, Decision)
    await first
    again = gateway.decide_at_once(question(sent=[bearer(sent)]))
    assert isinstance(again, Decision)
    assert again.result is Result.ALLOWED
    lacking = gateway.decide_at_once(question(method="PUT", sent=[bearer(sent)]))
    assert isinstance(lacking, Decision)
    assert (lacking.reason, lacking.client_id) == (Reason.ROLE, "leave.leave-worker")


async def test_token_that_was_verified_before_is_refused_once_it_is_revoked_or_expires() -> None:
    gateway, sent = MemoryGateway(), token()
    asked = question(sent=[bearer(sent)])
    assert (await gateway.decide(asked)).result is Result.ALLOWED
    gateway.web.feed = feed(kids=["key-1"])
    gateway.clock.advance(seconds=11)
    revoked = await gateway.decide(asked)
    gateway.web.feed = feed()
    gateway.clock.advance(seconds=660)
    assert (revoked.reason, (await gateway.decide(asked)).reason) == (Reason.REVOKED, Reason.EXPIRED)


async def test_missing_keys_make_decisions_with_a_token_unavailable_and_no_others() -> None:
    gateway = MemoryGateway()
    gateway.web.unavailable = True
    assert (await gateway.decide(question(sent=[bearer(token())]))).result is Result.UNAVAILABLE
    assert (await gateway.decide(question())).reason == Reason.MISSING
    assert (await gateway.decide(question(target="/hello", sent=[bearer(token())]))).result is Result.UNAVAILABLE
    for target in ("/healthz", "/hello"):
        assert (await gateway.decide(question(target=target))).result is Result.ALLOWED


async def test_token_on_a_path_without_authentication_is_ignored() -> None:
    gateway, good = MemoryGateway(), token()
    for sent in ([bearer(good)], [bearer("x")], [bearer(good), bearer(good)]):
        decision = await gateway.decide(question(target="/healthz", sent=sent))
        assert (decision.result, decision.token, decision.client_id) == (Result.ALLOWED, None, "")


async def test_token_on_an_optional_path_must_be_valid() -> None:
    gateway = MemoryGateway()
    anonymous = await gateway.decide(question(target="/hello", sent=[("Authorization", "Basic YTpi")]))
    known = await gateway.decide(question(target="/hello", sent=[bearer(token())]))
    assert (anonymous.result, anonymous.token) == (Result.ALLOWED, None)
    assert (known.result, known.client_id) == (Result.ALLOWED, "leave.leave-worker")
    assert (await gateway.decide(question(target="/hello", sent=[bearer("x")]))).reason == Reason.MALFORMED
    assert (await gateway.decide(question(target="/hello", sent=[("Authorization", "DPoP")]))).reason == Reason.MISSING


@EVERY_PROFILE
@pytest.mark.parametrize("target", ["/salaries/7", "/hello"])
async def test_two_authorization_values_are_refused(profile: str, target: str) -> None:
    """The service behind the proxy may read the other one."""
    gateway, good = MemoryGateway(), token()
    assert (await gateway.decide(question(profile, target, sent=[bearer(good)]))).result is Result.ALLOWED
    for sent in (
        [bearer(good), bearer(good)],
        [bearer(good), ("Authorization", "Basic YTpi")],
        [("Authorization", "Basic YTpi"), bearer(good)],
        [("Authorization", f"Bearer {good},Bearer {good}")],
        [("Authorization", f"Bearer {good}, x")],
        [("Authorization", f"Basic YTpi,Bearer {good}")],
        [("Authorization", "Basic YTpi"), ("authorization", "Basic YTpi")],
    ):
        decision = await gateway.decide(question(profile, target, sent=sent))
        assert (decision.result, decision.reason) == (Result.REFUSED, Reason.TWO_WAYS)


@EVERY_PROFILE
async def test_token_in_the_query_is_ignored_alone_and_refused_beside_the_header(profile: str) -> None:
    gateway, good = MemoryGateway(), token()
    await gateway.decide(question(profile, sent=[bearer(good)]))
    in_query = f"?access_token={good}"
    assert (await gateway.decide(question(profile, "/salaries/7" + in_query))).reason == Reason.MISSING
    both = await gateway.decide(question(profile, "/salaries/7" + in_query, sent=[bearer(good)]))
    assert both.reason == Reason.TWO_WAYS
    other = await gateway.decide(question(profile, "/salaries/7?no_access_token=1", sent=[bearer(good)]))
    assert other.result is Result.ALLOWED


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_scheme_is_read_without_case_as_by_the_middleware(scheme: str) -> None:
    decision = await MemoryGateway().decide(question(sent=[("Authorization", f"{scheme} {token()}")]))
    assert decision.result is Result.ALLOWED


# DPoP


@EVERY_PROFILE
async def test_proof_is_for_https_and_the_matched_hostname_and_the_raw_path(profile: str) -> None:
    gateway, sent = MemoryGateway(), bound_token()
    url = f"https://{HOST}/salaries/%C3%A9"
    asked = question(profile, "/salaries/%C3%A9?year=2026", sent=dpop(sent, proof(sent, htu=url)))
    assert (await gateway.decide(asked)).result is Result.ALLOWED
    assert (await gateway.decide(asked)).reason == Reason.PROOF, "a proof is used once"


@pytest.mark.parametrize(
    "changes",
    [
        {"htu": f"http://{HOST}/salaries/7"},
        {"htu": "https://gateway:8083/salaries/7"},
        {"htu": f"https://{HOST}/auth/nginx/{HOST}"},
        {"htm": "PUT"},
    ],
)
async def test_proof_for_another_request_is_refused(changes: dict[str, Any]) -> None:
    sent = bound_token()
    decision = await MemoryGateway().decide(question(sent=dpop(sent, proof(sent, **changes))))
    assert decision.reason == Reason.PROOF


@EVERY_PROFILE
async def test_repeated_or_missing_proof_is_refused(profile: str) -> None:
    gateway, sent = MemoryGateway(), bound_token()
    for proofs in ([], [proof(sent), proof(sent)], [proof(sent) + "," + proof(sent)]):
        decision = await gateway.decide(question(profile, sent=dpop(sent, *proofs)))
        assert decision.reason == Reason.PROOF


async def test_bound_token_needs_its_proof_also_after_it_was_verified() -> None:
    gateway, sent = MemoryGateway(), bound_token()
    assert (await gateway.decide(question(sent=dpop(sent, proof(sent))))).result is Result.ALLOWED
    assert (await gateway.decide(question(sent=[bearer(sent)]))).reason == Reason.SENDER_CONSTRAINED
    assert (await gateway.decide(question(sent=dpop(sent, proof(sent, HOLDER))))).result is Result.ALLOWED
    assert (await gateway.decide(question(sent=dpop(sent, proof(sent, OTHER))))).reason == Reason.PROOF_KEY


async def test_api_that_requires_dpop_refuses_other_tokens() -> None:
    gateway = MemoryGateway()
    gateway.verifier = gateway.verifier.for_audience(f"https://{HOST}", dpop_required=True)
    gateway.serve(gateway.api())
    for _ in range(2):
        assert (await gateway.decide(question(sent=[bearer(token())]))).reason == Reason.PROOF_NEEDED
    assert (await gateway.decide(question(target="/healthz"))).result is Result.ALLOWED


async def test_nonce_is_in_decisions_about_requests_with_a_proof() -> None:
    gateway, sent = MemoryGateway(nonces=Nonces(b"k" * 32, "x")), bound_token()
    refused = await gateway.decide(question(sent=dpop(sent, proof(sent))))
    assert (refused.reason, refused.nonce) == (Reason.PROOF_NONCE, gateway.verifier.nonce())
    with_nonce = dpop(sent, proof(sent, nonce=refused.nonce))
    allowed = await gateway.decide(question(sent=with_nonce))
    assert (allowed.result, allowed.nonce) == (Result.ALLOWED, gateway.verifier.nonce())
    assert (await gateway.decide(question(sent=[bearer(token())]))).nonce is None


async def test_decision_does_not_print_the_token() -> None:
    gateway, sent = MemoryGateway(), token()
    decision = await gateway.decide(question(sent=[bearer(sent)]))
    assert decision.token is not None
    assert sent not in repr(decision)


def test_refusal_keeps_no_frames() -> None:
    """The frames of a traceback refer to the request and its token."""
    http = parsed(question())
    route = auth_route(http.target)
    assert route is not None
    decision = MemoryGateway().decider.decide(http, route)
    assert isinstance(decision, Decision)
    assert decision.refusal is not None
    assert decision.refusal.__traceback__ is None
