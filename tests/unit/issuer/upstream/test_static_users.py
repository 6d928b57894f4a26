"""The users of a static provider: groups, claims, and versions of the record."""

from dataclasses import replace

import pytest

from scopewright.core.failures import Rejected
from scopewright.core.providers.password_hash import Argon2Parameters, parse_password_hash
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.static_users import ParsedUsers, StaticUsers
from tests.harness.users import static_user
from tests.unit.issuer.upstream.static_logins import static_provider

STRONGER = Argon2Parameters(memory_kib=65536, iterations=3, salt=24, hash=64)


def test_a_user_has_the_claims_of_the_record_and_the_groups_that_are_allowed() -> None:
    ada = static_user("007", username="Ada", email="ada@hr.example", groups=["hr-staff", "admins", "hr-staff"])
    provider = static_provider(ada)
    user = ParsedUsers(provider).authenticated(ada, 7)
    assert (user.subject, user.provider, user.provider_uid, user.auth_time) == (
        subject_of("static:staff", "007"),
        "staff",
        "uid-of-staff",
        7,
    )
    assert user.groups == ("staff:hr-staff",)
    assert user.claims == {
        "name": "Ada",
        "preferred_username": "Ada",
        "email": "ada@hr.example",
        "email_verified": True,
    }


def test_no_group_is_allowed_that_the_record_does_not_name() -> None:
    ada = static_user("ada", groups=["hr-staff"])
    assert ParsedUsers(static_provider(ada, claims=ClaimMappings())).authenticated(ada, 0).groups == ()


def test_the_subject_depends_on_the_id_and_the_domain_alone() -> None:
    users = ParsedUsers(static_provider(static_user("ada", username="grace"), subject_domain="https://old.example"))
    assert users.by_subject(subject_of("https://old.example", "ada")) is not None
    assert users.by_subject(subject_of("https://old.example", "grace")) is None
    assert users.by_subject(subject_of("static:staff", "ada")) is None


def test_users_are_parsed_once_for_each_version() -> None:
    static, provider = StaticUsers(), static_provider()
    first = static.of(provider)
    assert static.of(replace(provider)) is first
    changed = replace(provider, users=static_provider(static_user("grace")).users)
    assert static.of(changed).by_subject(subject_of("static:staff", "ada")) is None
    narrowed = replace(provider, record=replace(provider.record, claims=ClaimMappings()))
    ada = first.by_subject(subject_of("static:staff", "ada"))
    assert ada is not None
    assert (first.authenticated(ada, 0).groups, static.of(narrowed).authenticated(ada, 0).groups) == (
        ("staff:hr-staff",),
        (),
    )


def test_a_malformed_record_is_refused() -> None:
    with pytest.raises(Rejected, match="not a list of static users"):
        StaticUsers().of(static_provider(users=b"{}"))


def test_an_unknown_name_costs_what_a_known_one_does() -> None:
    """Also where the users' hashes differ: a name always has the parameters of the same user."""
    hashes = [STRONGER.encoded(bytes(24), bytes(64)), Argon2Parameters().encoded(bytes(16), bytes(32))]
    listed = [static_user(f"u{number}", passwordHash=hashes[number % 2]) for number in range(20)]
    users = ParsedUsers(static_provider(*listed))
    names = [f"unknown-{number}" for number in range(200)]
    decoys = [users.candidate(name) for name in names]
    assert {decoy.user for decoy in decoys} == {None}
    parameters = [parse_password_hash(decoy.password_hash) for decoy in decoys]
    assert 50 < sum(each == STRONGER for each in parameters) < 150
    assert set(parameters) == {STRONGER, Argon2Parameters()}
    assert [parse_password_hash(users.candidate(name).password_hash) for name in names] == parameters
    restarted = ParsedUsers(users.provider)
    assert [parse_password_hash(restarted.candidate(name).password_hash) for name in names] == parameters
    assert len({decoy.password_hash for decoy in decoys}) == len(decoys)


def test_no_representation_shows_a_hash() -> None:
    candidate = ParsedUsers(static_provider()).candidate("ada")
    assert candidate.user is not None
    assert candidate.password_hash not in repr(candidate)
