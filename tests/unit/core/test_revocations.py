"""Revocation records merge in any order, lose entries only with time, and fit into a ConfigMap."""

from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.failures import Rejected
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import (
    audience_key,
    namespace_key,
    namespaces_of,
    owner_of_audience,
    token_key,
    user_key,
)
from scopewright.core.revocations import (
    MAX_ENTRIES,
    MAX_ENTRIES_PER_CLIENT,
    MAX_LEEWAY_SECONDS,
    has_ended,
    merge,
    merge_all,
    prune,
    shrink_to_limits,
)
from scopewright.core.user_revocations import MAX_USER_ENTRIES
from scopewright.verifier.check import Policy

NOW = 1_800_000_000
LIFETIME, SKEW = 3600, 60
CONFIG_MAP_BYTES = 1024 * 1024
"""What the API server accepts as the content of a ConfigMap."""

clients = st.sampled_from(["client-a", "client-b", "client-c"])
keys = st.sampled_from([token_key(text) for text in "abcdef"])
users = st.sampled_from([user_key(text) for text in "abc"])
instants = st.integers(NOW - 5000, NOW + 5000)


OWNERS = {"client-a": "ns-one", "client-b": "ns-one", "client-c": "ns-two"}


def marks(keys: st.SearchStrategy[str]) -> Any:
    return st.dictionaries(keys, instants, max_size=4)


records = st.builds(
    RevocationRecord,
    tokens=st.dictionaries(clients, st.dictionaries(keys, instants, min_size=1, max_size=4)),
    clients=marks(clients),
    access=st.dictionaries(clients, st.dictionaries(keys, instants, min_size=1, max_size=4)),
    audiences=marks(keys),
    namespaces=marks(st.sampled_from(["ns-one", "ns-two"])),
    everybody=st.just(0) | instants,
    owners=st.sets(clients).map(lambda names: {name: OWNERS[name] for name in names}),
    longest_lifetime=st.integers(0, 2 * LIFETIME),
    sessions=st.dictionaries(users, st.dictionaries(keys, instants, min_size=1, max_size=4)),
    users=marks(users),
    user_access=marks(keys),
    user_clients=marks(clients),
    user_tokens=st.dictionaries(clients, st.dictionaries(keys, instants, min_size=1, max_size=4)),
    every_user=st.just(0) | instants,
)


@given(records, records, records)
def test_the_order_of_merging_does_not_change_the_result(
    a: RevocationRecord, b: RevocationRecord, c: RevocationRecord
) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(merge(a, b), a) == merge(a, b)


@given(st.lists(records, max_size=4))
def test_merging_many_records_at_once_equals_merging_them_one_by_one(several: list[RevocationRecord]) -> None:
    assert merge_all(several) == reduce(merge, several, RevocationRecord())


@given(records, records, clients, st.sampled_from("abcdef"), keys, instants)
def test_a_token_that_ended_in_one_record_has_ended_in_the_merged_record(
    a: RevocationRecord, b: RevocationRecord, client: str, jti: str, audience: str, issued: int
) -> None:
    either = has_ended(a, client, jti, audience, issued) or has_ended(b, client, jti, audience, issued)
    assert has_ended(merge(a, b), client, jti, audience, issued) == either


@given(records, clients, st.sampled_from("abcdef"), keys, st.integers(NOW - 7200, NOW), st.integers(1, LIFETIME))
def test_entries_are_removed_only_after_their_tokens_have_expired(
    record: RevocationRecord, client: str, jti: str, audience: str, issued: int, lifetime: int
) -> None:
    """A token in a record has its own `exp` there."""
    expires = issued + lifetime
    if token_key(jti) in record.tokens.get(client, {}):
        tokens = {**record.tokens[client], token_key(jti): expires}
        record = replace(record, tokens={**record.tokens, client: tokens})
    if expires + MAX_LEEWAY_SECONDS + SKEW > NOW:
        before = has_ended(record, client, jti, audience, issued)
        assert has_ended(prune(record, NOW, LIFETIME, SKEW), client, jti, audience, issued) == before


@given(records, records, clients, keys, st.integers(NOW - 7200, NOW), st.integers(1, LIFETIME))
def test_a_lower_lifetime_keeps_entries_of_tokens_with_a_longer_lifetime(
    record: RevocationRecord, other: RevocationRecord, client: str, audience: str, issued: int, lifetime: int
) -> None:
    known = merge(replace(record, tokens={}), RevocationRecord(longest_lifetime=lifetime))
    if issued + lifetime + MAX_LEEWAY_SECONDS + SKEW > NOW:
        before = has_ended(known, client, "any", audience, issued)
        for pruned in (prune(known, NOW, 1, SKEW), prune(prune(known, NOW, 1, SKEW), NOW, 1, SKEW)):
            assert has_ended(pruned, client, "any", audience, issued) == before
    assert merge(known, other).longest_lifetime == max(known.longest_lifetime, other.longest_lifetime)


