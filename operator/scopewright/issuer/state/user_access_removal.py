"""Removed access of users: whether a change of a record withdraws what tokens of users rely on, and ended logins.

Only a session knows a user's groups, so entries of grants are compared, and not the access of each user. A user of a
withdrawn entry may still have the scope by another one; their token ends all the same, and the application refreshes
it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from scopewright.core.records.client import Login
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.resource_server import ResourceServerRecord, UserGrant
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.state.entries import NEVER, Client

USER_GRANT_TYPES: Final = frozenset({"authorization_code", "refresh_token"})
"""Grant types that yield tokens of users only."""

MAX_COMPARISONS: Final = 50_000
"""Above this, all tokens of users for the API end: their applications refresh them."""

MAX_CLIENTS_OF_LOGINS: Final = 1000
"""Clients through which users of one provider log in. Above this, the end of its logins ends all tokens of users."""


def users_lost_client(before: Client, after: Client) -> bool:
    """Whether users can no longer log in through the client as before, or fewer users can."""
    if (set(before.grant_types) - set(after.grant_types)) & USER_GRANT_TYPES:
        return True
    if before.login is None:
        return False
    return after.login is None or after.public != before.public or _admits_fewer(before.login, after.login)


def users_lost_access(before: ResourceServerRecord, after: ResourceServerRecord, now: float) -> bool:
    """Whether some user, through some client, may have lost a scope or a role at the API.

    Each entry of before must be covered: for each of its scopes and roles, and for each group and subject, by entries
    that reach all of its clients. An entry with an earlier end covers another one as long as its tokens live. True if
    that would take more than MAX_COMPARISONS: one change of a label may change every entry of a long record, and the
    issuer answers no request meanwhile.
    """
    if (after.user_grants, after.scopes, after.roles) == (before.user_grants, before.scopes, before.roles):
        return False
    needed_until = now + before.lifetime
    kept = {grant for grant in after.user_grants if _items(after, grant) >= _items(before, grant)}
    changed = [grant for grant in before.user_grants if now < _end(grant) and grant not in kept]
    if sum(map(_comparisons, changed)) * len(after.user_grants) > MAX_COMPARISONS:
        return True
    return any(
        _is_lost(grant, _entries_with(item, after, min(_end(grant), needed_until)))
        for grant in changed
        for item in _items(before, grant)
    )


def _comparisons(grant: UserGrant) -> int:
    """With each entry of the other record."""
    return (len(grant.scopes) + len(grant.roles)) * (1 + len(grant.groups) + len(grant.subjects))


def ends_more_logins(before: IdentityProviderRecord, after: IdentityProviderRecord) -> bool:
    """Whether `revokedBefore` has become later."""
    earlier, later = before.revoked_before, after.revoked_before
    return later is not None and (earlier is None or earlier < later)


def ended_logins(provider: str, clients: Iterable[Client], until: float) -> RevocationRecord:
    """Return the revocation of the tokens that users of a provider have until a time, in seconds since the epoch.

    No token says at which provider its user logged in. So the tokens of users end of each client that may admit the
    provider's: a client without names had it while it was the only one. An exchanged token ends with the one that it
    was exchanged from. A client that admitted the provider's users earlier lost its tokens when it changed.
    """
    affected = [c for c in clients if c.login and provider in (c.login.identity_providers or (provider,))]
    if len(affected) > MAX_CLIENTS_OF_LOGINS:
        return RevocationRecord(every_user=int(until))
    return RevocationRecord(user_clients={c.uid_hash: int(until) for c in affected})


_Item = tuple[str, frozenset[str]]
"""A role with its scopes, or a declared scope as the only one of a role without a name."""


def _items(record: ResourceServerRecord, grant: UserGrant) -> set[_Item]:
    """The declared scopes and roles of the grant."""
    return {
        *(("", frozenset({scope})) for scope in grant.scopes if scope in record.scopes),
        *((role.name, frozenset(role.scopes)) for role in record.roles if role.name in grant.roles),
    }


def _entries_with(item: _Item, record: ResourceServerRecord, until: float) -> list[UserGrant]:
    """The entries that grant it until then. A token has a role only with all scopes of the role, so one whose role got
    another scope has it no longer.
    """
    name, scopes = item
    if not name:
        return [g for g in record.user_grants if until <= _end(g) and scopes <= set(g.scopes) & set(record.scopes)]
    if not any(role.name == name and scopes.issuperset(role.scopes) for role in record.roles):
        return []
    return [g for g in record.user_grants if until <= _end(g) and name in g.roles]


def _is_lost(grant: UserGrant, entries: list[UserGrant]) -> bool:
    return any(not _reach(grant, of_users) for of_users in _by_users(grant, entries))


def _by_users(grant: UserGrant, entries: list[UserGrant]) -> Iterator[list[UserGrant]]:
    """For each group and each subject of the grant: the entries that name them."""
    if grant.all_users:
        yield [e for e in entries if e.all_users]
        return
    for group in grant.groups:
        yield [e for e in entries if e.all_users or group in e.groups]
    for subject in grant.subjects:
        yield [e for e in entries if e.all_users or subject in e.subjects]


def _reach(grant: UserGrant, entries: list[UserGrant]) -> bool:
    """Whether the entries together reach all clients of the grant."""
    if any(e.everybody for e in entries):
        return True
    namespaces = {namespace for e in entries for namespace in e.namespaces}
    clients = {client for e in entries for client in e.clients}
    return (
        not grant.everybody
        and namespaces.issuperset(grant.namespaces)
        and all(client in clients or client.partition(".")[0] in namespaces for client in grant.clients)
    )


def _end(grant: UserGrant) -> float:
    return grant.not_after.timestamp() if grant.not_after else NEVER


def _admits_fewer(before: Login, after: Login) -> bool:
    """By groups or identity providers. Without names, `identity_providers` is the only one there is."""
    if after.allowed_groups is not None and not set(after.allowed_groups).issuperset(before.allowed_groups or ()):
        return True
    if after.allowed_groups is not None and before.allowed_groups is None:
        return True
    return after.identity_providers != before.identity_providers and not (
        before.identity_providers and set(after.identity_providers).issuperset(before.identity_providers)
    )
