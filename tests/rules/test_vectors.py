"""`Rules` and `canonical_path` decide as vectors.json says."""

import pytest

from scopewright.verifier.canonical_path import PathRefused, canonical_path
from scopewright.verifier.rules import Rules, is_method
from tests.rules.vectors import NO_RULE, REFUSED, RULES, VECTORS, Vector, needs_token


def decision(rules: Rules, vector: Vector) -> str:
    if not is_method(vector.method):
        return REFUSED
    try:
        segments = canonical_path(vector.target.encode("latin-1"))
        rule = rules.find(vector.method, segments)
    except PathRefused:
        return REFUSED
    return rule.name if rule is not None else NO_RULE


def test_there_are_vectors_of_every_decision_and_each_only_once() -> None:
    requests = [(vector.rules, vector.method, vector.target) for vector in VECTORS]
    assert len(requests) == len(set(requests)) >= 300
    decided = {(vector.rules, vector.decision) for vector in VECTORS}
    assert decided >= {(name, rule.name) for name, rules in RULES.items() for rule in rules.rules}
    for vector in VECTORS:
        assert vector.decision in (NO_RULE, REFUSED) or vector.rule is not None, vector


def test_the_scope_of_a_token_shows_the_rule() -> None:
    for rules in RULES.values():
        assert all(rule.scopes == ((rule.name,) if needs_token(rule) else ()) for rule in rules.rules)
        assert all(not rule.any_scope and not rule.roles for rule in rules.rules)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_rules_decide(vector: Vector) -> None:
    assert decision(RULES[vector.rules].with_base_path(), vector) == vector.decision


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.decision != REFUSED], ids=lambda vector: vector.id)
def test_rules_below_their_base_path_decide_in_the_same_way(vector: Vector) -> None:
    rules = RULES[vector.rules]
    segments = canonical_path(vector.target.encode("latin-1"))
    count = len(rules.base_segments)
    found = rules.find(vector.method, segments[count:]) if segments[:count] == rules.base_segments else None
    assert (found.name if found is not None else NO_RULE) == vector.decision
