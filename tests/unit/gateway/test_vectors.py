"""Every profile decides as tests/rules/vectors.json says, as the middleware does."""

import functools

import pytest

from scopewright.gateway.apis import ApiTable, GatewayApi
from scopewright.gateway.decide import Decider, Decision, Result
from scopewright.gateway.profiles import PROFILES
from scopewright.gateway.refusals import GatewayReason
from scopewright.http.parser import RequestRefused
from scopewright.verifier import Reason
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.rules import Rule
from tests.rules.vectors import NO_RULE, REFUSED, RULES, VECTORS, Scopes, Vector
from tests.unit.gateway.support import HOST, MemoryGateway, Sent, bearer, question
from tests.unit.verifier.support import token

KNOWN_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
NO_RULE_REASONS = {Reason.NO_RULE, GatewayReason.NO_API}
"""The second one outside the base path."""


@pytest.fixture(scope="module")
def gateway() -> MemoryGateway:
    return MemoryGateway()


@functools.cache
def token_with(scopes: frozenset[str]) -> str:
    return token(scope=" ".join(sorted(scopes)))


@functools.cache
def decider_of(gateway: MemoryGateway, rules: str) -> Decider:
    decider = Decider()
    decider.apis = ApiTable([GatewayApi("a/a", (HOST,), RULES[rules], gateway.verifier)])
    return decider


def is_sendable(profile: str, vector: Vector) -> bool:
    """Whether a proxy could have received it: a request line has no spaces, and ends with its line.

    Envoy and ingress-nginx put the target after a hostname. They refuse those that do not begin with a slash.
    """
    if set(vector.target) & set(" \t\r\n\0") or not vector.method.strip():
        return False
    return vector.target.startswith("/") or not (PROFILES[profile].reads_own_request or PROFILES[profile].target_is_url)


@pytest.mark.parametrize("profile", sorted(PROFILES))
async def test_every_vector_is_decided_as_it_says(profile: str, gateway: MemoryGateway) -> None:
    sendable = [vector for vector in VECTORS if is_sendable(profile, vector)]
    assert len(sendable) >= 300
    for vector in sendable:
        gateway.decider = decider_of(gateway, vector.rules)
        if vector.rule is None:
            await check_refused(gateway, profile, vector)
        else:
            await check_decided(gateway, profile, vector, vector.rule)


async def check_refused(gateway: MemoryGateway, profile: str, vector: Vector) -> None:
    everything = bearer(token_with(Scopes(RULES[vector.rules]).all))
    for sent in ([], [everything]):
        decision = await decided(gateway, profile, vector, sent)
        if decision is None:
            assert vector.decision == REFUSED or vector.method not in KNOWN_METHODS, vector.id
            continue
        assert decision.result is Result.REFUSED, vector.id
        assert (decision.reason in NO_RULE_REASONS) is (vector.decision == NO_RULE), vector.id


async def check_decided(gateway: MemoryGateway, profile: str, vector: Vector, rule: Rule) -> None:
    scopes = Scopes(RULES[vector.rules])
    sufficient = [bearer(token_with(scopes.of(rule)))] if rule.scopes else []
    decision = await decided(gateway, profile, vector, sufficient)
    if decision is None:
        assert vector.method not in KNOWN_METHODS or "#" in vector.target, vector.id
        return
    assert (decision.result, decision.rule) == (Result.ALLOWED, vector.decision), vector.id
    if rule.authentication is not PathAuthentication.REQUIRED:
        return
    for sent, reason in (([bearer(token_with(scopes.others(rule)))], Reason.SCOPE), ([], Reason.MISSING)):
        refused = await decided(gateway, profile, vector, sent)
        assert refused is not None
        assert refused.reason == reason, vector.id


async def decided(gateway: MemoryGateway, profile: str, vector: Vector, sent: Sent) -> Decision | None:
    """None if the server refuses the request of the proxy: it has a control character, or Envoy's has a fragment, or a
    method that is not in HTTP's registry.
    """
    try:
        return await gateway.decide(question(profile, vector.target, vector.method, sent=sent))
    except RequestRefused:
        return None
