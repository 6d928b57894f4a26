"""The record of a user is bounded, and what leaves it is returned, to be ended."""

from scopewright.issuer.users.stored import encode_stored
from scopewright.issuer.users.user_record import (
    CONSENT_SECONDS,
    MAX_FAMILIES,
    MAX_FAMILIES_PER_CLIENT,
    Consent,
    ListedFamily,
    ListedSession,
    UserRecord,
    VersionedUser,
    forget_families,
    user_of,
    with_family,
    without_family,
    without_sessions,
)
from scopewright.stores.sessions.sealed import Forget, Opened


def family(name: str, client: str = "client", sid: str = "sid", end: int = 1000) -> ListedFamily:
    return ListedFamily(name, sid, client, 0, end)


def test_a_user_has_at_most_20_families_of_a_client() -> None:
    record, dropped = UserRecord((ListedSession("sid", 0, 1000),)), tuple[ListedFamily, ...]()
    record, _ = with_family(record, family("other", "another-client"))
    for number in range(MAX_FAMILIES_PER_CLIENT + 5):
        record, ended = with_family(record, family(f"{number}"))
        dropped += ended
    assert [each.family for each in dropped] == ["0", "1", "2", "3", "4"]
    assert len(record.families) == MAX_FAMILIES_PER_CLIENT + 1


def test_a_user_has_at_most_50_families() -> None:
    record, dropped = UserRecord((ListedSession("sid", 0, 1000),)), tuple[ListedFamily, ...]()
    for number in range(MAX_FAMILIES + 3):
        record, ended = with_family(record, family(f"{number}", client=f"client-{number % 7}"))
        dropped += ended
    assert [each.family for each in dropped] == ["0", "1", "2"]
    assert len(record.families) == MAX_FAMILIES


def test_a_session_that_had_only_the_ended_families_ends_with_them() -> None:
    """That of a family with `offline_access`; the session of a browser stays."""
    record = UserRecord(
        (ListedSession("browser", 0, 1000),),
        (family("a", sid="browser"), family("b", sid="own"), family("c", sid="own")),
    )
    one, ended = without_family(record, "b")
    assert forget_families(ended, one) == (Forget("family:b"),)
    none, ended = without_family(one, "c")
    assert forget_families(ended, none) == (Forget("family:c"), Forget("session:own"), Forget("login:own"))
    none, ended = without_family(none, "a")
    assert forget_families(ended, none) == (Forget("family:a"),)
    assert without_family(none, "a") == (none, ())


def test_a_session_leaves_with_its_families() -> None:
    record = UserRecord((ListedSession("one", 0, 1), ListedSession("two", 0, 1)), (family("a", sid="one"), family("b")))
    after, ended = without_sessions(record, ["one"])
    assert after == UserRecord((ListedSession("two", 0, 1),), (family("b"),))
    assert ended == (family("a", sid="one"),)


def test_what_has_ended_is_not_read() -> None:
    consent = Consent("leave.worker", "hash", "digest", ("read",), 500)
    record = UserRecord((ListedSession("one", 0, 1000),), (family("a", end=1001),), (consent,))
    opened = Opened(3, encode_stored(record))
    assert user_of("u-ada", opened, 999) == VersionedUser("u-ada", 3, record, 999)
    assert user_of("u-ada", opened, 1000).record == UserRecord((), record.families, record.consents)
    assert user_of("u-ada", opened, 1001).record == UserRecord((), (), record.consents)
    assert user_of("u-ada", opened, 500 + CONSENT_SECONDS).record == UserRecord()
    assert user_of("u-ada", None, 0) == VersionedUser("u-ada", 0, UserRecord(), 0)


def test_the_record_is_stored_as_long_as_anything_that_it_lists() -> None:
    year = 365 * 86400
    saved = user_of("u-ada", None, 100).save(UserRecord(families=(family("a", end=year),)))
    assert (saved.ttl, saved.if_version) == (year - 100, 0)
    assert user_of("u-ada", None, 100).save(UserRecord()).ttl == CONSENT_SECONDS
