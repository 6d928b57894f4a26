"""What has ended before its time: what a revocation record says of a token, and how two of them are merged.

Whatever is in one of two records is in their merger, in whatever order they come; only time takes something out again.
So replicas need no agreement, and a record that was emptied is filled again by whoever still knows.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from scopewright.core.records import RevocationRecord

MAX_ENTRIES_PER_CLIENT: Final = 256
"""Revoked tokens of one client at a time, and audiences that it has lost. One more, and its own not-before moves."""
MAX_ENTRIES: Final = 13_000
"""Entries of a record. They are at most 72 bytes each with their owner, and a ConfigMap has room for 1 MiB."""
MAX_LEEWAY_SECONDS: Final = 600
"""Seconds after `exp` for which `scopewright.verifier` can be told to take a token: so long an entry is needed."""

_KEY_BYTES: Final = 8
_OF_A_NAMESPACE: Final = re.compile(r"https://[^./:]+\.([^./:]+)\.svc")
"""The audience that every API has unless it names another."""

Nested = Mapping[str, Mapping[str, int]]


def token_key(jti: str) -> str:
    """64 bits of the SHA-256: among one client's tokens, which cannot be chosen, that is enough."""
    return _key(jti)


def audience_key(audience: str) -> str:
    return _key(audience)


def namespace_key(namespace: str) -> str:
    return _key(namespace)


def owner_of_audience(audience: str) -> str | None:
    """The key of the namespace that it names; None for an audience of an API's own choosing."""
    named = _OF_A_NAMESPACE.fullmatch(audience)
    return namespace_key(named[1]) if named else None


def namespaces_of(client_id: str, audience: str) -> tuple[str, ...]:
    """The keys of the namespaces that a token is of: its client's, and its API's as far as its audience tells."""
    owner = owner_of_audience(audience)
    return (namespace_key(client_id.partition(".")[0]), *((owner,) if owner else ()))


def _key(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]).rstrip(b"=").decode()


