"""What ends with a user, at an issuer that runs beside the command; races with logins; stores that are away."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import ManagedKind
from scopewright.core.records.client import Login
from scopewright.core.records.names import ISSUER_NAME, SESSION_KEY_NAME
from scopewright.core.revocation_keys import user_key
from scopewright.core.user_revocations import user_token_has_ended
from scopewright.issuer.users.user_record import read_user
from scopewright.stores.sessions import Delete, Put
from tests.harness.issuer import settle
from tests.harness.samples import NAMESPACE
from tests.unit.issuer.users.logins import CALLBACK, CLIENT_ID, user, web_client
from tests.unit.issuer.users_admin.admins import OFFLINE, Admin, admin_of

ADA, EVE = user("ada"), user("eve", "hr-staff")
Change = Callable[[], Awaitable[Any]]


def client_hash(admin: Admin) -> str:
    client = admin.logins.harness.issuer.registry.clients.get(CLIENT_ID)
    assert client is not None
    return client.uid_hash


async def test_everything_of_a_user_ends_and_nothing_of_others(admin: Admin) -> None:
    offline, browser, others = [
        await admin.logins.tokens(ADA, scopes=OFFLINE),
        await admin.logins.tokens(ADA),
        await admin.logins.tokens(EVE),
    ]
    assert await admin.is_active(browser["access_token"])
    ended = await admin.end.end_all(ADA.subject)
    await settle()
    assert (ended.sessions, ended.refresh_tokens, ended.consents, ended.is_complete) == (2, 2, 0, True)
    assert ended.accepted_until == admin.logins.harness.clock() + 3600
    for tokens in (offline, browser):
        assert not await admin.is_active(tokens["access_token"])
        assert await admin.refresh_status(tokens) == 400
    assert await admin.is_active(others["access_token"])
    assert await admin.refresh_status(others) == 200
    assert set(await admin.every()) == {EVE.subject}
    assert (await admin.users.one(ADA.subject)).applications, "consents stay"


async def test_the_end_of_a_user_is_idempotent_and_a_later_login_counts(admin: Admin) -> None:
    await admin.logins.tokens(ADA)
    await admin.end.end_all(ADA.subject)
    again = await admin.end.end_all(ADA.subject)
    assert (again.sessions, again.refresh_tokens, again.is_complete) == (0, 0, True)
    await settle()
    admin.logins.harness.clock.advance(seconds=1)
    tokens = await admin.logins.tokens(ADA)
    assert await admin.is_active(tokens["access_token"])
    assert await admin.refresh_status(tokens) == 200


async def test_a_token_of_a_session_that_the_store_has_lost_ends(admin: Admin) -> None:
    """It is in no record of the user: only a time for all tokens of the user ends it."""
    tokens = await admin.logins.tokens(ADA)
    page = await admin.store.scan()
    await admin.store.write(*(Delete(key) for key, _ in page.values))
    ended = await admin.end.end_all(ADA.subject)
    await settle()
    assert (ended.sessions, ended.is_complete) == (0, True)
    assert not await admin.is_active(tokens["access_token"])


async def test_a_token_that_is_signed_while_the_user_is_ended_ends_too(admin: Admin) -> None:
    """An issuer has read the session, and signs after the end of the user. Its clock may be ahead."""
    await admin.logins.tokens(ADA)
    (session,) = (await admin.users.one(ADA.subject)).sessions
    clock = admin.logins.harness.clock
    write = admin.store.write

    async def slow(*changes: Put | Delete) -> bool:
        clock.advance(seconds=3)
        return await write(*changes)

    admin.store.write = slow  # type: ignore[method-assign]
    await admin.end.end_all(ADA.subject)
    await settle()
    revoked = admin.logins.harness.issuer.background.revocations.record

    def has_ended(sid: str) -> bool:
        return user_token_has_ended(revoked, "client", "jti", "audience", clock() + 5, sid, ADA.subject)

    assert has_ended(session.sid)
    assert not has_ended("a-later-session")


async def test_a_login_at_the_same_moment_stays_and_is_reported(admin: Admin) -> None:
    await admin.logins.session(ADA)
    await after_next_write(admin, lambda: admin.logins.session(ADA))
    ended = await admin.end.end_all(ADA.subject)
    assert (ended.sessions, ended.newer) == (1, 1)
    assert len((await admin.users.one(ADA.subject)).sessions) == 1


async def test_a_login_between_read_and_write_ends_with_the_others(admin: Admin) -> None:
    await admin.logins.session(ADA)
    await before_next_write(admin, lambda: admin.logins.session(ADA))
    ended = await admin.end.end_all(ADA.subject)
    assert (ended.newer, (await admin.users.one(ADA.subject)).sessions) == (0, ())


async def test_one_session_ends_alone(admin: Admin) -> None:
    kept, ended_tokens = await admin.logins.tokens(ADA), await admin.logins.tokens(ADA)
    latest = (await admin.users.one(ADA.subject)).sessions[0].sid
    ended = await admin.end.end_session(ADA.subject, latest)
    await settle()
    assert (ended.sessions, ended.refresh_tokens, ended.is_complete) == (1, 1, True)
    assert not await admin.is_active(ended_tokens["access_token"])
    assert await admin.refresh_status(ended_tokens) == 400
    assert await admin.is_active(kept["access_token"])
    assert await admin.refresh_status(kept) == 200


async def test_a_session_of_another_user_does_not_end(admin: Admin) -> None:
    tokens = await admin.logins.tokens(EVE)
    (session,) = (await admin.users.one(EVE.subject)).sessions
    ended = await admin.end.end_session(ADA.subject, session.sid)
    await settle()
    assert (ended.sessions, ended.is_complete) == (0, True)
    assert await admin.is_active(tokens["access_token"])
    assert await admin.refresh_status(tokens) == 200


async def test_one_client_loses_its_tokens_and_consents_and_the_user_stays_logged_in(admin: Admin) -> None:
    tokens = await admin.logins.tokens(ADA, scopes=OFFLINE)
    ended = await admin.end.end_client(ADA.subject, [client_hash(admin)])
    await settle()
    assert (ended.sessions, ended.refresh_tokens, ended.consents) == (0, 1, 2)
    assert not await admin.is_active(tokens["access_token"])
    assert await admin.refresh_status(tokens) == 400
    ada = await admin.users.one(ADA.subject)
    assert (len(ada.sessions), ada.offline, ada.applications) == (1, (), ())


async def test_forget_leaves_nothing_of_the_user_in_the_store(admin: Admin) -> None:
    await admin.logins.tokens(ADA, scopes=OFFLINE)
    await admin.logins.code(await admin.logins.session(ADA))
    await admin.logins.tokens(EVE)
    of_eve = await admin.users.one(EVE.subject)
    ended = await admin.end.end_all(ADA.subject, forget=True)
    assert (ended.sessions, ended.consents, ended.is_complete) == (2, 2, True)
    assert ended.forgotten == 2, "a code that was redeemed, and one that was not"
    admin.logins.harness.clock.advance(seconds=2)
    async for page in admin.sealed.scan():
        for scanned in page.values:
            assert ADA.subject.encode() not in scanned.opened.value
            assert not admin.sealed.is_under(scanned, f"user:{ADA.subject}")
    assert await admin.users.one(EVE.subject) == of_eve


async def test_forget_keeps_a_login_that_began_meanwhile(admin: Admin) -> None:
    """Its session is listed in the record of the user: without it, nobody could end it."""
    await admin.logins.tokens(ADA)
    await after_next_write(admin, lambda: admin.logins.tokens(ADA))
    ended = await admin.end.end_all(ADA.subject, forget=True)
    ada = await admin.users.one(ADA.subject)
    assert (ended.newer, len(ada.sessions)) == (1, 1)
    assert [application.refresh_tokens for application in ada.applications] == [1]
    assert not ada.applications[0].consents


async def test_a_login_just_after_forget_is_listed(admin: Admin) -> None:
    await admin.logins.tokens(ADA)
    await admin.end.end_all(ADA.subject, forget=True)
    await admin.logins.session(ADA)
    admin.logins.harness.clock.advance(seconds=5)
    assert len((await admin.users.one(ADA.subject)).sessions) == 1


async def test_without_the_session_store_access_tokens_end_and_the_rest_is_reported(admin: Admin) -> None:
    tokens = await admin.logins.tokens(ADA)
    admin.store.is_away = True
    ended = await admin.end.end_all(ADA.subject, forget=True)
    assert (ended.is_complete, ended.is_stored_ended, ended.are_tokens_ended) == (False, False, True)
    assert ended.not_ended == ("sessions and refresh tokens: away",)
    admin.store.is_away = False
    await settle()
    assert not await admin.is_active(tokens["access_token"])
    assert (await admin.end.end_all(ADA.subject)).sessions == 1


async def test_without_the_api_server_sessions_end_and_a_repetition_ends_the_rest(admin: Admin) -> None:
    tokens = await admin.logins.tokens(ADA)
    admin.logins.harness.store.unavailable = True
    ended = await admin.end.end_all(ADA.subject)
    assert (ended.sessions, ended.is_stored_ended, ended.are_tokens_ended) == (1, True, False)
    assert len(ended.not_ended) == 1
    assert ended.not_ended[0].startswith("access tokens: ")
    admin.logins.harness.store.unavailable = False
    again = await (await admin_of(admin.logins, admin.store)).end.end_all(ADA.subject)
    await settle()
    assert (again.sessions, again.is_complete) == (0, True)
    assert not await admin.is_active(tokens["access_token"])


async def test_without_both_nothing_has_ended(admin: Admin) -> None:
    admin.store.is_away = admin.logins.harness.store.unavailable = True
    for ended in (
        await admin.end.end_all(ADA.subject),
        await admin.end.end_session(ADA.subject, "s" * 22),
        await admin.end.end_client(ADA.subject, ["hash"]),
    ):
        assert not ended.has_ended_anything
        assert len(ended.not_ended) == 2


async def test_of_dev_access_tokens_do_not_end_and_that_is_no_failure(admin: Admin) -> None:
    tokens = await admin.logins.tokens(ADA)
    ended = await (await admin_of(admin.logins, admin.store, is_of_dev=True)).end.end_all(ADA.subject)
    await settle()
    assert (ended.sessions, ended.is_complete, ended.are_tokens_ended) == (1, True, False)
    assert await admin.is_active(tokens["access_token"])


async def test_what_other_issuers_revoke_at_the_same_time_stays(admin: Admin) -> None:
    ada, eve = await admin.logins.tokens(ADA), await admin.logins.tokens(EVE)
    revocations = admin.logins.harness.issuer.background.revocations
    (session,) = (await admin.users.one(EVE.subject)).sessions
    revocations.end_sessions(EVE.subject, [session.sid])
    await admin.end.end_all(ADA.subject)
    await settle()
    assert not await admin.is_active(ada["access_token"])
    assert not await admin.is_active(eve["access_token"])
    assert user_key(ADA.subject) in revocations.record.users


async def test_a_user_with_refresh_tokens_and_no_browser_session_ends(admin: Admin) -> None:
    login = Login((CALLBACK,), refresh_idle_timeout=7 * 86400, refresh_max_lifetime=30 * 86400)
    await admin.logins.put(web_client(login=login))
    tokens = await admin.logins.tokens(ADA, scopes=OFFLINE)
    admin.logins.harness.clock.advance(seconds=13 * 3600)
    ended = await admin.end.end_all(ADA.subject)
    assert (ended.sessions, ended.refresh_tokens, ended.is_complete) == (0, 1, True)
    assert await admin.refresh_status(tokens) == 400


async def test_consents_of_an_earlier_client_of_the_name_end(admin: Admin) -> None:
    await admin.logins.tokens(ADA)
    earlier = client_hash(admin)
    await admin.logins.put(replace(web_client(), uid="another"))
    await admin.end.end_client(ADA.subject, [earlier, client_hash(admin)])
    assert (await read_user(admin.sealed, ADA.subject)).record.consents == ()


async def after_next_write(admin: Admin, change: Change) -> None:
    await _around_next_write(admin, change, before=False)


async def before_next_write(admin: Admin, change: Change) -> None:
    await _around_next_write(admin, change, before=True)


async def _around_next_write(admin: Admin, change: Change, *, before: bool) -> None:
    """The next write to the store happens together with this change."""
    write = admin.store.write

    async def once(*changes: Put | Delete) -> bool:
        admin.store.write = write  # type: ignore[method-assign]
        if before:
            await change()
        done = await write(*changes)
        if not before:
            await change()
        return done

    admin.store.write = once  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
async def test_a_namespace_without_issuer_or_keys_is_reported(admin: Admin, kind: ManagedKind) -> None:
    name = {"ConfigMap": ISSUER_NAME, "Secret": SESSION_KEY_NAME}[kind]
    admin.logins.harness.delete_object(kind, name)
    message = {
        "ConfigMap": f"^namespace {NAMESPACE} has no issuer record: set --namespace to the namespace of the issuer$",
        "Secret": f"^there is no Secret {SESSION_KEY_NAME} in namespace {NAMESPACE}: no user can have logged in yet$",
    }[kind]
    with pytest.raises(Rejected, match=message):
        await admin_of(admin.logins, admin.store)


async def test_an_api_server_that_is_away_is_reported(admin: Admin) -> None:
    admin.logins.harness.store.unavailable = True
    with pytest.raises(Unavailable):
        await admin_of(admin.logins, admin.store)
