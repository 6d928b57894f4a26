"""`rules=` of an application: the rule of a request and what it needs of a token, or the reason for refusing it."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from scopewright.verifier.canonical_path import PathRefused, canonical_path, canonical_segments, split_path
from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import Reason, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.rules import Rule, Rules, is_method
from scopewright.verifier.token_verifier import TokenVerifier, shown_type


class RuleNeeds(NamedTuple):
    """What the rule `name` needs of a token, and of whether there is one."""

    name: str
    authentication: PathAuthentication
    requirement: Requirement


class RequestRules:
    """Finds the rule of a request by the path that the framework routes on.

    `scopes` are needed besides those of each rule. Raises ValueError for rules of another audience than those of the
    verifier, and for a rule whose scopes or roles no token can have.
    """

    def __init__(self, rules: "Rules | str | os.PathLike[str]", verifier: TokenVerifier, scopes: Iterable[str]) -> None:
        self._rules = _loaded(rules)
        audience, accepted = self._rules.audience, getattr(verifier, "audiences", ())
        if audience and audience not in accepted:
            raise ValueError(
                f"rules= are for the audience {audience}, and the verifier accepts {', '.join(accepted) or 'others'}: "
                "export the rules of the ResourceServer with the audience of the verifier"
            )
        self._needs = {rule.name: _needs_of(rule, frozenset(scopes)) for rule in self._rules.rules}
        self._base = self._comparable(self._rules.base_segments)

    @property
    def scopes(self) -> frozenset[str]:
        """All scopes that some rule names."""
        rules = self._rules.rules
        return frozenset(scope for rule in rules for scope in (*rule.scopes, *rule.any_scope))

    def of(self, request: ReceivedRequest) -> RuleNeeds:
        """Raises `TokenRejected` for a request that no rule covers, or that services could read in different ways."""
        if request.overrides_method:
            raise TokenRejected(Reason.METHOD_OVERRIDE)
        if not is_method(request.method):
            raise TokenRejected(Reason.METHOD)
        try:
            segments = _routed_segments(request)
            rule = self._rules.find(request.method, segments)
        except PathRefused as refused:
            raise TokenRejected(Reason.PATH) from refused
        self._require_below_base_path(segments, request.root)
        if rule is None:
            raise TokenRejected(Reason.NO_RULE)
        return self._needs[rule.name]

    def _require_below_base_path(self, segments: tuple[str, ...], root: str) -> None:
        """An application that routes on the whole path would apply the rule of another path."""
        count = len(self._base)
        if count and self._comparable(segments[:count]) == self._base:
            if self._comparable(_root_segments(root)[-count:]) == self._base:
                return  # the base path was removed, and the path below begins with the same segments again
            raise TokenRejected(Reason.NO_RULE) from PathRefused(
                f"the path begins with the basePath {self._rules.base_path} of the rules, which they are relative to; "
                "pass rules.with_base_path() for an application that routes on the whole path"
            )

    def _comparable(self, segments: tuple[str, ...]) -> tuple[str, ...]:
        return segments if self._rules.case_sensitive else tuple(segment.lower() for segment in segments)


def _routed_segments(request: ReceivedRequest) -> tuple[str, ...]:
    """The segments that the framework routes on. Raises `PathRefused`, also if the path as it was sent has others."""
    if request.path is None:
        raise PathRefused("routers disagree about the part of it that is the root_path")
    segments = canonical_segments(request.path)
    if request.raw_path is not None:
        sent = canonical_path(request.raw_path.encode("latin-1", "backslashreplace"))
        if sent not in (segments, (*_root_segments(request.root), *segments)):
            raise PathRefused(
                "it was sent in another form than the one that is routed; if a proxy removes a prefix, set root_path "
                "or SCRIPT_NAME to that prefix"
            )
    return segments


def _root_segments(root: str) -> tuple[str, ...]:
    return split_path(root.rstrip("/"))


def _needs_of(rule: Rule, scopes: frozenset[str]) -> RuleNeeds:
    try:
        requirement = Requirement.of((*scopes, *rule.scopes), rule.any_scope or None, rule.roles or None)
    except ValueError as error:
        raise ValueError(f"rule {rule.name}: {error}") from None
    return RuleNeeds(rule.name, rule.authentication, requirement)


def _loaded(rules: object) -> Rules:
    if isinstance(rules, Rules):
        return rules
    if isinstance(rules, str | os.PathLike):
        return Rules.load(rules)
    raise TypeError(
        f"rules= takes Rules or the path of a JSON file of scopewright export rules, not {shown_type(rules)}"
    )
