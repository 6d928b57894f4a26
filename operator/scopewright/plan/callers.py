"""Clients and users by what their tokens may carry: who satisfies a rule. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from scopewright.plan.changes import Caller, EffectiveScope, GrantedUsers
from scopewright.verifier.rules import Rule

EVERY_USER = GrantedUsers()


@dataclass(slots=True)
class Carried:
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

    def joined(self, *others: "Carried") -> "Carried":
        return Carried(self.scopes.union(*(o.scopes for o in others)), self.roles.union(*(o.roles for o in others)))


class CallerIndex:
    """By resource server (`<namespace>/<name>`), from the effective scopes of all clients and users."""

    def __init__(self, access: Iterable[EffectiveScope]) -> None:
        self._servers: defaultdict[str, dict[str, dict[GrantedUsers | None, Carried]]] = defaultdict(dict)
        for effective in access:
            of_client = self._servers[effective.server].setdefault(effective.client, {})
            carried = of_client.setdefault(effective.users, Carried())
            (carried.roles if effective.is_role else carried.scopes).add(effective.scope)
        self._known: dict[tuple[object, ...], frozenset[Caller]] = {}

    def at(self, server: str) -> Mapping[str, Mapping[GrantedUsers | None, Carried]]:
        """By client, what its own tokens (None) and those of users may carry at a resource server."""
        return self._servers.get(server, {})

    def satisfying(self, server: str, rule: Rule) -> frozenset[Caller]:
        """The clients and users whose tokens may satisfy a rule with authentication."""
        key = (server, rule.scopes, rule.any_scope, rule.roles)
        if (known := self._known.get(key)) is None:
            clients = self.at(server).items()
            known = frozenset(c for client, of_client in clients for c in _satisfying(client, of_client, rule))
            self._known[key] = known
        return known


def _satisfying(client: str, of_client: Mapping[GrantedUsers | None, Carried], rule: Rule) -> Iterator[Caller]:
    if None in of_client and of_client[None].satisfies(rule):
        yield Caller(client)
    users = {users: carried for users, carried in of_client.items() if users is not None}
    everyone = users.pop(EVERY_USER, Carried())
    if everyone.satisfies(rule):
        yield Caller(client, EVERY_USER)
        return
    named = [one for one, carried in users.items() if carried.joined(everyone).satisfies(rule)]
    yield from (Caller(client, one) for one in named)
    if not named and everyone.joined(*users.values()).satisfies(rule):
        yield Caller(client, several=True)
