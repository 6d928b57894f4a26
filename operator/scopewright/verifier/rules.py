"""Rules for requests: which method and path needs which token. Pure; needs the standard library only.

The owner of an API declares them in `spec.http` of its ResourceServer. The gateway, the middleware and the operator
match them with this module. The most specific pattern that matches a path decides, and of the rules with this pattern
the one that covers the method. A request without a rule is refused. The order of rules has no meaning.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from scopewright.strict_json import json_object
from scopewright.verifier.canonical_path import PathRefused
from scopewright.verifier.patterns import PathAuthentication, PathPattern, PatternTree, literal_segments

MAX_RULES: Final = 64
MAX_PATHS: Final = 16
"""Of one rule."""
MAX_ALL_PATHS: Final = 256
"""Of all rules together. Each path that needs no token is compared with each that does."""
MAX_SEGMENTS: Final = 16
"""Of one path."""
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""A larger file is truncated, and so refused."""
METHOD_OVERRIDES: Final = ("x-http-method-override", "x-http-method", "x-method-override")
"""Headers by which some frameworks take another method than that of the request. A request with one is refused."""

_EXPORT: Final = "write it with `scopewright export rules DIR`"
_METHOD: Final = re.compile(r"[A-Z]{1,32}")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class RulesInvalid(ValueError):
    """`reason` is `RuleConflict`, `PublicCoversProtected` or `InvalidRule`; `rule` names the rule to change."""

    def __init__(self, reason: str, rule: str, message: str) -> None:
        self.reason, self.rule = reason, rule
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Rule:
    """What requests with `methods` (empty: every method) to `paths` need: all of `scopes`, at least one of `any_scope`,
    and at least one of `roles`.
    """

    name: str
    paths: tuple[PathPattern, ...]
    methods: frozenset[str] = frozenset()
    authentication: PathAuthentication = PathAuthentication.REQUIRED
    scopes: tuple[str, ...] = ()
    any_scope: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    def covers_method(self, method: str) -> bool:
        """GET covers HEAD (RFC 9110 §9.3.2). No other method is implied."""
        return not self.methods or method in self.methods or (method == "HEAD" and "GET" in self.methods)

    def shares_method(self, other: "Rule") -> bool:
        """Whether some method is covered by both."""
        if not self.methods or not other.methods:
            return True
        return any(other.covers_method(m) for m in self.methods) or any(self.covers_method(m) for m in other.methods)

    @classmethod
    def parse(cls, document: object) -> Self:
        """A rule in the form of the manifest. Raises `RulesInvalid`, also for an unknown member."""
        members = _members(_shown_rule(document), "", document, _RULE_MEMBERS)
        name = members.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RulesInvalid("InvalidRule", "", "every rule needs a name: lower-case letters, digits and hyphens")
        texts = {member: _strings(name, member, members.get(member, [])) for member in _LISTS}
        if wrong := [method for method in texts["methods"] if not is_method(method)]:
            raise RulesInvalid("InvalidRule", name, f"methods of rule {name}: {wrong[0]!r} is not in upper case")
        authentication = members.get("authentication")
        required = texts["scopes"] or texts["anyScope"] or texts["roles"]
        if authentication is None and not required:
            raise RulesInvalid("InvalidRule", name, f"rule {name} needs scopes, anyScope, roles or authentication")
        try:
            paths = tuple(PathPattern.parse(text) for text in texts["paths"])
            kind = PathAuthentication(authentication if authentication is not None else "Required")
        except ValueError as error:
            raise RulesInvalid("InvalidRule", name, f"rule {name}: {error}") from None
        if kind is not PathAuthentication.REQUIRED and required:
            message = f"rule {name} has authentication {kind} and requires scopes or roles: remove one of the two"
            raise RulesInvalid("InvalidRule", name, message)
        if not 1 <= len(paths) <= MAX_PATHS:
            raise RulesInvalid("InvalidRule", name, f"rule {name} needs 1 to {MAX_PATHS} paths")
        if deep := [path for path in paths if len(path.segments) > MAX_SEGMENTS]:
            message = f"{deep[0]} of rule {name} has more than {MAX_SEGMENTS} segments: end it with /**"
            raise RulesInvalid("InvalidRule", name, message)
        return cls(name, paths, frozenset(texts["methods"]), kind, texts["scopes"], texts["anyScope"], texts["roles"])

    def document(self) -> dict[str, Any]:
        """The JSON that `parse` reads. Members with their default are omitted."""
        lists = {
            "methods": sorted(self.methods),
            "paths": [str(path) for path in self.paths],
            "scopes": list(self.scopes),
            "anyScope": list(self.any_scope),
            "roles": list(self.roles),
        }
        explicit = not (self.scopes or self.any_scope or self.roles)
        authentication = {"authentication": self.authentication.value} if explicit else {}
        return {"name": self.name, **{name: texts for name, texts in lists.items() if texts}, **authentication}


