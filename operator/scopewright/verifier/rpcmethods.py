"""The methods of a gRPC server, and what a call of each needs. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from scopewright.verifier.canonical_path import split_path
from scopewright.verifier.patterns import PathAuthentication, PathPattern, PatternTree
from scopewright.verifier.requirement import Requirement

Needs = str | Iterable[str] | Requirement
MethodRule = Requirement | PathAuthentication

_METHOD: Final = re.compile(r"/[^/]+/[^/]+")


class MethodRules:
    """`scopes` maps patterns of full methods, such as `/hr.Payroll/GetSalary`, to what a call needs.

    Of the patterns of all three arguments that match a method, the most specific one decides.
    """

    def __init__(self, scopes: Mapping[str, Needs], public: Iterable[str] = (), optional: Iterable[str] = ()) -> None:
        if not isinstance(scopes, Mapping):
            raise TypeError('scopes= maps methods to scopes: {"/hr.Payroll/GetSalary": ["payroll.read"]}')
        self._by_pattern: dict[PathPattern, MethodRule] = {}
        for text, needs in scopes.items():
            self._add("scopes=", text, needs if isinstance(needs, Requirement) else Requirement.of(needs))
        for text in (public,) if isinstance(public, str) else public:
            self._add("public=", text, PathAuthentication.NONE)
        for text in (optional,) if isinstance(optional, str) else optional:
            self._add("optional=", text, PathAuthentication.OPTIONAL)
        self._tree = PatternTree(self._by_pattern)

    def _add(self, argument: str, text: str, rule: MethodRule) -> None:
        try:
            pattern = PathPattern.parse(text)
        except ValueError:
            pattern = None
        if pattern is None or not (len(pattern.segments) == 2 or pattern.segments[-1:] == ("**",)):
            raise ValueError(
                f"{argument} {text!r} is not a method: write /hr.Payroll/GetSalary, or /hr.Payroll/* for all methods"
            )
        if pattern in self._by_pattern:
            raise ValueError(f"scopes=, public= and optional= have the same method {text}")
        self._by_pattern[pattern] = rule

    def of(self, method: str) -> MethodRule | None:
        """None for a method that is not listed."""
        return self._tree.find(split_path(method)) if _METHOD.fullmatch(method) else None
