"""Patterns that the platform has refused since: they decide as before, and refuse every request without a rule."""

import pytest

from scopewright.verifier.rules import Rules, RulesInvalid

DOCUMENT = {
    "basePath": "/payroll",
    "caseSensitive": True,
    "refused": ["/healthz", "/reports/*"],
    "rules": [
        {"name": "all", "paths": ["/**"], "authentication": "Required"},
        {"name": "post", "methods": ["POST"], "paths": ["/healthz"], "scopes": ["write"]},
    ],
}


def name(rules: Rules, method: str, *segments: str) -> str:
    rule = rules.find(method, segments)
    return rule.name if rule else ""


def test_no_wider_rule_decides_about_a_refused_pattern() -> None:
    rules = Rules.parse(DOCUMENT)
    assert name(rules, "GET", "healthz") == ""
    assert name(rules, "POST", "healthz") == "post", "another rule has the pattern for this method"
    assert name(rules, "GET", "reports", "may") == ""
    assert name(rules, "GET", "reports") == "all"


def test_refused_patterns_are_compared_as_those_of_rules_are() -> None:
    assert name(Rules.parse(DOCUMENT), "GET", "Healthz") == "all"
    assert name(Rules.parse({**DOCUMENT, "caseSensitive": False}), "GET", "Healthz") == ""
    whole = Rules.parse(DOCUMENT).with_base_path()
    assert name(whole, "GET", "payroll", "healthz") == ""
    assert name(whole, "GET", "payroll", "other") == "all"


def test_the_document_has_refused_patterns_only_if_there_are_some() -> None:
    assert Rules.parse(DOCUMENT).document() == DOCUMENT
    assert "refused" not in Rules.parse({"rules": []}).document()


@pytest.mark.parametrize("refused", ["/healthz", ["healthz"], [1], ["/**/x"], {}])
def test_wrong_refused_patterns_are_an_error(refused: object) -> None:
    with pytest.raises(RulesInvalid, match="refused"):
        Rules.parse({**DOCUMENT, "refused": refused})