def test_an_entry_is_kept_until_no_verifier_accepts_its_token() -> None:
    assert Policy(issuer="i", audience="a", leeway=MAX_LEEWAY_SECONDS).leeway == MAX_LEEWAY_SECONDS
    with pytest.raises(ValueError, match="leeway"):
        Policy(issuer="i", audience="a", leeway=MAX_LEEWAY_SECONDS + 1)
    last = NOW - MAX_LEEWAY_SECONDS - SKEW
    record = RevocationRecord(tokens={"client": {"over": last, "needed": last + 1}})
    assert prune(record, NOW, LIFETIME, SKEW).tokens == {"client": {"needed": last + 1}}


@pytest.mark.parametrize("seconds", [-1, 10**400, "null"])
def test_an_impossible_lifetime_is_malformed(seconds: int | str) -> None:
    with pytest.raises(Rejected):
        decode(RevocationRecord, f'{{"longestLifetime": {seconds}}}'.encode())


@given(records)
def test_a_record_is_the_same_after_encoding(record: RevocationRecord) -> None:
    assert decode(RevocationRecord, encode(record)) == record


def many_tokens(clients: int, tokens: int) -> RevocationRecord:
    return RevocationRecord(
        tokens={f"client-{c:05}": {token_key(f"{c} {t}"): NOW for t in range(tokens)} for c in range(clients)}
    )


def test_all_tokens_of_a_client_over_its_quota_end() -> None:
    record = many_tokens(2, MAX_ENTRIES_PER_CLIENT)
    assert shrink_to_limits(record, NOW) is record
    shrunk = shrink_to_limits(merge(record, RevocationRecord(tokens={"client-00001": {"one more": NOW}})), NOW)
    assert shrunk.clients == {"client-00001": NOW}
    assert list(shrunk.tokens) == ["client-00000"]
    assert has_ended(shrunk, "client-00001", "any", "any", NOW)
    assert not has_ended(shrunk, "client-00001", "any", "any", NOW + 1)


def test_folding_ends_the_clients_with_the_most_entries_first() -> None:
    record = merge(many_tokens(100, MAX_ENTRIES_PER_CLIENT), RevocationRecord(tokens={"modest": {token_key("x"): NOW}}))
    shrunk = shrink_to_limits(record, NOW)
    assert "modest" in shrunk.tokens
    assert len(shrunk.clients) < 60


def test_folding_ends_all_tokens_as_a_last_resort() -> None:
    shrunk = shrink_to_limits(many_tokens(MAX_ENTRIES + 1, 1), NOW)
    assert shrunk == RevocationRecord(everybody=NOW)
    long_lived = replace(many_tokens(MAX_ENTRIES + 1, 1), longest_lifetime=LIFETIME)
    assert shrink_to_limits(long_lived, NOW).longest_lifetime == LIFETIME
    assert has_ended(shrunk, "any", "any", "any", NOW)


def removed(namespace: str, count: int, instant: int = NOW) -> RevocationRecord:
    """The record after so many clients of one namespace were deleted."""
    names = [f"{namespace}-client-{n}" for n in range(count)]
    return RevocationRecord(
        clients=dict.fromkeys(names, instant), owners=dict.fromkeys(names, namespace_key(namespace))
    )


def test_removals_in_one_namespace_end_no_token_of_another() -> None:
    """Also not of a client that has revoked more tokens than each of the removed ones."""
    modest = RevocationRecord(
        tokens={"modest": {token_key(f"{n}"): NOW + 600 for n in range(100)}},
        clients={"deleted": NOW},
        owners={"modest": namespace_key("payroll"), "deleted": namespace_key("payroll")},
    )
    shrunk = shrink_to_limits(merge(modest, removed("greedy", MAX_ENTRIES)), NOW)
    assert (shrunk.everybody, shrunk.namespaces) == (0, {namespace_key("greedy"): NOW})
    assert (shrunk.tokens, shrunk.clients, shrunk.owners) == (modest.tokens, modest.clients, modest.owners)
    of_greedy = namespaces_of("greedy.client", "https://api.payroll.svc")
    assert has_ended(shrunk, "greedy-client-1", "any", "any", NOW, of_greedy)
    assert not has_ended(shrunk, "greedy-client-1", "any", "any", NOW + 1, of_greedy)
    of_payroll = namespaces_of("payroll.client", "https://api.payroll.svc")
    assert not has_ended(shrunk, "modest", "any", "any", NOW, of_payroll)
    assert has_ended(shrunk, "modest", "7", "any", NOW, of_payroll)


