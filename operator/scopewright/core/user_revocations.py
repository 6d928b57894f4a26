"""Revocation of tokens of users: the members of revocation records that no token of a client depends on.

They have limits of their own. Beyond these, more tokens of users end than necessary, whose applications then refresh
them, and never the token that a client got for itself.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import GRANT_KEY_LENGTH, session_key, token_key, user_key
from scopewright.core.revocation_times import Nested, Times, after, nested_after

MAX_USER_ENTRIES: Final = 4_000
"""Entries for users of a record. Each has at most 42 bytes."""
MAX_USER_TOKENS_PER_CLIENT: Final = 256
"""Revoked tokens of the users of one client. Beyond that, a not-before time of its tokens of users replaces them."""
MAX_SESSIONS_PER_USER: Final = 32
"""Ended sessions of one user. Beyond that, a not-before time of the user's tokens replaces them."""


def user_token_has_ended(
    record: RevocationRecord, client: str, jti: str, audience: str, issued: float, sid: str, subject: str
) -> bool:
    """Whether the token `jti` of a user has ended by an entry for users. `has_ended` applies to it as well.

    `sid` and `subject` are claims of the token; the other arguments are those of `has_ended`. All tokens of an ended
    session have ended, also one that another issuer has signed at the same moment.
    """
    user, tokens = user_key(subject), record.user_tokens.get(client, {})
    return (
        issued <= record.every_user
        or issued <= record.users.get(user, 0)
        or (user in record.sessions and session_key(sid) in record.sessions[user])
        or issued <= record.user_access.get(audience, 0)
        or issued <= record.user_clients.get(client, 0)
        or (bool(tokens) and (token_key(jti) in tokens or token_key(jti[:GRANT_KEY_LENGTH]) in tokens))
        or (bool(tokens) and issued <= tokens.get(user, 0))
    )


def ended_sessions(subject: str, sids: Iterable[str], now: float) -> RevocationRecord:
    """Return the revocation of all tokens of these sessions of a user."""
    return RevocationRecord(sessions={user_key(subject): {session_key(sid): int(now) for sid in sids}})


def withdrawn_consent(subject: str, client: str, now: float) -> RevocationRecord:
    """Return the revocation of the tokens of a user that a client has until now. `client` is the hash of its UID."""
    return RevocationRecord(user_tokens={client: {user_key(subject): int(now)}})


def shrink_users(record: RevocationRecord, now: float) -> RevocationRecord:
    """Reduce the entries for users to their limits.

    A user with too many ended sessions gets a not-before time instead, and so does a client with too many revoked
    tokens of users. If there are still too many entries, the users and clients with most of them do, and finally all
    users: no user alone ends the tokens of others.
    """
    if not _count(record):
        return record
    record = _drop_covered(record)
    excess = _count(record) - MAX_USER_ENTRIES
    users: set[str] = set()
    clients: set[str] = set()
    of_users = [(len(t), name, MAX_SESSIONS_PER_USER, users, record.users) for name, t in record.sessions.items()]
    of_clients = [
        (len(t), name, MAX_USER_TOKENS_PER_CLIENT, clients, record.user_clients)
        for name, t in record.user_tokens.items()
    ]
    for count, name, limit, replaced, known in sorted([*of_users, *of_clients], key=lambda item: (-item[0], item[1])):
        if count > limit or (excess > 0 and count > 1):
            replaced.add(name)
            excess -= count - (name not in known)
    if excess > 0:
        return replace(
            record, sessions={}, users={}, user_access={}, user_clients={}, user_tokens={}, every_user=int(now)
        )
    if not users and not clients:
        return record
    return replace(
        record,
        sessions={u: times for u, times in record.sessions.items() if u not in users},
        users={**record.users, **dict.fromkeys(sorted(users), int(now))},
        user_tokens={c: times for c, times in record.user_tokens.items() if c not in clients},
        user_clients={**record.user_clients, **dict.fromkeys(sorted(clients), int(now))},
    )


def _count(record: RevocationRecord) -> int:
    nested = (*record.sessions.values(), *record.user_tokens.values())
    return sum(map(len, (record.users, record.user_access, record.user_clients, *nested)))


def _drop_covered(record: RevocationRecord) -> RevocationRecord:
    """Drop the entries that the not-before time of their user, of their client or of all users covers.

    Merging with a replica that still has them brings them back; they must not end the tokens again.
    """
    since = record.every_user
    if not since and not record.users and not record.user_clients:
        return record
    reduced = replace(
        record,
        sessions=_uncovered(record.sessions, record.users, since),
        users=after(record.users, since),
        user_access=after(record.user_access, since),
        user_clients=after(record.user_clients, since),
        user_tokens=_uncovered(record.user_tokens, record.user_clients, since),
    )
    return record if reduced == record else reduced


def _uncovered(nested: Nested, not_before: Times, since: int) -> Nested:
    return nested_after({name: after(times, not_before.get(name, 0)) for name, times in nested.items()}, since)
