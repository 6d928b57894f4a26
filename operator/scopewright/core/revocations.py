"""Revocation records: whether a token has ended, and how two records are merged.

A merged record contains the entries of both, in any order of merging; entries only leave it when they are too old to
matter. Replicas therefore need no coordination, and any replica restores a record that was emptied.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import token_key
from scopewright.core.revocation_times import after, later, later_nested, latest, latest_nested, nested_after
from scopewright.core.user_revocations import shrink_users

MAX_ENTRIES_PER_CLIENT: Final = 256
"""Revoked tokens of one client, and audiences that it lost. Beyond that, its own not-before time replaces them."""
MAX_ENTRIES: Final = 12_000
"""Entries of a record, without those for users. Each has at most 71 bytes with its owner; a ConfigMap holds 1 MiB."""
MAX_LEEWAY_SECONDS: Final = 600
"""Largest leeway after `exp` of `scopewright.verifier`. Entries are needed that much longer."""


def has_ended(
    record: RevocationRecord, client: str, jti: str, audience: str, issued: float, namespaces: Iterable[str] = ()
) -> bool:
    """Whether the token `jti` has ended. A token of a user may also have ended by `user_token_has_ended`.

    `client` is the hash of the client's UID, `issued` the token's `iat`,
    `audience` an `audience_key`, and `namespaces` the result of `namespaces_of`.
    """
    return (
        issued <= record.everybody
        or issued <= record.clients.get(client, 0)
        or issued <= record.audiences.get(audience, 0)
        or issued <= record.access.get(client, {}).get(audience, 0)
        or any(issued <= record.namespaces.get(namespace, 0) for namespace in namespaces)
        or (client in record.tokens and token_key(jti) in record.tokens[client])
    )


def merge(one: RevocationRecord, other: RevocationRecord) -> RevocationRecord:
    """Merge two records, with the later of two times. The cost of merging a small record into a large one is small."""
    return RevocationRecord(
        tokens=later_nested(one.tokens, other.tokens),
        clients=later(one.clients, other.clients),
        access=later_nested(one.access, other.access),
        audiences=later(one.audiences, other.audiences),
        namespaces=later(one.namespaces, other.namespaces),
        everybody=max(one.everybody, other.everybody),
        owners={**one.owners, **other.owners},
        longest_lifetime=max(one.longest_lifetime, other.longest_lifetime),
        sessions=later_nested(one.sessions, other.sessions),
        users=later(one.users, other.users),
        user_access=later(one.user_access, other.user_access),
        user_clients=later(one.user_clients, other.user_clients),
        user_tokens=later_nested(one.user_tokens, other.user_tokens),
        every_user=max(one.every_user, other.every_user),
    )


def merge_all(records: Iterable[RevocationRecord]) -> RevocationRecord:
    """Merge many records in linear time; merging them one by one would take quadratic time."""
    every = tuple(records)
    return RevocationRecord(
        tokens=latest_nested(r.tokens for r in every),
        clients=latest(r.clients for r in every),
        access=latest_nested(r.access for r in every),
        audiences=latest(r.audiences for r in every),
        namespaces=latest(r.namespaces for r in every),
        everybody=max((r.everybody for r in every), default=0),
        owners={name: owner for r in every for name, owner in r.owners.items()},
        longest_lifetime=max((r.longest_lifetime for r in every), default=0),
        sessions=latest_nested(r.sessions for r in every),
        users=latest(r.users for r in every),
        user_access=latest(r.user_access for r in every),
        user_clients=latest(r.user_clients for r in every),
        user_tokens=latest_nested(r.user_tokens for r in every),
        every_user=max((r.every_user for r in every), default=0),
    )


def prune(record: RevocationRecord, now: float, lifetime: int, clock_skew: int) -> RevocationRecord:
    """Remove the entries that no valid token needs. `lifetime` (the longest of a token) and `clock_skew` are seconds.

    An entry is needed until the token's `exp`, plus MAX_LEEWAY_SECONDS for verifiers and `clock_skew` for their clocks.
    A longer lifetime in the record takes precedence: tokens that were issued under it may still be valid.
    """
    expired = now - MAX_LEEWAY_SECONDS - clock_skew
    since = expired - max(lifetime, record.longest_lifetime)
    return _drop_unused_owners(
        replace(
            record,
            tokens=nested_after(record.tokens, expired),
            clients=after(record.clients, since),
            access=nested_after(record.access, since),
            audiences=after(record.audiences, since),
            namespaces=after(record.namespaces, since),
            everybody=record.everybody if record.everybody > since else 0,
            sessions=nested_after(record.sessions, since),
            users=after(record.users, since),
            user_access=after(record.user_access, since),
            user_clients=after(record.user_clients, since),
            user_tokens=nested_after(record.user_tokens, since),
            every_user=record.every_user if record.every_user > since else 0,
        )
    )


def shrink_to_limits(record: RevocationRecord, now: float) -> RevocationRecord:
    """Reduce a record to its limits: the entries for users as `shrink_users`, and the others without regard to those.

    A client with too many entries gets one not-before time instead. If the record is still too large, so do the largest
    clients of the largest namespace, then that namespace, and finally all clients.
    """
    record = _drop_covered(shrink_users(record, now))
    weights = Counter((*record.clients, *record.audiences))
    for nested in (record.tokens, record.access):
        weights.update({client: len(times) for client, times in nested.items()})
    of_clients = {
        c
        for nested in (record.tokens, record.access)
        for c, times in nested.items()
        if len(times) > MAX_ENTRIES_PER_CLIENT
    }
    weights.update({client: 1 - weights[client] for client in of_clients})
    of_namespaces: set[str] = set()
    excess = weights.total() + len(record.namespaces) - MAX_ENTRIES
    for namespace, names in _heaviest_first(record.owners, weights) if excess > 0 else ():
        for client in sorted(names, key=lambda c: (-weights[c], c)):
            if excess <= 0 or weights[client] == 1:
                break
            excess -= weights[client] - 1
            weights[client] = 1
            of_clients.add(client)
        if excess > 0 and namespace:
            excess -= sum(weights[name] for name in names) - (namespace not in record.namespaces)
            of_namespaces.add(namespace)
    if excess > 0:
        return replace(
            record, tokens={}, clients={}, access={}, audiences={}, namespaces={}, owners={}, everybody=int(now)
        )
    if not of_clients and not of_namespaces:
        return record
    return _with_not_before(record, of_clients, of_namespaces, int(now))


def _heaviest_first(owners: Mapping[str, str], weights: Mapping[str, int]) -> list[tuple[str, list[str]]]:
    """Return clients and audiences by namespace, largest first; those of an unknown namespace (empty) come last."""
    by_namespace: dict[str, list[str]] = {}
    for name in weights:
        by_namespace.setdefault(owners.get(name, ""), []).append(name)
    totals = Counter({namespace: sum(weights[name] for name in names) for namespace, names in by_namespace.items()})
    return sorted(by_namespace.items(), key=lambda item: (not item[0], -totals[item[0]], item[0]))


def _with_not_before(record: RevocationRecord, clients: set[str], namespaces: set[str], now: int) -> RevocationRecord:
    dropped = {name for name, namespace in record.owners.items() if namespace in namespaces}
    replaced = clients | dropped
    return _drop_unused_owners(
        replace(
            record,
            tokens={c: tokens for c, tokens in record.tokens.items() if c not in replaced},
            access={c: access for c, access in record.access.items() if c not in replaced},
            clients={c: t for c, t in record.clients.items() if c not in dropped}
            | dict.fromkeys(sorted(clients - dropped), now),
            audiences={a: t for a, t in record.audiences.items() if a not in dropped},
            namespaces={**record.namespaces, **dict.fromkeys(sorted(namespaces), now)},
        )
    )


def _drop_covered(record: RevocationRecord) -> RevocationRecord:
    """Drop the entries that a not-before time of their namespace covers.

    Merging with a replica that still has them brings them back; they must not end the namespace's tokens again.
    """
    if not record.namespaces:
        return record
    since = {name: record.namespaces.get(namespace, 0) for name, namespace in record.owners.items()}

    def uncovered(times: Mapping[str, int]) -> dict[str, int]:
        return {name: instant for name, instant in times.items() if instant > since.get(name, 0)}

    access = {c: {a: t for a, t in times.items() if t > since.get(c, 0)} for c, times in record.access.items()}
    reduced = replace(
        record,
        clients=uncovered(record.clients),
        audiences=uncovered(record.audiences),
        access={client: times for client, times in access.items() if times},
    )
    return record if reduced == record else _drop_unused_owners(reduced)


def _drop_unused_owners(record: RevocationRecord) -> RevocationRecord:
    """Drop the owners of entries that are not in the record."""
    named = record.tokens.keys() | record.access.keys() | record.clients.keys() | record.audiences.keys()
    if named >= record.owners.keys():
        return record
    return replace(record, owners={name: owner for name, owner in record.owners.items() if name in named})
