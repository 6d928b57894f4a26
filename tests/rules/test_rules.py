"""What `Rules` accept, and the advice for what they do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from scopewright.verifier import Rules, RulesInvalid
from tests.rules.vectors import RULES


def rule(name: str, *paths: str, **members: Any) -> dict[str, Any]:
    needs = {} if "authentication" in members else {"scopes": ["payroll.read"]}
    return {"name": name, "paths": list(paths), **needs, **members}


def rules(*listed: dict[str, Any], **members: Any) -> Rules:
    return Rules.parse({"rules": list(listed), **members})


def refused(*listed: Any, **members: Any) -> RulesInvalid:
    with pytest.raises(RulesInvalid) as caught:
        Rules.parse({"rules": list(listed), **members})
    return caught.value


@pytest.mark.parametrize("name", RULES)
def test_document_of_rules_is_read_as_the_same_rules(name: str) -> None:
    document = RULES[name].document()
    again = Rules.parse(json.loads(json.dumps(document)))
    assert again.document() == document
    assert (again.rules, again.base_path, again.case_sensitive) == (
        RULES[name].rules,
        RULES[name].base_path,
        RULES[name].case_sensitive,
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("a", "/x"), rule("b", "/x")),
        (rule("a", "/x"), rule("b", "/x/")),
        (rule("a", "/x", methods=["GET"]), rule("b", "/x")),
        (rule("a", "/x", methods=["GET"]), rule("b", "/x", methods=["HEAD"])),
        (rule("a", "/x", methods=["HEAD"]), rule("b", "/x", methods=["GET", "PUT"])),
        (rule("a", "/y", "/*"), rule("b", "/*", "/z", authentication="None")),
    ],
)
def test_two_rules_for_one_pattern_and_method_are_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    error = refused(first, second)
    assert (error.reason, error.rule) == ("RuleConflict", "b")
    assert "give each method of a path to one rule" in str(error)


def test_two_patterns_that_differ_in_case_alone_are_equal_without_case() -> None:
    both = rule("a", "/Users"), rule("b", "/users")
    assert rules(*both).find("GET", ("Users",)) != rules(*both).find("GET", ("users",))
    assert refused(*both, caseSensitive=False).reason == "RuleConflict"


@pytest.mark.parametrize(
    ("public", "protected"),
    [
        (rule("p", "/**", authentication="None"), rule("a", "/x")),
        (rule("p", "/**", authentication="None"), rule("a", "/x", authentication="Optional")),
        (rule("p", "/*", authentication="None"), rule("a", "/x")),
        (rule("p", "/*/y", authentication="None"), rule("a", "/x/y")),
        (rule("p", "/x/**", authentication="None"), rule("a", "/x")),
        (rule("p", "/x/**", authentication="None"), rule("a", "/x/*/z")),
        (rule("p", "/**", methods=["GET"], authentication="None"), rule("a", "/x", methods=["HEAD"])),
    ],
)
def test_pattern_that_opens_what_another_rule_protects_is_refused(
    public: dict[str, Any], protected: dict[str, Any]
) -> None:
    for listed in ((public, protected), (protected, public)):
        error = refused(*listed)
        assert (error.reason, error.rule) == ("PublicCoversProtected", "p")
        assert "narrow its paths or its methods" in str(error)


def test_pattern_that_opens_other_methods_or_less_is_accepted() -> None:
    found = rules(
        rule("open", "/assets/**", authentication="None"),
        rule("preflight", "/**", methods=["OPTIONS"], authentication="None"),
        rule("read", "/**", methods=["GET"]),
        rule("nested", "/assets/public/**", authentication="None"),
    )
    assert [r.name for r in found.rules] == ["open", "preflight", "read", "nested"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "the rules must be a list"),
        ({"rules": {}}, "the rules must be a list"),
        ({"rules": [7]}, "a rule must be a JSON object"),
        ({"rules": [], "base": "/x"}, "unknown member 'base': correct or remove it"),
        ({"rules": [], "basePath": "/*"}, "basePath must be a path of literal segments"),
        ({"rules": [], "basePath": "x"}, "basePath must be a path of literal segments"),
        ({"rules": [], "caseSensitive": "no"}, "caseSensitive a boolean"),
        ({"rules": [{"paths": ["/"], "scopes": ["a"]}]}, "every rule needs a name"),
        ({"rules": [{"name": "A", "paths": ["/"], "scopes": ["a"]}]}, "every rule needs a name"),
        ({"rules": [{"name": "a", "paths": ["/"]}]}, "rule a needs scopes, anyScope, roles or authentication"),
        ({"rules": [{"name": "a", "paths": [], "scopes": ["a"]}]}, "rule a needs 1 to 16 paths"),
        ({"rules": [{"name": "a", "paths": ["/x"] * 17, "scopes": ["a"]}]}, "rule a needs 1 to 16 paths"),
        ({"rules": [{"name": "a", "paths": "/x", "scopes": ["a"]}]}, "paths of rule a must be a list of strings"),
        ({"rules": [{"name": "a", "paths": ["/a/**/b"], "scopes": ["a"]}]}, "rule a: '/a/**/b' is not a path pattern"),
        ({"rules": [{"name": "a", "paths": ["/"], "scopes": [""]}]}, "scopes of rule a must be a list of strings"),
        ({"rules": [{"name": "a", "paths": ["/"], "methods": ["get"], "scopes": ["a"]}]}, "'get' is not in upper case"),
        ({"rules": [{"name": "a", "paths": ["/"], "authentication": "none"}]}, "rule a: 'none' is not a valid"),
        (
            {"rules": [{"name": "a", "paths": ["/"], "authentication": "None", "roles": ["x"]}]},
            "requires scopes or roles: remove one of the two",
        ),
        ({"rules": [{"name": "a", "paths": ["/"], "scope": ["a"]}]}, "unknown member 'scope'"),
        (
            {"rules": [{"name": f"r{n}", "paths": [f"/{n}"], "scopes": ["a"]} for n in range(65)]},
            "there are more than 64 rules",
        ),
        (
            {
                "rules": [
                    {"name": f"r{n}", "paths": [f"/{n}/{p}" for p in range(16)], "scopes": ["a"]} for n in range(17)
                ]
            },
            "more than 256 paths in all: write * and ** for several of them",
        ),
        ({"rules": [{"name": "a", "paths": ["/a" * 17], "scopes": ["a"]}]}, "more than 16 segments: end it with /**"),
        (
            {
                "rules": [
                    {"name": "a", "paths": ["/"], "scopes": ["a"]},
                    {"name": "a", "paths": ["/x"], "scopes": ["a"]},
                ]
            },
            "two rules are named a: rename one of them",
        ),
    ],
)
def test_document_that_is_not_rules_is_refused_with_advice(document: Any, words: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        Rules.parse(document)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "write it with `scopewright export rules DIR`"),
        (b"kind: ResourceServer", "write it with `scopewright export rules DIR`"),
        (b'{"rules": [{"name": "read", "path": ["/"]}]}', "rule read has an unknown member 'path'"),
        (b"[]", "not a JSON object"),
        (b'{"rules": [], "rules": []}', "a name occurs twice"),
        (b'{"rules": [{"name": "a"', "cannot be used"),
        (b'{"rules": []}\xff', "cannot be used"),
        (b'{"rules": [1]}', "a rule must be a JSON object"),
    ],
)
def test_file_that_is_not_rules_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "rules.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"rules\.json cannot be used: ") as caught:
        Rules.load(file)
    assert words in str(caught.value)


def test_file_that_does_not_exist_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rules file .*absent\.json cannot be used: No such file .*export rules DIR"):
        Rules.load(str(tmp_path / "absent.json"))


def test_file_of_rules_is_read(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES["payroll"].document()))
    assert Rules.load(file).document() == RULES["payroll"].document()