def test_thousands_of_removed_apis_end_no_token_of_another_namespace() -> None:
    audiences = [f"https://api-{n}.greedy.svc" for n in range(MAX_ENTRIES + 1)]
    owners = {audience_key(a): owner_of_audience(a) or "" for a in audiences}
    shrunk = shrink_to_limits(RevocationRecord(audiences={audience_key(a): NOW for a in audiences}, owners=owners), NOW)
    assert shrunk == RevocationRecord(namespaces={namespace_key("greedy"): NOW})
    assert has_ended(shrunk, "c", "any", "any", NOW, namespaces_of("leave.worker", audiences[0]))
    assert not has_ended(shrunk, "c", "any", "any", NOW, namespaces_of("leave.worker", "https://api.leave.svc"))


@pytest.mark.parametrize(
    "audience", ["https://payroll.hr.example", "https://a.b.victim.svc", "https://victim.svc", "x.victim.svc", ""]
)
def test_a_chosen_audience_belongs_to_no_namespace(audience: str) -> None:
    assert owner_of_audience(audience) is None


def test_the_largest_clients_of_the_largest_namespace_end_first() -> None:
    revoking = {
        f"client-{c:02}": {token_key(f"{c} {t}"): NOW + 600 for t in range(MAX_ENTRIES_PER_CLIENT)}
        for c in range(MAX_ENTRIES // MAX_ENTRIES_PER_CLIENT)
    }
    greedy = RevocationRecord(tokens=revoking, owners=dict.fromkeys(revoking, namespace_key("greedy")))
    shrunk = shrink_to_limits(merge(greedy, removed("payroll", 300)), NOW)
    assert shrunk.namespaces == {}
    assert len(shrunk.clients) - 300 == 1
    assert len(shrunk.tokens) == len(revoking) - 1


def test_a_replica_that_has_not_shrunk_its_record_does_not_end_the_namespace_again() -> None:
    known = removed("greedy", MAX_ENTRIES + 1)
    shrunk = shrink_to_limits(known, NOW)
    assert shrink_to_limits(merge(shrunk, known), NOW + 100) == shrunk
    later = removed("greedy", 1, NOW + 50)
    assert shrink_to_limits(merge(shrunk, later), NOW + 100).clients == later.clients
    access = RevocationRecord(access={"greedy-client-0": {"a": NOW, "b": NOW + 50}}, owners=known.owners)
    assert shrink_to_limits(merge(shrunk, access), NOW + 100).access == {"greedy-client-0": {"b": NOW + 50}}


def test_the_owner_of_an_entry_is_removed_with_it() -> None:
    record = merge(removed("greedy", 5, NOW - 10_000), removed("payroll", 5))
    assert prune(record, NOW, LIFETIME, SKEW) == removed("payroll", 5)


@given(records, st.integers(0, 20), st.sampled_from(["client-a", "client-b", "client-c"]), keys, instants)
def test_folding_never_makes_an_ended_token_valid(
    record: RevocationRecord, most: int, client: str, audience: str, issued: int
) -> None:
    namespaces = [OWNERS[client]] if client in record.owners else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scopewright.core.revocations.MAX_ENTRIES", most)
        shrunk = shrink_to_limits(record, NOW + 6000)
    if has_ended(record, client, "any", audience, issued, namespaces):
        assert has_ended(shrunk, client, "any", audience, issued, namespaces)
    entries = sum(map(len, (*shrunk.tokens.values(), *shrunk.access.values(), shrunk.clients, shrunk.audiences)))
    assert entries + len(shrunk.namespaces) <= most


def test_the_largest_record_fits_into_a_config_map() -> None:
    """All entries, and all for users, each in its longest form."""
    access = {f"{c:012}": {token_key(str(c)): NOW} for c in range(MAX_ENTRIES)}
    sessions = {user_key(str(u)): {token_key(str(u)): NOW} for u in range(MAX_USER_ENTRIES)}
    owners = {client: namespace_key(client) for client in access}
    record = RevocationRecord(
        access=access, owners=owners, sessions=sessions, everybody=NOW, every_user=NOW - 1, longest_lifetime=2**53
    )
    assert shrink_to_limits(record, NOW) is record
    tokens = {f"{c:012}": times for c, times in enumerate(sessions.values())}
    for largest in (record, replace(record, sessions={}, user_tokens=tokens)):
        assert len(encode(largest)) < CONFIG_MAP_BYTES
