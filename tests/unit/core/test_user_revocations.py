"""Entries for users in revocation records: what they end, and that their limits end no token of a client."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.records.codec import encode
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, session_key, token_key, user_key
from scopewright.core.revocations import MAX_LEEWAY_SECONDS, has_ended, merge, prune, shrink_to_limits
from scopewright.core.user_revocations import (
    MAX_SESSIONS_PER_USER,
    MAX_USER_ENTRIES,
    MAX_USER_TOKENS_PER_CLIENT,
    shrink_users,
    user_token_has_ended,
    withdrawn_consent,
)
from tests.unit.core.test_revocations import LIFETIME, NOW, SKEW, clients, instants, keys, records

subjects = st.sampled_from("abc")
sids = st.sampled_from("abcdef")
MEMBERS = ("sessions", "users", "user_access", "user_clients", "user_tokens")

ENDING: dict[str, RevocationRecord] = {
    "session": RevocationRecord(sessions={user_key("u-ada"): {session_key("sid-1"): NOW - 100}}),
    "user": RevocationRecord(users={user_key("u-ada"): NOW}),
    "access": RevocationRecord(user_access={audience_key("api"): NOW}),
    "client": RevocationRecord(user_clients={"client-hash1": NOW}),
    "token": RevocationRecord(user_tokens={"client-hash1": {token_key("client-hash1jti"): NOW - 100}}),
    "consent": withdrawn_consent("u-ada", "client-hash1", NOW),
    "every user": RevocationRecord(every_user=NOW),
}


def ada_has_ended(record: RevocationRecord, sid: str = "sid-1", subject: str = "u-ada", issued: int = NOW) -> bool:
    return user_token_has_ended(
        record, "client-hash1", "client-hash1jti", audience_key("api"), issued, sid=sid, subject=subject
    )


@pytest.mark.parametrize("record", ENDING.values(), ids=ENDING)
def test_entry_for_users_ends_a_token_of_a_user_and_no_token_of_a_client(record: RevocationRecord) -> None:
    assert not ada_has_ended(RevocationRecord())
    assert ada_has_ended(record)
    assert not has_ended(record, "client-hash1", "client-hash1jti", audience_key("api"), NOW)


@pytest.mark.parametrize("name", ["user", "access", "client", "consent", "every user"])
def test_token_issued_later_is_valid(name: str) -> None:
    assert not ada_has_ended(ENDING[name], issued=NOW + 1)


@pytest.mark.parametrize("name", ["session", "token"])
def test_session_and_token_have_ended_whenever_the_token_was_issued(name: str) -> None:
    """Another issuer may sign a token of the session at the same moment, with a clock that is ahead."""
    assert ada_has_ended(ENDING[name], issued=NOW + 30)


def test_session_of_another_user_is_not_ended_even_with_the_same_key() -> None:
    """A `sid` counts for its user only."""
    record = ENDING["session"]
    assert not ada_has_ended(record, subject="u-eve")
    assert not ada_has_ended(record, sid="sid-2")


@given(records, records, clients, sids, keys, instants, sids, subjects)
def test_a_token_of_a_user_has_ended_in_the_merged_record_if_it_has_in_one(
    a: RevocationRecord,
    b: RevocationRecord,
    client: str,
    jti: str,
    audience: str,
    issued: int,
    sid: str,
    subject: str,
) -> None:
    token = client, jti, audience, issued, sid, subject
    either = user_token_has_ended(a, *token) or user_token_has_ended(b, *token)
    assert user_token_has_ended(merge(a, b), *token) == either


@given(records, clients, sids, keys, st.integers(NOW - 7200, NOW), st.integers(1, LIFETIME), sids, subjects)
def test_entries_for_users_are_removed_only_after_their_tokens_have_expired(
    record: RevocationRecord,
    client: str,
    jti: str,
    audience: str,
    issued: int,
    lifetime: int,
    sid: str,
    subject: str,
) -> None:
    """A token of a session, and a revoked token, were issued before the time of their entry."""
    token = client, jti, audience, issued, sid, subject
    ended = record.sessions.get(user_key(subject), {}).get(session_key(sid), NOW)
    revoked = record.user_tokens.get(client, {}).get(token_key(jti), NOW)
    if issued + lifetime + MAX_LEEWAY_SECONDS + SKEW > NOW and issued <= min(ended, revoked):
        pruned = prune(record, NOW, LIFETIME, SKEW)
        assert user_token_has_ended(pruned, *token) == user_token_has_ended(record, *token)


def test_entries_for_users_leave_when_they_are_too_old() -> None:
    old = NOW - 2 * LIFETIME - MAX_LEEWAY_SECONDS - SKEW
    for record in ENDING.values():
        later = shrink_to_limits(record, NOW)
        assert prune(later, NOW + (NOW - old), LIFETIME, SKEW) == RevocationRecord()


@given(records, st.integers(0, 20), clients, sids, keys, instants, sids, subjects)
def test_folding_makes_no_ended_token_of_a_user_valid(
    record: RevocationRecord,
    most: int,
    client: str,
    jti: str,
    audience: str,
    issued: int,
    sid: str,
    subject: str,
) -> None:
    token = client, jti, audience, issued, sid, subject
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scopewright.core.user_revocations.MAX_USER_ENTRIES", most)
        patch.setattr("scopewright.core.user_revocations.MAX_SESSIONS_PER_USER", 3)
        patch.setattr("scopewright.core.user_revocations.MAX_USER_TOKENS_PER_CLIENT", 3)
        shrunk = shrink_users(record, NOW + 6000)
        again = shrink_users(merge(shrunk, record), NOW + 7000)
    ended = record.sessions.get(user_key(subject), {}).get(session_key(sid), NOW + 5000)
    revoked = record.user_tokens.get(client, {}).get(token_key(jti), NOW + 5000)
    if user_token_has_ended(record, *token) and issued <= min(ended, revoked):
        assert user_token_has_ended(shrunk, *token)
    assert sum(entries_of(shrunk).values()) <= most
    for not_users in ("tokens", "clients", "access", "audiences", "namespaces", "everybody", "owners"):
        assert getattr(shrunk, not_users) == getattr(record, not_users)
    assert again == shrunk, "a replica that has not folded its record ends nothing again"


def entries_of(record: RevocationRecord) -> dict[str, int]:
    nested = {name: sum(map(len, getattr(record, name).values())) for name in ("sessions", "user_tokens")}
    return nested | {name: len(getattr(record, name)) for name in ("users", "user_access", "user_clients")}


def logouts(number: int, of_user: str = "", instant: int = NOW) -> RevocationRecord:
    """So many ended sessions, of one user, or of as many users."""
    sessions: dict[str, dict[str, int]] = {}
    for n in range(number):
        sessions.setdefault(user_key(of_user or f"u-{n}"), {})[session_key(f"{of_user} {n}")] = instant
    return RevocationRecord(sessions=sessions)


def test_user_who_logs_out_again_and_again_ends_only_their_own_tokens() -> None:
    record = merge(logouts(100), logouts(MAX_USER_ENTRIES, of_user="u-mallory"))
    shrunk = shrink_to_limits(record, NOW)
    assert shrunk == replace(logouts(100), users={user_key("u-mallory"): NOW})
    assert shrink_to_limits(logouts(MAX_SESSIONS_PER_USER, of_user="u-busy"), NOW).users == {}


def test_client_that_revokes_tokens_again_and_again_ends_only_its_own_tokens_of_users() -> None:
    tokens = {token_key(str(n)): NOW for n in range(MAX_USER_TOKENS_PER_CLIENT + 1)}
    record = merge(logouts(100), RevocationRecord(user_tokens={"greedy": tokens, "modest": {token_key("x"): NOW}}))
    shrunk = shrink_to_limits(record, NOW)
    assert shrunk.user_clients == {"greedy": NOW}
    assert list(shrunk.user_tokens) == ["modest"]
    assert shrunk.sessions == logouts(100).sessions
    assert not has_ended(shrunk, "greedy", "any", "any", NOW), "the client's own tokens stay valid"


def test_clients_with_the_most_revoked_tokens_are_folded_before_all_users() -> None:
    tokens = {f"client-{c}": {token_key(f"{c} {n}"): NOW for n in range(200)} for c in range(20)}
    shrunk = shrink_to_limits(merge(logouts(1000), RevocationRecord(user_tokens=tokens)), NOW)
    assert shrunk.every_user == 0
    assert 0 < len(shrunk.user_clients) < 10
    assert sum(entries_of(shrunk).values()) <= MAX_USER_ENTRIES


def test_more_logouts_than_fit_end_the_tokens_of_all_users_once_and_of_no_client() -> None:
    known = logouts(MAX_USER_ENTRIES)
    assert shrink_to_limits(known, NOW) is known
    shrunk = shrink_to_limits(merge(known, logouts(1, of_user="u-one-more")), NOW)
    assert shrunk == RevocationRecord(every_user=NOW)
    merged = shrink_to_limits(merge(shrunk, known), NOW + 60)
    assert merged == shrunk, "the record that another replica has stored brings nothing back"
    later = shrink_to_limits(merge(merged, logouts(1, of_user="u-two-more", instant=NOW + 60)), NOW + 60)
    assert (later.every_user, len(later.sessions)) == (NOW, 1)


def test_folding_all_clients_keeps_the_entries_for_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopewright.core.revocations.MAX_ENTRIES", 1)
    record = replace(logouts(3), clients={"a": NOW, "b": NOW})
    assert shrink_to_limits(record, NOW) == replace(logouts(3), everybody=NOW)


def test_record_without_entries_for_users_is_written_as_before() -> None:
    content = encode(RevocationRecord(clients={"client-hash1": NOW}))
    assert not any(member in content for member in (b"sessions", b"user", b"User"))
