"""Methods that rules refuse by accident: only a wider pattern than the one that decides covers them. Pure.

With `GET /employees/**` and `PUT /employees/*`, `GET /employees/7` is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scopewright.core.http_rules import rules_of
from scopewright.core.records.resource_server import HttpAccess
from scopewright.verifier.patterns import PathPattern
from scopewright.verifier.rules import Rule, RulesInvalid


@dataclass(frozen=True, slots=True)
class HiddenMethods:
    """Methods that are refused for a pattern, although a rule with a wider pattern covers them.

    `rule` is the first rule with the pattern. `message` says what is refused, and what to do.
    """

    rule: str
    message: str


def hidden_methods(http: HttpAccess) -> tuple[HiddenMethods, ...]:
    """For each pattern with such methods, one entry; none if the rules contradict each other.

    At most `MAX_ALL_PATHS` patterns are compared, each with each.
    """
    try:
        rules = rules_of(http, "")
    except RulesInvalid:
        return ()
    with_pattern: dict[PathPattern, list[Rule]] = {}
    for rule in rules.rules:
        for pattern in dict.fromkeys(map(rules.comparable, rule.paths)):
            with_pattern.setdefault(pattern, []).append(rule)
    most_specific_first = sorted(with_pattern, key=_width)
    found = []
    for pattern, deciding in with_pattern.items():
        wider = (w for w in most_specific_first if w != pattern and w.covers(pattern))
        hidden = tuple(_hidden(deciding, ((w, rule) for w in wider for rule in with_pattern[w])))
        if hidden:
            found.append(HiddenMethods(deciding[0].name, _hidden_message(pattern, deciding, hidden)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Methods of a rule with a wider pattern; empty: every method that is not covered otherwise."""

    methods: tuple[str, ...]
    rule: Rule
    wider: PathPattern


def _hidden(deciding: Sequence[Rule], wider: Iterator[tuple[PathPattern, Rule]]) -> Iterator[_Hidden]:
    """Each method once, of the most specific of the wider patterns."""
    known = list(deciding)
    for pattern, rule in wider:
        if any(not other.methods for other in known):
            return
        methods = tuple(sorted(m for m in rule.methods if not any(other.covers_method(m) for other in known)))
        if methods or not rule.methods:
            yield _Hidden(methods, rule, pattern)
            known.append(rule)


def _hidden_message(pattern: PathPattern, deciding: Sequence[Rule], hidden: Sequence[_Hidden]) -> str:
    methods = sorted({method for each in hidden for method in each.methods})
    is_every = any(not each.methods for each in hidden)
    covered = sorted({method for rule in deciding for method in rule.methods})
    refused = f"every method of {pattern} but {_list(covered)}" if is_every else f"{','.join(methods)} {pattern}"
    wider = [f"{','.join(h.methods) or 'every method of'} {h.wider} of rule {h.rule.name}" for h in hidden]
    if _share_a_method([*deciding, *(each.rule for each in hidden)]):
        correction = f"add a rule with {pattern} for {'the methods that are needed' if is_every else _list(methods)}"
    else:
        correction = f"add {pattern} to the paths of {_named([each.rule for each in hidden])}"
    return (
        f"{refused} is refused: the more specific pattern of {_named(deciding)} decides, and not {_list(wider)}: if it "
        f"is to be allowed, {correction}"
    )


def _share_a_method(rules: Sequence[Rule]) -> bool:
    """Whether some two of them do, and so cannot have one pattern."""
    distinct = list(dict.fromkeys(rules))
    return any(rule.shares_method(other) for n, rule in enumerate(distinct) for other in distinct[:n])


def _named(rules: Sequence[Rule]) -> str:
    names = list(dict.fromkeys(rule.name for rule in rules))
    return f"{'rules' if names[1:] else 'rule'} {_list(names)}"


def _list(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def _width(pattern: PathPattern) -> tuple[int, ...]:
    """Less for the more specific of two patterns that match one path."""
    return tuple({"*": 1, "**": 2}.get(segment, 0) for segment in pattern.segments)
