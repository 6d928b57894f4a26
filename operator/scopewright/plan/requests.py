"""Requests that rules allow after a change and not before, or the reverse: by anyone, or by clients and users."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from scopewright.core.http_rules import rules_of
from scopewright.core.records.resource_server import HttpAccess, ResourceServerRecord
from scopewright.plan.callers import CallerIndex
from scopewright.plan.changes import Caller, RequestChange
from scopewright.plan.path_classes import ComparedPattern, PathClass, path_classes
from scopewright.verifier.patterns import PathAuthentication, PathPattern
from scopewright.verifier.rules import Rule, Rules, RulesInvalid

MAX_COMPARISONS: Final = 50_000
"""Classes of paths times methods at one site. Beyond it, rules are listed and not compared."""

ANYONE: Final = None
OTHER_METHOD: Final = "*"
"""Stands for every method that no rule of the site names."""

Callers = frozenset[Caller] | None
"""Who may send a request: ANYONE, or these."""


@dataclass(frozen=True, slots=True)
class _Api:
    key: str
    http: HttpAccess
    rules: Rules = field(compare=False)


_Places = dict[tuple[str, ...], _Api | None]
"""What is at each base path, longest first. None: every request is refused."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """The rule that decides about a request, and its pattern, base path included."""

    api: _Api
    rule: Rule
    pattern: PathPattern


@dataclass(frozen=True, slots=True)
class _Side:
    """The state before or after the change, at one site."""

    places: _Places
    callers: CallerIndex

    def decide(self, methods: Iterable[str], path: tuple[str, ...]) -> Iterator[_Decided | None]:
        """The decision for each method."""
        base, api = next(((base, api) for base, api in self.places.items() if path[: len(base)] == base), ((), None))
        below = path[len(base) :]
        known: dict[str, _Decided] = {}
        for method in methods:
            rule = api.rules.find(method, below) if api is not None else None
            if api is None or rule is None:
                yield None
                continue
            if rule.name not in known:
                pattern = max((p for p in rule.paths if _matches(api.rules, p, below)), key=_precision)
                known[rule.name] = _Decided(api, rule, PathPattern((*base, *pattern.segments)))
            yield known[rule.name]

    def who(self, decided: _Decided | None) -> Callers:
        if decided is None:
            return frozenset()
        if decided.rule.authentication is not PathAuthentication.REQUIRED:
            return ANYONE
        return self.callers.satisfying(decided.api.key, decided.rule)


@dataclass(slots=True)
class RequestChanges:
    """`uncompared` are ResourceServers (`<namespace>/<name>`) with too many patterns: each of their rules is listed."""

    changes: list[RequestChange] = field(default_factory=list)
    uncompared: set[str] = field(default_factory=set)


def request_changes(
    before: Mapping[str, ResourceServerRecord],
    after: Mapping[str, ResourceServerRecord],
    callers_before: CallerIndex,
    callers_after: CallerIndex,
) -> RequestChanges:
    """Compare by hostname, as gateways decide. Rules without a hostname, which only middleware enforces, are compared
    by audience.
    """
    found = RequestChanges()
    old, new = _sites(before.values()), _sites(after.values())
    for site in sorted(old.keys() | new.keys()):
        of_before, of_after = old.get(site, {}), new.get(site, {})
        # The claim of a deleted ResourceServer stays: its requests do not become those of another around it.
        of_after = dict.fromkeys(of_before) | of_after
        if of_before == of_after and all(
            callers_before.at(api.key) == callers_after.at(api.key) for api in of_before.values() if api
        ):
            continue
        before_here = _Side(_longest_first(of_before), callers_before)
        _compare(site, before_here, _Side(_longest_first(of_after), callers_after), found)
    return found


def _longest_first(places: _Places) -> _Places:
    return {base: places[base] for base in sorted(places, key=len, reverse=True)}


def unreachable_rules(http: HttpAccess) -> tuple[str, ...]:
    """Names of the rules with which no request is decided; none if the rules contradict each other, or have too many
    patterns to know.
    """
    try:
        rules = rules_of(http, "")
    except RulesInvalid:
        return ()
    classes = path_classes(_patterns({rules.base_segments: _Api("", http, rules)}))
    below = len(rules.base_segments)
    if classes is None or len(classes) * len(rules.rules) > MAX_COMPARISONS:
        return ()
    return tuple(
        rule.name
        for rule in rules.rules
        if not any(
            rules.find(method, found.path[below:]) is rule
            for found in classes
            for method in rule.methods or (OTHER_METHOD,)
        )
    )


def _sites(records: Iterable[ResourceServerRecord]) -> dict[str, _Places]:
    sites: dict[str, _Places] = {}
    for record in records:
        if record.http is None:
            continue
        try:
            api = _Api(record.key, record.http, rules_of(record.http, record.audience))
        except RulesInvalid:
            continue
        unserved = (_authority(record.audience),) if record.audience else ()
        for site in record.http.hostnames or unserved:
            places = sites.setdefault(site, {})
            base = api.rules.base_segments
            places[base] = None if base in places else api
    return sites


def _authority(audience: str) -> str:
    """The audience without its path, which is the base path."""
    scheme, separator, rest = audience.partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0]}"


def _compare(site: str, before: _Side, after: _Side, found: RequestChanges) -> None:
    classes = path_classes({*_patterns(before.places), *_patterns(after.places)})
    methods = sorted(_methods(before.places) | _methods(after.places))
    if classes is None or len(classes) * len(methods) > MAX_COMPARISONS:
        found.uncompared.update(api.key for api in after.places.values() if api)
        found.changes.extend(_listed(site, after))
        return
    gained, lost = _Differences(site, after, methods), _Differences(site, before, methods)
    for path_class in classes:
        decided = zip(before.decide(methods, path_class.path), after.decide(methods, path_class.path), strict=True)
        for method, (was, now) in zip(methods, decided, strict=True):
            had, has = before.who(was), after.who(now)
            gained.add(now, method, path_class, has, had)
            lost.add(was, method, path_class, had, has)
    found.changes.extend(gained.changes(gained=True))
    found.changes.extend(lost.changes(gained=False))


def _patterns(places: _Places) -> Iterator[ComparedPattern]:
    for base, api in places.items():
        yield ComparedPattern((*base, "**"))
        if api is not None:
            patterns = (*api.rules.refused, *(pattern for rule in api.rules.rules for pattern in rule.paths))
            yield from (_compared(base, api.rules, pattern) for pattern in patterns)


def _compared(base: tuple[str, ...], rules: Rules, pattern: PathPattern) -> ComparedPattern:
    if rules.case_sensitive:
        return ComparedPattern((*base, *pattern.segments))
    return ComparedPattern((*base, *(segment.lower() for segment in pattern.segments)), case_sensitive=False)


def _methods(places: _Places) -> set[str]:
    rules = (rule for api in places.values() if api for rule in api.rules.rules)
    return {OTHER_METHOD, *(method for rule in rules for method in rule.methods)}


def _matches(rules: Rules, pattern: PathPattern, path: tuple[str, ...]) -> bool:
    left: ComparedPattern | None = _compared((), rules, pattern)
    for segment in path:
        left = left.after(segment) if left else None
    return left is not None and left.segments in ((), ("**",))


def _precision(pattern: PathPattern) -> tuple[int, ...]:
    """Greater for the pattern that decides, of two that match one path."""
    return (*({"*": 1, "**": 0}.get(segment, 2) for segment in pattern.segments), 3)


_Key = tuple[Callers, str, str]
"""Callers, resource server and name of the rule."""


class _Differences:
    """Requests that one side allows and the other does not, joined to as few changes as describe them."""

    def __init__(self, site: str, side: _Side, methods: Collection[str]) -> None:
        self._site, self._side, self._methods = site, side, methods
        self._more: dict[tuple[int, int], tuple[tuple[frozenset[Caller], frozenset[Caller]], frozenset[Caller]]] = {}
        self._all: defaultdict[tuple[str, str, PathPattern, str], set[PathPattern]] = defaultdict(set)
        self._found: defaultdict[_Key, defaultdict[tuple[PathPattern, str], set[PathPattern]]] = defaultdict(
            lambda: defaultdict(set)
        )

    def add(self, decided: _Decided | None, method: str, path_class: PathClass, these: Callers, those: Callers) -> None:
        """`these` may send the requests on this side, and `those` on the other."""
        if decided is None:
            return
        server, rule = decided.api.key, decided.rule.name
        self._all[server, rule, decided.pattern, method].add(path_class.shown)
        if those is ANYONE:
            return
        more = ANYONE if these is ANYONE else self._beyond(these, those)
        if more is ANYONE or more:
            self._found[more, server, rule][decided.pattern, method].add(path_class.shown)

    def _beyond(self, these: frozenset[Caller], those: frozenset[Caller]) -> frozenset[Caller]:
        """Those of `these` that `those` do not include. "Every user" includes each group and user."""
        key = (id(these), id(those))
        if key in self._more:
            return self._more[key][1]
        everyone = {caller.client for caller in those if caller.is_every_user}
        more = frozenset(c for c in these - those if c.users is None or c.client not in everyone)
        self._more[key] = ((these, those), more)  # the sets are kept, and so their ids
        return more

    def changes(self, *, gained: bool) -> Iterator[RequestChange]:
        for (callers, server, rule), found in self._found.items():
            by_path: defaultdict[PathPattern, set[str]] = defaultdict(set)
            for (pattern, method), shown in found.items():
                is_whole = shown == self._all[server, rule, pattern, method]
                for path in {pattern} if is_whole else shown:
                    by_path[path].add(method)
            by_methods: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
            for path, of_path in by_path.items():
                by_methods[tuple(sorted(of_path))].append(str(path))
            for methods, paths in sorted(by_methods.items()):
                named, but = self._named(methods)
                yield RequestChange(
                    server, rule, self._site, tuple(sorted(paths)), named, but, _in_order(callers), gained
                )

    def _named(self, methods: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The methods, or none for every method, and those that are excepted from every method."""
        if OTHER_METHOD not in methods:
            return methods, ()
        return (), tuple(sorted(set(self._methods).difference(methods)))


def _listed(site: str, side: _Side) -> Iterator[RequestChange]:
    """Every rule, as if all of them were new."""
    served = [(base, api, rule) for base, api in side.places.items() if api is not None for rule in api.rules.rules]
    for base, api, rule in served:
        callers = side.who(_Decided(api, rule, rule.paths[0]))
        if callers is ANYONE or callers:
            paths = tuple(str(PathPattern((*base, *pattern.segments))) for pattern in rule.paths)
            methods = tuple(sorted(rule.methods))
            yield RequestChange(api.key, rule.name, site, paths, methods, (), _in_order(callers), gained=True)


def _in_order(callers: Callers) -> tuple[Caller, ...]:
    return () if callers is ANYONE else tuple(sorted(callers, key=str))
