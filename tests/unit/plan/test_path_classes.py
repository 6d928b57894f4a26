"""Classes of paths: whatever path a request has, one class matches the same patterns."""

from hypothesis import given
from hypothesis import strategies as st

from scopewright.plan.path_classes import MAX_CLASSES, ComparedPattern, path_classes

SEGMENTS = st.sampled_from(["a", "b", "A", "*"])
PATTERNS = st.builds(
    lambda segments, rest, case_sensitive: ComparedPattern(
        tuple(s if case_sensitive else s.lower() for s in (*segments, *rest)), case_sensitive
    ),
    st.lists(SEGMENTS, max_size=4),
    st.sampled_from([(), ("**",)]),
    st.booleans(),
)
PATHS = st.lists(st.sampled_from(["a", "b", "A", "B", "c", "other0"]), max_size=6).map(tuple)


def matching(patterns: set[ComparedPattern], path: tuple[str, ...]) -> frozenset[ComparedPattern]:
    return frozenset(pattern for pattern in patterns if _matches(pattern, path))


def _matches(pattern: ComparedPattern, path: tuple[str, ...]) -> bool:
    segments = pattern.segments
    if segments and segments[-1] == "**":
        segments, path = segments[:-1], path[: len(segments) - 1]
    compared = path if pattern.case_sensitive else tuple(map(str.lower, path))
    return len(segments) == len(path) and all(s in ("*", p) for s, p in zip(segments, compared, strict=True))


@given(st.sets(PATTERNS, min_size=1, max_size=6), PATHS)
def test_every_path_that_matches_a_pattern_is_like_the_path_of_a_class(
    patterns: set[ComparedPattern], path: tuple[str, ...]
) -> None:
    classes = path_classes(patterns)
    assert classes is not None
    wanted = matching(patterns, path)
    if wanted:
        assert wanted in {matching(patterns, found.path) for found in classes}


@given(st.sets(PATTERNS, min_size=1, max_size=6))
def test_the_path_of_a_class_is_in_its_pattern(patterns: set[ComparedPattern]) -> None:
    for found in path_classes(patterns) or ():
        assert _matches(ComparedPattern(found.shown.segments), found.path)
        assert matching(patterns, found.path)


def test_classes_are_shown_as_patterns() -> None:
    patterns = {ComparedPattern(("a", "**")), ComparedPattern(("a", "b")), ComparedPattern(("*",))}
    shown = [str(found.shown) for found in path_classes(patterns) or ()]
    assert shown == ["/*", "/a", "/a/*/**", "/a/b", "/a/b/*/**"]


def test_patterns_with_exponentially_many_classes_are_given_up() -> None:
    nested = {ComparedPattern((*("*",) * n, "a", *("*",) * (40 - n))) for n in range(40)}
    assert path_classes(nested) is None
    assert MAX_CLASSES >= 64 * 16
    assert len(path_classes({ComparedPattern((str(n), "**")) for n in range(1024)}) or ()) == 1024


def test_without_patterns_there_are_no_classes() -> None:
    assert path_classes([]) == []
