"""What has ended before its time: what a revocation record says of a token, and how two of them are merged.

Whatever is in one of two records is in their merger, in whatever order they come; only time takes something out again.
So replicas need no agreement, and a record that was emptied is filled again by whoever still knows.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from scopewright.core.records import RevocationRecord

QUOTA: Final = 256
"""Revoked tokens of one client at a time, and audiences that it has lost. One more, and its own not-before moves."""
MOST: Final = 20_000
"""Entries of a record. They are at most 43 bytes each, and a ConfigMap has room for 1 MiB."""
LARGEST_LEEWAY: Final = 600
"""Seconds after `exp` for which `scopewright.verifier` can be told to take a token: so long an entry is needed."""

_KEY_BYTES: Final = 8

Nested = Mapping[str, Mapping[str, int]]


def token_key(jti: str) -> str:
    """64 bits of the SHA-256: among one client's tokens, which cannot be chosen, that is enough."""
    return _key(jti)


def audience_key(audience: str) -> str:
    return _key(audience)


def _key(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]).rstrip(b"=").decode()


def has_ended(record: RevocationRecord, client: str, jti: str, audience: str, issued: float) -> bool:
    """Whether the token `jti`, issued then to the client with this UID hash, has; `audience` is an `audience_key`."""
    return (
        issued <= record.everybody
        or issued <= record.clients.get(client, 0)
        or issued <= record.audiences.get(audience, 0)
        or issued <= record.access.get(client, {}).get(audience, 0)
        or (client in record.tokens and token_key(jti) in record.tokens[client])
    )


def merge(one: RevocationRecord, other: RevocationRecord) -> RevocationRecord:
    """Both, and of two instants the later. A small one into a large one costs what the small one does."""
    return RevocationRecord(
        tokens=_nested(one.tokens, other.tokens),
        clients=_later(one.clients, other.clients),
        access=_nested(one.access, other.access),
        audiences=_later(one.audiences, other.audiences),
        everybody=max(one.everybody, other.everybody),
        longest_lifetime=max(one.longest_lifetime, other.longest_lifetime),
    )


def gather(records: Iterable[RevocationRecord]) -> RevocationRecord:
    """All of them merged, at what they cost together: many small ones merged one by one cost the square of that."""
    tokens: dict[str, dict[str, int]] = {}
    access: dict[str, dict[str, int]] = {}
    clients: dict[str, int] = {}
    audiences: dict[str, int] = {}
    everybody = longest_lifetime = 0
    for record in records:
        for all_nested, nested in ((tokens, record.tokens), (access, record.access)):
            for key, marks in nested.items():
                _raise(all_nested.setdefault(key, {}), marks)
        _raise(clients, record.clients)
        _raise(audiences, record.audiences)
        everybody = max(everybody, record.everybody)
        longest_lifetime = max(longest_lifetime, record.longest_lifetime)
    return RevocationRecord(tokens, clients, access, audiences, everybody, longest_lifetime)


def prune(record: RevocationRecord, now: float, lifetime: int, skew: int) -> RevocationRecord:
    """Without what no token can need any more: `lifetime` is the longest of a token, both in seconds.

    A token is needed until its `exp`, and by verifiers until LARGEST_LEEWAY later, by a clock that differs by `skew`.
    Where the record knows a longer one, that holds: tokens are about that were issued under it.
    """
    latest = now - LARGEST_LEEWAY - skew
    since = latest - max(lifetime, record.longest_lifetime)
    return replace(
        record,
        tokens=_nested_after(record.tokens, latest),
        clients=_after(record.clients, since),
        access=_nested_after(record.access, since),
        audiences=_after(record.audiences, since),
        everybody=record.everybody if record.everybody > since else 0,
    )


def fold(record: RevocationRecord, now: float) -> RevocationRecord:
    """Within its limits: a client with too much to say gets a not-before, and so does everybody in the last resort."""
    counts = {
        c: len(record.tokens.get(c, ())) + len(record.access.get(c, ())) for c in (*record.tokens, *record.access)
    }
    folded = {c for c in counts if len(record.tokens.get(c, ())) > QUOTA or len(record.access.get(c, ())) > QUOTA}
    total = sum(counts.values()) + len(record.clients) + len(record.audiences)
    total -= sum(counts[c] - 1 for c in folded)
    if total > MOST:
        for client in sorted(counts.keys() - folded, key=lambda c: (-counts[c], c)):
            if total <= MOST:
                break
            folded.add(client)
            total -= counts[client] - 1
    if total > MOST:
        return RevocationRecord(everybody=int(now), longest_lifetime=record.longest_lifetime)
    if not folded:
        return record
    return replace(
        record,
        tokens={c: tokens for c, tokens in record.tokens.items() if c not in folded},
        access={c: access for c, access in record.access.items() if c not in folded},
        clients={**record.clients, **dict.fromkeys(sorted(folded), int(now))},
    )


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
