"""Revocation records: whether a token has ended, and how two records are merged.

A merged record contains the entries of both, in any order of merging; entries only leave it when they are too old to
matter. Replicas therefore need no coordination, and any replica restores a record that was emptied.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from scopewright import base64url
from scopewright.core.records.written_by_issuers import RevocationRecord

MAX_ENTRIES_PER_CLIENT: Final = 256
"""Revoked tokens of one client, and audiences that it lost. Beyond that, its own not-before time replaces them."""
MAX_ENTRIES: Final = 13_000
"""Entries of a record. Each has at most 72 bytes with its owner, and a ConfigMap holds 1 MiB."""
MAX_LEEWAY_SECONDS: Final = 600
"""Largest leeway after `exp` of `scopewright.verifier`. Entries are needed that much longer."""

_KEY_BYTES: Final = 8
_DEFAULT_AUDIENCE: Final = re.compile(r"https://[^./:]+\.([^./:]+)\.svc")
"""The default audience of an API."""

Nested = Mapping[str, Mapping[str, int]]


def token_key(jti: str) -> str:
    """Return 64 bits of the SHA-256. That is enough among the tokens of one client, which it cannot choose."""
    return _key(jti)


def audience_key(audience: str) -> str:
    return _key(audience)


def namespace_key(namespace: str) -> str:
    return _key(namespace)


def owner_of_audience(audience: str) -> str | None:
    """Return the key of the namespace in a default audience; None for any other audience."""
    named = _DEFAULT_AUDIENCE.fullmatch(audience)
    return namespace_key(named[1]) if named else None


def namespaces_of(client_id: str, audience: str) -> tuple[str, ...]:
    """Return the keys of a token's namespaces: that of its client, and that of its API for a default audience."""
    owner = owner_of_audience(audience)
    return (namespace_key(client_id.partition(".")[0]), *((owner,) if owner else ()))


def _key(text: str) -> str:
    return base64url.encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES])


def has_ended(
    record: RevocationRecord, client: str, jti: str, audience: str, issued: float, namespaces: Iterable[str] = ()
) -> bool:
    """Whether the token `jti` has ended. `client` is the hash of the client's UID, `issued` the token's `iat`,
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
        tokens=_nested(one.tokens, other.tokens),
        clients=_later(one.clients, other.clients),
        access=_nested(one.access, other.access),
        audiences=_later(one.audiences, other.audiences),
        namespaces=_later(one.namespaces, other.namespaces),
        everybody=max(one.everybody, other.everybody),
        owners={**one.owners, **other.owners},
        longest_lifetime=max(one.longest_lifetime, other.longest_lifetime),
    )


def merge_all(records: Iterable[RevocationRecord]) -> RevocationRecord:
    """Merge many records in linear time; merging them one by one would take quadratic time."""
    tokens: dict[str, dict[str, int]] = {}
    access: dict[str, dict[str, int]] = {}
    clients: dict[str, int] = {}
    audiences: dict[str, int] = {}
    namespaces: dict[str, int] = {}
    owners: dict[str, str] = {}
    everybody = longest_lifetime = 0
    for record in records:
        for all_nested, nested in ((tokens, record.tokens), (access, record.access)):
            for key, times in nested.items():
                _update_latest(all_nested.setdefault(key, {}), times)
        _update_latest(clients, record.clients)
        _update_latest(audiences, record.audiences)
        _update_latest(namespaces, record.namespaces)
        owners.update(record.owners)
        everybody = max(everybody, record.everybody)
        longest_lifetime = max(longest_lifetime, record.longest_lifetime)
    return RevocationRecord(tokens, clients, access, audiences, namespaces, everybody, owners, longest_lifetime)


def prune(record: RevocationRecord, now: float, lifetime: int, clock_skew: int) -> RevocationRecord:
    """Remove the entries that no valid token needs. `lifetime` (the longest of a token) and `clock_skew` are seconds.

    An entry is needed until the token's `exp`, plus MAX_LEEWAY_SECONDS for verifiers and `clock_skew` for their clocks.
    A longer lifetime in the record takes precedence: tokens that were issued under it may still be valid.
    """
    latest = now - MAX_LEEWAY_SECONDS - clock_skew
    since = latest - max(lifetime, record.longest_lifetime)
    return _drop_unused_owners(
        replace(
            record,
            tokens=_nested_after(record.tokens, latest),
            clients=_after(record.clients, since),
            access=_nested_after(record.access, since),
            audiences=_after(record.audiences, since),
            namespaces=_after(record.namespaces, since),
            everybody=record.everybody if record.everybody > since else 0,
        )
    )


def shrink_to_limits(record: RevocationRecord, now: float) -> RevocationRecord:
    """Reduce a record to its limits. A client with too many entries gets one not-before time instead. If the record is
    still too large, so do the largest clients of the largest namespace, then that namespace, and finally all clients.
    """
    record = _drop_covered(record)
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
        return RevocationRecord(everybody=int(now), longest_lifetime=record.longest_lifetime)
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


def _later(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {**one, **{key: max(one.get(key, 0), instant) for key, instant in other.items()}}


def _update_latest(times: dict[str, int], by: Mapping[str, int]) -> None:
    for key, instant in by.items():
        times[key] = max(times.get(key, 0), instant)


def _nested(one: Nested, other: Nested) -> Nested:
    return {**one, **{key: _later(one.get(key, {}), times) for key, times in other.items()}}


def _after(times: Mapping[str, int], since: float) -> dict[str, int]:
    return {key: instant for key, instant in times.items() if instant > since}


def _nested_after(times: Nested, since: float) -> Nested:
    remaining = {key: _after(of_client, since) for key, of_client in times.items()}
    return {key: of_client for key, of_client in remaining.items() if of_client}
