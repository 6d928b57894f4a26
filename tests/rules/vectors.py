"""The vectors of vectors.json, which every program that applies rules is tested with."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from scopewright.verifier.patterns import PathAuthentication
from scopewright.verifier.rules import Rule, Rules

NO_RULE: Final = "no rule"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Vector:
    """A request, and the decision about it: the name of a rule of the rule set `rules`, `NO_RULE` or `REFUSED`."""

    group: str
    rules: str
    method: str
    target: str
    """As it is sent. Each character is one byte (Latin-1)."""
    decision: str

    @property
    def id(self) -> str:
        shown = self.target if len(self.target) < 100 else f"{self.target[:8]}… ({len(self.target)} bytes)"
        return f"{self.rules}: {self.method} {shown!r}"

    @property
    def rule(self) -> Rule | None:
        return next((rule for rule in RULES[self.rules].rules if rule.name == self.decision), None)

    @property
    def is_refused_for_its_query(self) -> bool:
        """Whether the path alone is canonical. A middleware does not read the query."""
        return self.decision == REFUSED and any(not "!" <= byte <= "~" for byte in self.target.partition("?")[2])


@dataclass(frozen=True)
class Scopes:
    """The scopes of tokens that show which rule of a set decides: a rule with scopes needs the one of its own name."""

    rules: Rules

    @cached_property
    def all(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.rules.rules if rule.scopes)

    def of(self, rule: Rule) -> frozenset[str]:
        """Sufficient for `rule` alone."""
        return frozenset(rule.scopes)

    def others(self, rule: Rule) -> frozenset[str]:
        """Sufficient for all other rules."""
        return self.all - self.of(rule)


_DOCUMENT: Final = json.loads(Path(__file__).with_name("vectors.json").read_bytes())
RULES: Final = {name: Rules.parse(document) for name, document in _DOCUMENT["rules"].items()}
VECTORS: Final = tuple(
    Vector(
        group["group"],
        group["rules"],
        vector["method"],
        vector["target"] + "x" * vector.get("padding", 0),
        vector["decision"],
    )
    for group in _DOCUMENT["groups"]
    for vector in group["vectors"]
)


def needs_token(rule: Rule) -> bool:
    return rule.authentication is PathAuthentication.REQUIRED
