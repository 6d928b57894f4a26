"""Clients and users by what their tokens may carry: who satisfies a rule. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from scopewright.plan.changes import Caller, EffectiveScope, GrantedUsers
from scopewright.verifier.rules import Rule

EVERY_USER = GrantedUsers()


@dataclass(slots=True)
class _Carried:
    """Scopes and roles of a token."""

    scopes: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)

    def satisfies(self, rule: Rule) -> bool:
        """A token needs a scope to be issued at all."""
        return (
            bool(self.scopes)
            and self.scopes.issuperset(rule.scopes)
            and (not rule.any_scope or not self.scopes.isdisjoint(rule.any_scope))
            and (not rule.roles or not self.roles.isdisjoint(rule.roles))
        )

    def joined(self, *others: "_Carried") -> "_Carried":
        return _Carried(self.scopes.union(*(o.scopes for o in others)), self.roles.union(*(o.roles for o in others)))


_OfClient = dict[GrantedUsers | None, _Carried]
"""What tokens of one client carry: its own (None), and those of users."""


class CallerIndex:
    """By resource server (`<namespace>/<name>`), from the effective scopes of all clients and users."""

    def __init__(self, access: Iterable[EffectiveScope]) -> None:
        self._servers: defaultdict[str, dict[str, _OfClient]] = defaultdict(dict)
        for effective in access:
            of_client = self._servers[effective.server].setdefault(effective.client, {})
            carried = of_client.setdefault(effective.users, _Carried())
            (carried.roles if effective.is_role else carried.scopes).add(effective.scope)
        self._known: dict[tuple[str, Rule], frozenset[Caller]] = {}

    def satisfying(self, server: str, rule: Rule) -> frozenset[Caller]:
        """The clients and users whose tokens may satisfy a rule with authentication."""
        if (known := self._known.get((server, rule))) is None:
            clients: dict[str, _OfClient] = self._servers.get(server, {})
            known = frozenset(c for client, of_client in clients.items() for c in _satisfying(client, of_client, rule))
            self._known[server, rule] = known
        return known


def _satisfying(client: str, of_client: _OfClient, rule: Rule) -> Iterator[Caller]:
    if None in of_client and of_client[None].satisfies(rule):
        yield Caller(client)
    users = {users: carried for users, carried in of_client.items() if users is not None}
    everyone = users.pop(EVERY_USER, _Carried())
    if everyone.satisfies(rule):
        yield Caller(client, EVERY_USER)
        return
    named = [one for one, carried in users.items() if carried.joined(everyone).satisfies(rule)]
    yield from (Caller(client, one) for one in named)
    if not named and everyone.joined(*users.values()).satisfies(rule):
        yield Caller(client, several=True)
