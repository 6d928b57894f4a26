"""Methods that are refused because a rule without them has the more specific pattern."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.hidden_methods import hidden_methods
from scopewright.core.http_rules import rules_of
from scopewright.core.records.resource_server import HttpAccess, HttpRule
from scopewright.verifier.rules import MAX_ALL_PATHS, RulesInvalid


def access(*rules: tuple[str, str, str], case_sensitive: bool = True) -> HttpAccess:
    """Rules of (name, methods, paths), both separated by spaces."""
    return HttpAccess(
        case_sensitive=case_sensitive,
        rules=tuple(HttpRule(name, tuple(paths.split()), tuple(methods.split())) for name, methods, paths in rules),
    )


def found(*rules: tuple[str, str, str]) -> list[tuple[str, str]]:
    return [(hidden.rule, hidden.message) for hidden in hidden_methods(access(*rules))]


def test_a_method_that_only_the_wider_pattern_covers_is_named_with_the_correction() -> None:
    ((rule, message),) = found(("read", "GET", "/employees/**"), ("write", "PUT", "/employees/*"))
    assert rule == "write"
    assert message == (
        "GET /employees/* is refused: the more specific pattern of rule write decides, and not GET /employees/** of "
        "rule read: if it is to be allowed, add /employees/* to the paths of rule read"
    )
    assert found(("read", "GET", "/employees/** /employees/*"), ("write", "PUT", "/employees/*")) == []


def test_methods_of_several_wider_patterns_are_one_finding() -> None:
    rules = ("read", "GET", "/a/**"), ("write", "PUT", "/a/b"), ("drop", "DELETE", "/a/b"), ("add", "POST", "/**")
    of_read, of_write = found(*rules)
    assert of_read[0] == "read"
    assert of_read[1].startswith("POST /a/** is refused")
    assert of_write[0] == "write", "the first rule with the pattern"
    assert of_write[1] == (
        "GET,POST /a/b is refused: the more specific pattern of rules write and drop decides, and not GET /a/** of "
        "rule read and POST /** of rule add: if it is to be allowed, add /a/b to the paths of rules read and add"
    )


def test_a_rule_of_its_own_is_the_correction_where_the_rules_share_a_method() -> None:
    ((_, message),) = found(("all", "", "/**"), ("health", "GET", "/healthz"))
    assert message == (
        "every method of /healthz but GET is refused: the more specific pattern of rule health decides, and not every "
        "method of /** of rule all: if it is to be allowed, add a rule with /healthz for the methods that are needed"
    )
    ((_, message),) = found(("edit", "GET PUT", "/a/**"), ("write", "PUT", "/a/*"))
    assert message.endswith("add a rule with /a/* for GET")


@pytest.mark.parametrize(
    "rules",
    [
        (("read", "GET", "/a/**"), ("write", "PUT", "/a/**")),
        (("read", "GET", "/a/**"), ("one", "", "/a/*")),
        (("read", "GET", "/a/**"), ("write", "PUT", "/b/*")),
        (("head", "HEAD", "/a/**"), ("read", "GET", "/a/*")),
        (("both", "GET", "/a/** /a/*"),),
        (("read", "GET", "/a"), ("again", "GET", "/a")),
    ],
    ids=["one pattern", "every method", "other paths", "GET covers HEAD", "one rule", "contradiction"],
)
def test_nothing_is_found_where_no_method_is_hidden(rules: tuple[tuple[str, str, str], ...]) -> None:
    assert found(*rules) == []


def test_patterns_are_compared_as_the_service_compares_paths() -> None:
    rules = ("read", "GET", "/Employees/**"), ("write", "PUT", "/employees/*")
    assert hidden_methods(access(*rules)) == ()
    (hidden,) = hidden_methods(access(*rules, case_sensitive=False))
    assert hidden.rule == "write"


def test_as_many_patterns_as_rules_may_have_are_compared() -> None:
    paths = [f"/{'/'.join(['*'] * 13)}/{n}" for n in range(15)]
    rules = [(f"r{n}", "GET", " ".join(f"/{n}{path}" for path in [*paths, "/**"])) for n in range(MAX_ALL_PATHS // 16)]
    rules[0] = ("r0", "PUT", "/**")
    assert len(found(*rules)) == MAX_ALL_PATHS - 16


PATTERNS = st.builds(
    lambda segments, rest: f"/{'/'.join((*segments, *rest))}",
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=2),
    st.sampled_from([(), ("**",)]),
)
PATHS = [path for length in range(4) for path in product("abc", repeat=length)]
METHODS = st.lists(st.sampled_from(["GET", "HEAD", "PUT"]), max_size=2, unique=True).map(" ".join)


@given(st.lists(st.tuples(METHODS, PATTERNS), min_size=2, max_size=2))
def test_of_two_rules_one_hides_a_method_exactly_if_it_refuses_what_the_other_alone_allows(
    pairs: list[tuple[str, str]],
) -> None:
    (read, wide), (write, narrow) = pairs
    both = access(("wide", read, wide), ("narrow", write, narrow))
    try:
        rules, alone = rules_of(both, ""), rules_of(access(("wide", read, wide)), "")
    except RulesInvalid:
        assert hidden_methods(both) == ()
        return
    covers = alone.rules[0].paths[0].covers(rules.rules[1].paths[0])
    methods = ("GET", "HEAD", "PUT", "OTHER")
    lost = any(alone.find(method, path) and not rules.find(method, path) for method in methods for path in PATHS)
    assert ("narrow" in {hidden.rule for hidden in hidden_methods(both)}) == (lost and covers)
