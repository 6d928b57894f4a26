"""The tree of patterns and `covers` agree with definitions that are slow and simple."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from scopewright.verifier.patterns import PathPattern, PatternTree
from scopewright.verifier.rules import Rule, Rules

# Few names, so that patterns and paths often meet. "*" and "**" occur as segments of paths too.
NAMES: Final = ("a", "b", "c")
SEGMENT: Final = st.sampled_from((*NAMES, "*"))
PATTERN: Final = st.builds(
    lambda inner, rest: PathPattern((*inner, *rest)), st.lists(SEGMENT, max_size=4), st.sampled_from([(), ("**",)])
)
PATH: Final = st.lists(st.sampled_from((*NAMES, "d", "*", "**")), max_size=5).map(tuple)


def matches(pattern: PathPattern, path: Sequence[str]) -> bool:
    """By a regular expression over the joined segments."""
    parts = []
    for segment in pattern.segments:
        parts.append("(/[^/]+)*" if segment == "**" else "/[^/]+" if segment == "*" else f"/{re.escape(segment)}")
    return re.fullmatch("".join(parts), "".join(f"/{segment}" for segment in path)) is not None


def rank(pattern: PathPattern) -> list[int]:
    """From the left: the end of the pattern, a literal, `*`, `**`. The least is the most specific one."""
    return [{"*": 1, "**": 2}.get(segment, 0) for segment in pattern.segments]


def twin_find(patterns: Mapping[PathPattern, int], path: Sequence[str]) -> int | None:
    found = sorted((pattern for pattern in patterns if matches(pattern, path)), key=rank)
    # Patterns of equal rank that match one path are the same pattern.
    assert len(found) < 2 or rank(found[0]) < rank(found[1])
    return patterns[found[0]] if found else None


@given(st.lists(PATTERN, max_size=12, unique=True), st.lists(PATH, min_size=1, max_size=6))
@example([PathPattern(("a", "**")), PathPattern(("*",))], [("a",)])
@example([PathPattern(("a", "*", "c")), PathPattern(("a", "b", "**")), PathPattern(("**",))], [("a", "b", "c")])
@example([PathPattern(("a", "b", "c")), PathPattern(("a", "*", "b")), PathPattern(("*", "**"))], [("a", "b", "b")])
def test_tree_finds_the_most_specific_of_all_matching_patterns(
    patterns: list[PathPattern], paths: list[tuple[str, ...]]
) -> None:
    values = {pattern: index for index, pattern in enumerate(patterns)}
    tree = PatternTree(values)
    for path in paths:
        assert tree.find(path) == twin_find(values, path)


@given(st.permutations([PathPattern.parse(text) for text in ("/**", "/a/**", "/a/*", "/*/b", "/a/b", "/*/*")]), PATH)
def test_order_of_patterns_has_no_meaning(patterns: list[PathPattern], path: tuple[str, ...]) -> None:
    names = {pattern: str(pattern) for pattern in patterns}
    assert PatternTree(names).find(path) == PatternTree(dict(sorted(names.items(), key=lambda each: each[1]))).find(
        path
    )


def test_pattern_covers_another_if_every_path_that_matches_that_one_matches_it_too() -> None:
    paths = [path for count in range(5) for path in itertools.product((*NAMES, "d"), repeat=count)]
    patterns = [
        PathPattern((*inner, *rest))
        for count in range(4)
        for inner in itertools.product(("a", "b", "*"), repeat=count)
        for rest in ((), ("**",))
    ]
    matching = {pattern: frozenset(path for path in paths if matches(pattern, path)) for pattern in patterns}
    wrong = [
        (str(one), str(other))
        for one in patterns
        for other in patterns
        if one.covers(other) != (matching[one] >= matching[other])
    ]
    assert wrong == []


@given(PATTERN)
def test_text_of_a_pattern_is_the_same_pattern(pattern: PathPattern) -> None:
    assert PathPattern.parse(str(pattern)) == pattern
    assert PathPattern.parse(f"{str(pattern).rstrip('/')}/") == pattern


METHOD: Final = st.sampled_from(("GET", "HEAD", "POST", "PUT"))


@given(
    st.lists(st.tuples(PATTERN, st.frozensets(METHOD)), max_size=6, unique_by=lambda each: each[0]),
    METHOD,
    PATH,
    st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
)
def test_rules_with_their_base_path_find_the_same_rule(
    rules: list[tuple[PathPattern, frozenset[str]]], method: str, path: tuple[str, ...], base: tuple[str, ...]
) -> None:
    made = [Rule(f"rule-{index}", (pattern,), methods) for index, (pattern, methods) in enumerate(rules)]
    below = Rules(made, base_path=f"/{'/'.join(base)}")
    found = below.find(method, path)
    whole = below.with_base_path()
    assert whole.find(method, (*base, *path)) == (found and next(r for r in whole.rules if r.name == found.name))
    if base:
        assert whole.find(method, path[: len(base) - 1]) is None
