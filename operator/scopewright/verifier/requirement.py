"""What a route needs of a token: scopes and roles. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from scopewright.verifier.check import insufficient, require_scopes, required_scopes
from scopewright.verifier.refusals import Reason, TokenRejected, quotable
from scopewright.verifier.token import Token


@dataclass(frozen=True, slots=True)
class Requirement:
    """All of `scopes`, at least one of `any_of`, and at least one of `roles`."""

    scopes: frozenset[str] = frozenset()
    any_of: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, scopes: Iterable[str] = (), any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
    ) -> Self:
        """Raises ValueError for a name that cannot be a scope (RFC 6749 §3.3) or a role, and for no name: an empty list
        of alternatives, as from a missing setting, would allow every token.
        """
        alternatives = _alternatives("any_of=", any_of.split() if isinstance(any_of, str) else any_of)
        required_scopes(alternatives)
        names = _alternatives("roles=", (roles,) if isinstance(roles, str) else roles)
        for name in names:
            if not isinstance(name, str) or not name or quotable(name) != name:
                raise ValueError(f"a role must be printable ASCII without quotes and backslashes: {name!r}")
        return cls(required_scopes(scopes), alternatives, names)

    def check(self, token: Token | None) -> Token:
        """Returns the token. Raises `TokenRejected`: 401 for None, 403 for a token that lacks a scope or a role."""
        if token is None:
            raise TokenRejected(Reason.MISSING)
        require_scopes(token, self.scopes)
        if self.any_of and token.scopes.isdisjoint(self.any_of):
            # The challenge names the first alternative: a client that requests `scope` needs one of them, not all.
            sufficient = sorted(self.scopes | {self.any_of[0]})
            expected = " or ".join(self.any_of)
            raise insufficient(token, Reason.SCOPE, sufficient, expected)
        if self.roles and token.roles.isdisjoint(self.roles):
            raise insufficient(token, Reason.ROLE, expected=" or ".join(self.roles))
        return token


def _alternatives(argument: str, names: Iterable[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    alternatives = tuple(names)
    if not alternatives:
        raise ValueError(f"{argument} is empty, and no token could meet it: name at least one, or omit the argument")
    return alternatives