def has_ended(
    record: RevocationRecord, client: str, jti: str, audience: str, issued: float, namespaces: Iterable[str] = ()
) -> bool:
    """Whether the token `jti`, issued then to the client with this UID hash, has; `audience` is an `audience_key`, and
    `namespaces` are those of `namespaces_of`.
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
    """Both, and of two instants the later. A small one into a large one costs what the small one does."""
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
    """All of them merged, at what they cost together: many small ones merged one by one cost the square of that."""
    tokens: dict[str, dict[str, int]] = {}
    access: dict[str, dict[str, int]] = {}
    clients: dict[str, int] = {}
    audiences: dict[str, int] = {}
    namespaces: dict[str, int] = {}
    owners: dict[str, str] = {}
    everybody = longest_lifetime = 0
    for record in records:
        for all_nested, nested in ((tokens, record.tokens), (access, record.access)):
            for key, marks in nested.items():
                _raise(all_nested.setdefault(key, {}), marks)
        _raise(clients, record.clients)
        _raise(audiences, record.audiences)
        _raise(namespaces, record.namespaces)
        owners.update(record.owners)
        everybody = max(everybody, record.everybody)
        longest_lifetime = max(longest_lifetime, record.longest_lifetime)
    return RevocationRecord(tokens, clients, access, audiences, namespaces, everybody, owners, longest_lifetime)


def prune(record: RevocationRecord, now: float, lifetime: int, skew: int) -> RevocationRecord:
    """Remove the entries that no valid token needs. `lifetime` (the longest of a token) and `skew` are seconds.

    An entry is needed until the token's `exp`, plus MAX_LEEWAY_SECONDS for verifiers and `skew` for their clocks. A
    longer lifetime in the record takes precedence: tokens that were issued under it may still be valid.
    """
    latest = now - MAX_LEEWAY_SECONDS - skew
    since = latest - max(lifetime, record.longest_lifetime)
    return _with_its_owners(
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


def fold(record: RevocationRecord, now: float) -> RevocationRecord:
    """Within its limits. A client with too much to say gets a not-before. Where all together have too much, those do
    that have most in the namespace that has most, and then that namespace; everybody does in the last resort.
    """
    record = _without_what_namespaces_cover(record)
    weights = Counter((*record.clients, *record.audiences))
    for nested in (record.tokens, record.access):
        weights.update({client: len(marks) for client, marks in nested.items()})
    of_clients = {
        c
        for nested in (record.tokens, record.access)
        for c, marks in nested.items()
        if len(marks) > MAX_ENTRIES_PER_CLIENT
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
    return _folded(record, of_clients, of_namespaces, int(now))


def _heaviest_first(owners: Mapping[str, str], weights: Mapping[str, int]) -> list[tuple[str, list[str]]]:
    """Clients and audiences by their namespace; those whose namespace is not known come last, and have none."""
    named: dict[str, list[str]] = {}
    for name in weights:
        named.setdefault(owners.get(name, ""), []).append(name)
    heavy = Counter({namespace: sum(weights[name] for name in names) for namespace, names in named.items()})
    return sorted(named.items(), key=lambda item: (not item[0], -heavy[item[0]], item[0]))


def _folded(record: RevocationRecord, of_clients: set[str], of_namespaces: set[str], now: int) -> RevocationRecord:
    gone = {name for name, namespace in record.owners.items() if namespace in of_namespaces}
    told = of_clients | gone
    return _with_its_owners(
        replace(
            record,
            tokens={c: tokens for c, tokens in record.tokens.items() if c not in told},
            access={c: access for c, access in record.access.items() if c not in told},
            clients={c: t for c, t in record.clients.items() if c not in gone}
            | dict.fromkeys(sorted(of_clients - gone), now),
            audiences={a: t for a, t in record.audiences.items() if a not in gone},
            namespaces={**record.namespaces, **dict.fromkeys(sorted(of_namespaces), now)},
        )
    )


def _without_what_namespaces_cover(record: RevocationRecord) -> RevocationRecord:
    """What another replica has not folded yet comes back with each merger: it must not fold its namespace again."""
    if not record.namespaces:
        return record
    since = {name: record.namespaces.get(namespace, 0) for name, namespace in record.owners.items()}

    def kept(marks: Mapping[str, int]) -> dict[str, int]:
        return {name: instant for name, instant in marks.items() if instant > since.get(name, 0)}

    access = {c: {a: t for a, t in marks.items() if t > since.get(c, 0)} for c, marks in record.access.items()}
    known = replace(
        record,
        clients=kept(record.clients),
        audiences=kept(record.audiences),
        access={client: marks for client, marks in access.items() if marks},
    )
    return record if known == record else _with_its_owners(known)


def _with_its_owners(record: RevocationRecord) -> RevocationRecord:
    """Without those of what is not in it any more."""
    named = record.tokens.keys() | record.access.keys() | record.clients.keys() | record.audiences.keys()
    if named >= record.owners.keys():
        return record
    return replace(record, owners={name: owner for name, owner in record.owners.items() if name in named})


def _later(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {**one, **{key: max(one.get(key, 0), instant) for key, instant in other.items()}}


def _raise(marks: dict[str, int], by: Mapping[str, int]) -> None:
    for key, instant in by.items():
        marks[key] = max(marks.get(key, 0), instant)


def _nested(one: Nested, other: Nested) -> Nested:
    return {**one, **{key: _later(one.get(key, {}), marks) for key, marks in other.items()}}


def _after(marks: Mapping[str, int], since: float) -> dict[str, int]:
    return {key: instant for key, instant in marks.items() if instant > since}


def _nested_after(marks: Nested, since: float) -> Nested:
    kept = {key: _after(of_client, since) for key, of_client in marks.items()}
    return {key: of_client for key, of_client in kept.items() if of_client}