_LISTS: Final = ("methods", "paths", "scopes", "anyScope", "roles")
_RULE_MEMBERS: Final = frozenset({"name", "authentication", *_LISTS})
_RULES_MEMBERS: Final = frozenset({"audience", "basePath", "caseSensitive", "refused", "rules"})


class Rules:
    """The rules of one API. `base_path` is the path of the API at its hostname; patterns are relative to it.

    Raises `RulesInvalid` for two rules with one name, for two with an equal pattern and a shared method
    (`RuleConflict`), and for a pattern without authentication that covers one of another rule with authentication
    for a shared method (`PublicCoversProtected`). `audience` is empty or the audience that the rules were made for.
    `refused` are patterns that decide without a rule of their own: of rules that the platform has refused since.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        audience: str = "",
        base_path: str = "/",
        case_sensitive: bool = True,
        refused: Iterable[PathPattern] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.refused = tuple(refused)
        self.audience = audience
        self.case_sensitive = case_sensitive
        self.base_path = base_path
        self.base_segments = _base_segments(base_path)
        if len(self.rules) > MAX_RULES:
            raise RulesInvalid("InvalidRule", self.rules[MAX_RULES].name, f"there are more than {MAX_RULES} rules")
        if sum(len(rule.paths) for rule in self.rules) > MAX_ALL_PATHS:
            message = f"the rules have more than {MAX_ALL_PATHS} paths in all: write * and ** for several of them"
            raise RulesInvalid("InvalidRule", "", message)
        _require_distinct_names(self.rules)
        by_pattern: dict[PathPattern, list[Rule]] = {self.comparable(pattern): [] for pattern in self.refused}
        for rule in self.rules:
            for pattern in {self.comparable(path) for path in rule.paths}:
                others = by_pattern.setdefault(pattern, [])
                _require_no_conflict(rule, pattern, others)
                others.append(rule)
        _require_no_public_cover(by_pattern)
        self._tree = PatternTree({pattern: tuple(found) for pattern, found in by_pattern.items()})

    @classmethod
    def parse(cls, document: object) -> Self:
        """Rules in the form of `scopewright export rules`. Raises `RulesInvalid`."""
        members = _members("the document", "", document, _RULES_MEMBERS)
        listed = members.get("rules")
        if not isinstance(listed, list):
            raise RulesInvalid("InvalidRule", "", "the rules must be a list")
        audience, base_path = members.get("audience", ""), members.get("basePath", "/")
        case_sensitive = members.get("caseSensitive", True)
        if not isinstance(audience, str) or not isinstance(base_path, str) or not isinstance(case_sensitive, bool):
            raise RulesInvalid("InvalidRule", "", "audience and basePath must be strings, and caseSensitive a boolean")
        rules = [Rule.parse(rule) for rule in listed]
        try:
            refused = [PathPattern.parse(text) for text in _strings("", "refused", members.get("refused", []))]
        except ValueError as error:
            raise RulesInvalid("InvalidRule", "", f"refused: {error}") from None
        return cls(rules, audience=audience, base_path=base_path, case_sensitive=case_sensitive, refused=refused)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """The rules of a JSON file of `scopewright export rules`. Raises ValueError, which names the file."""
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES)
            return cls.parse(json_object(data))
        except RulesInvalid as error:
            why = str(error)
        except OSError as error:
            why = f"{error.strerror}: {_EXPORT}"
        except ValueError as error:
            why = f"it is not the JSON of rules ({error}): {_EXPORT}"
        raise ValueError(f"rules file {os.fspath(file) or repr('')} cannot be used: {why}")

    def document(self) -> dict[str, Any]:
        """The JSON that `parse` reads."""
        audience = {"audience": self.audience} if self.audience else {}
        refused = {"refused": [str(pattern) for pattern in self.refused]} if self.refused else {}
        rules = [rule.document() for rule in self.rules]
        settings = {"basePath": self.base_path, "caseSensitive": self.case_sensitive}
        return {**audience, **settings, **refused, "rules": rules}

    def with_base_path(self) -> "Rules":
        """The same rules for an application that routes on the whole path, base path included."""
        rules = (replace(rule, paths=self._whole(rule.paths)) for rule in self.rules)
        refused = self._whole(self.refused)
        return Rules(rules, audience=self.audience, case_sensitive=self.case_sensitive, refused=refused)

    def _whole(self, patterns: Iterable[PathPattern]) -> tuple[PathPattern, ...]:
        return tuple(PathPattern((*self.base_segments, *pattern.segments)) for pattern in patterns)

    def find(self, method: str, segments: Sequence[str]) -> Rule | None:
        """The rule that decides about a request; None: it is refused.

        `segments` are of a canonical path, below the base path. Raises `PathRefused` if the rules ignore case, for a
        character that some services replace by an ASCII letter.
        """
        if not self.case_sensitive:
            segments = tuple(map(_lower, segments))
        found = self._tree.find(segments)
        for rule in found or ():
            if rule.covers_method(method):
                return rule
        return None

    def comparable(self, pattern: PathPattern) -> PathPattern:
        """The pattern as it is compared: in lower case if the rules ignore case."""
        return pattern if self.case_sensitive else PathPattern(tuple(s.lower() for s in pattern.segments))


def is_method(text: str) -> bool:
    """Whether rules can match the method of a request. Methods are case-sensitive (RFC 9110 §9.1)."""
    return _METHOD.fullmatch(text) is not None


def _lower(segment: str) -> str:
    """The segment as a service without case compares it."""
    if segment.isascii():
        return segment.lower()
    for character in segment:
        changed = character.lower() + character.upper() + character.casefold()
        if not character.isascii() and any(c.isascii() for c in changed):  # the Kelvin sign, the long s, the dotless i
            raise PathRefused("it has a character that becomes an ASCII letter in another case")
    return segment.lower()


def _base_segments(base_path: str) -> tuple[str, ...]:
    try:
        return literal_segments(base_path)
    except ValueError:
        message = "basePath must be a path of literal segments, such as /payroll"
        raise RulesInvalid("InvalidRule", "", message) from None


def _require_distinct_names(rules: Sequence[Rule]) -> None:
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise RulesInvalid("RuleConflict", rule.name, f"two rules are named {rule.name}: rename one of them")
        seen.add(rule.name)


def _require_no_conflict(rule: Rule, pattern: PathPattern, others: Sequence[Rule]) -> None:
    for other in others:
        if rule.shares_method(other):
            message = (
                f"rules {other.name} and {rule.name} both have {pattern} for the same method: give each method of a "
                "path to one rule"
            )
            raise RulesInvalid("RuleConflict", rule.name, message)


def _require_no_public_cover(by_pattern: Mapping[PathPattern, Sequence[Rule]]) -> None:
    """A service that reads a path less strictly would otherwise open what another rule protects."""
    patterns: dict[Rule, list[PathPattern]] = {}
    for pattern, rules in by_pattern.items():
        for rule in rules:
            patterns.setdefault(rule, []).append(pattern)
    public = [rule for rule in patterns if rule.authentication is PathAuthentication.NONE]
    protected = [rule for rule in patterns if rule.authentication is not PathAuthentication.NONE]
    for rule in public:
        for other in (other for other in protected if rule.shares_method(other)):
            for covering in patterns[rule]:
                if covered := next((each for each in patterns[other] if covering.covers(each)), None):
                    message = (
                        f"rule {rule.name} opens {covering} to anyone, which covers {covered} of rule {other.name} "
                        "for the same method: narrow its paths or its methods"
                    )
                    raise RulesInvalid("PublicCoversProtected", rule.name, message)


def _shown_rule(document: object) -> str:
    name = document.get("name") if isinstance(document, Mapping) else None
    return f"rule {name}" if isinstance(name, str) and _NAME.fullmatch(name) else "a rule"


def _members(what: str, rule: str, document: object, known: frozenset[str]) -> Mapping[str, Any]:
    """Raises `RulesInvalid` for unknown members too: one may be a restriction of a later version."""
    if not isinstance(document, Mapping):
        raise RulesInvalid("InvalidRule", rule, f"{what} must be a JSON object")
    if unknown := sorted(str(name) for name in document.keys() - known):
        raise RulesInvalid("InvalidRule", rule, f"{what} has an unknown member {unknown[0]!r}: correct or remove it")
    return document


def _strings(rule: str, member: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        where = f"{member} of rule {rule}" if rule else member
        raise RulesInvalid("InvalidRule", rule, f"{where} must be a list of strings")
    return tuple(value)
