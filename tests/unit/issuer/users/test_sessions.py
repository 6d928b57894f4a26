"""Sessions of users: their cookie, their times, their bounds, and their end."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.user_revocations import ended_sessions, user_token_has_ended
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.compare_and_set import save_or_lose
from scopewright.issuer.users.sessions import UserSessions, save_session
from scopewright.issuer.users.stored import Session, decode_stored, encode_stored
from scopewright.issuer.users.user_record import (
    MAX_SESSIONS,
    ListedFamily,
    UserRecord,
    family_handle,
    read_user,
    session_handle,
    user_handle,
    user_of,
    with_family,
    with_tokens,
)
from scopewright.stores.sessions import Delete, Put
from scopewright.stores.sessions.sealed import Opened, Save, SealedSessions, SessionKeys
from tests.harness.clock import Clock
from tests.harness.failing_sessions import FailingSessions
from tests.harness.samples import ISSUER

ADA = AuthenticatedUser("u-ada", "developer", "uid", ("hr-staff",), 1_800_000_000, {"name": "Ada"}, "acr", ("pwd",))
EVE = replace(ADA, subject="u-eve")


@dataclass
class Users:
    clock: Clock = field(default_factory=Clock)
    ended: list[RevocationRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FailingSessions(self.clock)
        self.sealed = SealedSessions(self.store, lambda: ISSUER, lambda: SessionKeys(b"k" * 32), self.clock)
        self.sessions = UserSessions(self.sealed, self.end)

    async def record(self, subject: str = ADA.subject) -> UserRecord:
        read = await self.sealed.read(user_handle(subject))
        return user_of(subject, read.values[0], read.now).record

    async def add_family(self, name: str, sid: str, client: str = "client", hours: float = 1) -> None:
        """A family of refresh tokens of Ada, as the token endpoint stores it."""
        read = await self.sealed.read(user_handle(ADA.subject))
        user = user_of(ADA.subject, read.values[0], read.now)
        now = int(read.now)
        record, _ = with_family(user.record, ListedFamily(name, sid, client, now, now + int(hours * 3600)))
        await save_or_lose(self.sealed, user.save(record), Save(family_handle(name), b"family", hours * 3600, 0))

    async def add_token(self, session: Session, seconds: int = 600) -> None:
        """An access token of the session, as the token endpoint notes it."""
        user = await read_user(self.sealed, session.subject)
        record = with_tokens(user.record, session.sid, int(user.now) + seconds)
        await save_or_lose(self.sealed, user.save(record))

    async def stored(self, *handles: str) -> list[bool]:
        return [value is not None for value in (await self.sealed.read(*handles)).values]

    def end(self, subject: str, sids: Iterable[str]) -> None:
        self.ended.append(ended_sessions(subject, sids, self.clock()))

    def has_ended(self, session: Session) -> bool:
        """Whether a token of the session has ended, by any record."""
        now = self.clock()
        return any(
            user_token_has_ended(record, "client", "jti", "audience", now, session.sid, session.subject)
            for record in self.ended
        )


@pytest.fixture
def users() -> Users:
    return Users()


async def test_a_session_is_found_by_its_cookie_and_by_its_sid(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    assert await users.sessions.of_cookie(cookie) == await users.sessions.of_sid(session.sid) == session
    assert (session.subject, session.groups, session.auth_time) == (ADA.subject, ADA.groups, ADA.auth_time)
    assert (session.claims, session.acr, session.amr) == (ADA.claims, "acr", ("pwd",))
    assert session.end_time == users.clock() + 12 * 3600
    assert (await users.record()).lists_session(session.sid)


async def test_every_login_has_a_new_sid_and_secret(users: Users) -> None:
    cookies = [(await users.sessions.begin(ADA))[0] for _ in range(3)]
    assert len({part for cookie in cookies for part in cookie.split(".")}) == 6


@pytest.mark.parametrize(
    "wrong", ["", ".", "no", "sid", "swapped", "padded", "longer", "newline", "huge", "empty secret"]
)
async def test_a_wrong_cookie_has_no_session(users: Users, wrong: str) -> None:
    cookie, session = await users.sessions.begin(ADA)
    other, _ = await users.sessions.begin(EVE)
    sid, secret = cookie.split(".")
    forged = {
        "no": f"{sid}.{'A' * 43}",
        "sid": sid,
        "swapped": f"{sid}.{other.split('.')[1]}",
        "padded": f"{cookie}=",
        "longer": f"{cookie}A",
        "newline": f"{cookie}\n",
        "huge": f"{sid}.{secret * 100_000}",
        "empty secret": f"{sid}.",
    }.get(wrong, wrong)
    assert await users.sessions.of_cookie(forged) is None
    assert await users.sessions.of_cookie(cookie) == session


async def test_a_session_without_a_secret_has_no_cookie(users: Users) -> None:
    """That of a family with `offline_access`."""
    cookie, session = await users.sessions.begin(ADA)
    without = replace(session, secret_sha256="")
    assert await users.sealed.write(save_session(without, 1, users.clock()))
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_cookie(f"{session.sid}.{'A' * 43}") is None


async def test_the_store_has_no_secret_of_a_cookie(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    opened = (await users.sealed.read(session_handle(session.sid))).values[0]
    assert opened is not None
    assert cookie.split(".")[1].encode() not in opened.value
    assert "Ada" not in repr(session)


async def test_a_session_ends_twelve_hours_after_the_login(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    for _ in range(24):
        assert await users.sessions.of_cookie(cookie) is not None
        users.clock.advance(minutes=30)
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_sid(session.sid) is None
    assert await users.sessions.of_user(ADA.subject) == ()


async def test_an_unused_browser_is_logged_out_after_an_hour_and_its_refresh_tokens_are_not(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    users.clock.advance(minutes=59)
    assert await users.sessions.of_cookie(cookie) is not None
    users.clock.advance(minutes=59)
    assert await users.sessions.of_cookie(cookie) is not None
    users.clock.advance(minutes=60)
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_sid(session.sid) is not None


async def test_use_is_written_every_five_minutes_at_most(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    before = users.store.writes
    for _ in range(10):
        await users.sessions.of_cookie(cookie)
        users.clock.advance(seconds=29)
    assert users.store.writes == before
    users.clock.advance(seconds=10)
    seen = await users.sessions.of_cookie(cookie)
    assert users.store.writes == before + 1
    assert seen == replace(session, seen_time=int(users.clock()))
    assert await users.sessions.of_cookie(cookie) == seen


async def test_a_use_during_a_logout_does_not_bring_the_session_back(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    users.clock.advance(minutes=10)
    write = users.store.write

    async def end_first(*changes: Put | Delete) -> bool:
        users.store.write = write  # type: ignore[method-assign]
        await users.sessions.end(session.sid)
        return await write(*changes)

    users.store.write = end_first  # type: ignore[method-assign]
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_sid(session.sid) is None


async def test_concurrent_uses_are_all_answered(users: Users) -> None:
    cookie, _ = await users.sessions.begin(ADA)
    users.clock.advance(minutes=10)
    found = await asyncio.gather(*(users.sessions.of_cookie(cookie) for _ in range(20)))
    assert {session.seen_time for session in found if session} == {int(users.clock())}
    assert None not in found


async def test_a_session_costs_one_read(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    before = users.store.reads
    await users.sessions.of_cookie(cookie)
    await users.sessions.of_sid(session.sid)
    assert users.store.reads == before + 2


async def test_the_oldest_session_ends_when_there_are_too_many(users: Users) -> None:
    first_cookie, first = await users.sessions.begin(ADA)
    await users.add_family("of-first", first.sid)
    other_cookie, _ = await users.sessions.begin(EVE)
    cookies = [(await users.sessions.begin(ADA))[0] for _ in range(MAX_SESSIONS - 1)]
    assert await users.sessions.of_cookie(first_cookie) is not None
    cookies.append((await users.sessions.begin(ADA))[0])
    assert await users.sessions.of_cookie(first_cookie) is None
    assert await users.stored("family:of-first") == [False]
    assert users.has_ended(first)
    assert all([await users.sessions.of_cookie(cookie) for cookie in (*cookies, other_cookie)])
    assert len(await users.sessions.of_user(ADA.subject)) == MAX_SESSIONS


async def test_expired_sessions_make_room(users: Users) -> None:
    for _ in range(MAX_SESSIONS):
        await users.sessions.begin(ADA)
    users.clock.advance(hours=12)
    for _ in range(MAX_SESSIONS):
        await users.sessions.begin(ADA)
    assert not users.ended


async def test_concurrent_logins_of_one_user_are_all_listed(users: Users) -> None:
    begun = await asyncio.gather(*(users.sessions.begin(ADA) for _ in range(15)))
    listed = {session.sid for session in (await users.record()).sessions}
    assert listed == {session.sid for _, session in begun}


async def test_the_end_of_a_session_ends_its_tokens_and_no_others(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    other_cookie, other = await users.sessions.begin(ADA)
    for name, sid in (("one", session.sid), ("two", session.sid), ("other", other.sid), ("offline", "sid-of-its-own")):
        await users.add_family(name, sid)
    await users.sessions.end(session.sid)
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_sid(session.sid) is None
    assert await users.stored("family:one", "family:two", "family:other", "family:offline") == [
        False,
        False,
        True,
        True,
    ]
    assert users.has_ended(session)
    assert not users.has_ended(other)
    assert await users.sessions.of_cookie(other_cookie) == other
    assert await users.sessions.of_user(ADA.subject) == (other,)


async def test_a_session_ends_twice_without_harm(users: Users) -> None:
    _, session = await users.sessions.begin(ADA)
    await users.add_token(session)
    await users.sessions.end(session.sid)
    await users.sessions.end(session.sid)
    await users.sessions.end("unknown")
    await users.sessions.end("x" * 1_000_000)
    assert len(users.ended) == 1


async def test_the_end_of_an_expired_session_ends_what_it_has_left(users: Users) -> None:
    _, session = await users.sessions.begin(ADA)
    await users.add_family("long", session.sid, hours=24)
    users.clock.advance(hours=13)
    await users.sessions.end(session.sid)
    assert await users.stored("family:long") == [True], "nobody knows whose it was"
    await users.sessions.end(session.sid, ADA.subject)
    assert await users.stored("family:long") == [False]
    assert users.has_ended(session)


async def test_only_a_session_that_may_have_tokens_is_written_to_the_revocation_record(users: Users) -> None:
    _, without = await users.sessions.begin(ADA)
    _, before = await users.sessions.begin(ADA)
    await users.add_token(before, seconds=600)
    await users.add_token(before, seconds=60)
    _, after = await users.sessions.begin(ADA)
    await users.add_token(after, seconds=601)
    _, refreshing = await users.sessions.begin(ADA)
    await users.add_family("refreshing", refreshing.sid)
    users.clock.advance(seconds=600)
    for session in (without, before, after, refreshing):
        await users.sessions.end(session.sid)
        assert await users.sessions.of_sid(session.sid) is None
    ended = [users.has_ended(session) for session in (without, before, after, refreshing)]
    assert ended == [False, False, True, True]


async def test_a_session_that_gets_a_token_during_the_logout_is_written(users: Users) -> None:
    _, session = await users.sessions.begin(ADA)
    write = users.store.write
    written: list[object] = []

    async def add_token_first(*changes: Put | Delete) -> bool:
        if not written:
            written.append(changes)
            await users.add_token(session)
        return await write(*changes)

    users.store.write = add_token_first  # type: ignore[method-assign]
    await users.sessions.end(session.sid)
    assert users.has_ended(session)


async def test_the_stored_session_decides_whose_it_is(users: Users) -> None:
    _, session = await users.sessions.begin(ADA)
    await users.add_token(session)
    await users.sessions.end(session.sid, EVE.subject)
    assert await users.sessions.of_user(ADA.subject) == ()
    assert users.has_ended(session)
    assert not users.has_ended(replace(session, subject=EVE.subject))


async def test_all_sessions_of_a_user_end(users: Users) -> None:
    begun = [(await users.sessions.begin(ADA)) for _ in range(3)]
    for _, session in begun:
        await users.add_token(session)
    other_cookie, other = await users.sessions.begin(EVE)
    await users.add_family("offline", "sid-of-its-own", hours=48)
    await users.sealed.write(save_session(replace(begun[0][1], sid="sid-of-its-own"), 0, users.clock()))
    await users.sessions.end_user(ADA.subject)
    assert [await users.sessions.of_cookie(cookie) for cookie, _ in begun] == [None] * 3
    assert await users.stored("family:offline", "session:sid-of-its-own") == [False, False]
    assert all(users.has_ended(session) for _, session in begun)
    assert await users.sessions.of_cookie(other_cookie) == other
    assert (await users.record()).sids == ()
    await users.sessions.end_user(ADA.subject)
    await users.sessions.end_user("u-nobody")
    assert len(users.ended) == 1


async def test_a_login_during_the_end_of_all_sessions_ends_or_is_listed(users: Users) -> None:
    for _ in range(5):
        await users.sessions.begin(ADA)
    ending = asyncio.ensure_future(users.sessions.end_user(ADA.subject))
    begun = await asyncio.gather(*(users.sessions.begin(ADA) for _ in range(5)))
    await ending
    listed = {session.sid for session in (await users.record()).sessions}
    alive = {session.sid for _, session in begun if await users.sessions.of_sid(session.sid)}
    assert alive == listed


async def test_tokens_end_even_if_the_store_fails_in_a_logout(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    await users.add_token(session)
    users.store.is_full = True
    with pytest.raises(Unavailable):
        await users.sessions.end(session.sid)
    assert users.has_ended(session)
    users.store.is_full = False
    assert await users.sessions.of_cookie(cookie) is not None, "the user repeats the logout"
    await users.sessions.end(session.sid)
    assert await users.sessions.of_cookie(cookie) is None


async def test_nothing_is_answered_while_the_store_is_away(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    users.store.is_away = True
    for request in (
        users.sessions.begin(ADA),
        users.sessions.of_cookie(cookie),
        users.sessions.of_sid(session.sid),
        users.sessions.of_user(ADA.subject),
        users.sessions.end(session.sid),
        users.sessions.end_user(ADA.subject),
    ):
        with pytest.raises(Unavailable):
            await request


async def test_a_full_store_logs_nobody_out(users: Users) -> None:
    cookie, session = await users.sessions.begin(ADA)
    users.clock.advance(minutes=10)
    users.store.is_full = True
    found = await users.sessions.of_cookie(cookie)
    assert found is not None
    assert found.sid == session.sid
    with pytest.raises(Unavailable):
        await users.sessions.begin(ADA)


@pytest.mark.parametrize(
    "content", [b"", b"1", b"1{}", b"1[]", b"1null", b"2{}", b"{}", b"\xff", b'1{"sid": "s"}', b"1" + b"[" * 100_000]
)
async def test_a_malformed_or_later_session_counts_as_absent(users: Users, content: bytes) -> None:
    cookie, session = await users.sessions.begin(ADA)
    assert await users.sealed.write(Save(session_handle(session.sid), content, 60, 1))
    assert await users.sessions.of_cookie(cookie) is None
    assert await users.sessions.of_sid(session.sid) is None
    assert await users.sessions.of_user(ADA.subject) == ()


async def test_a_malformed_record_of_a_user_is_replaced(users: Users) -> None:
    await users.sessions.begin(ADA)
    assert await users.sealed.write(Save(user_handle(ADA.subject), b"2{}", 60, 1))
    _, session = await users.sessions.begin(ADA)
    assert [listed.sid for listed in (await users.record()).sessions] == [session.sid]


def test_fields_of_later_versions_are_ignored() -> None:
    record = UserRecord((), (ListedFamily("f", "s", "c", 1, 2),))
    value = encode_stored(record).replace(b'"families"', b'"later":1,"families"')
    assert decode_stored(UserRecord, Opened(1, value)) == record
