"""Who is listed, with which sessions and applications."""

from dataclasses import replace
from typing import Any

import pytest

from scopewright.cli.user_output import as_json, details
from scopewright.core.failures import Unavailable
from scopewright.core.records.client import Login
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.sessions import UserSessions, save_session
from scopewright.issuer.users.user_record import session_handle
from scopewright.issuer.users_admin.stored_users import StoredUser
from scopewright.stores.sessions import Delete, Put
from scopewright.stores.sessions.sealed import Forget, SealedSessions, SessionKeys
from tests.harness.users import provider_of
from tests.unit.issuer.users.logins import CALLBACK, other_client, user, web_client
from tests.unit.issuer.users_admin.admins import OFFLINE, Admin, admin_of, running_admin
from tests.unit.issuer.users_admin.samples import session_of

ADA, EVE = user("ada"), user("eve", "guests")


async def test_each_user_is_listed_once_with_sessions_and_applications(admin: Admin) -> None:
    assert await admin.every() == {}
    await admin.logins.tokens(ADA)
    admin.logins.harness.clock.advance(seconds=60)
    await admin.logins.tokens(ADA, scopes=OFFLINE)
    await admin.logins.session(EVE)
    every = await admin.every()
    assert set(every) == {ADA.subject, EVE.subject}
    ada, eve = every[ADA.subject], every[EVE.subject]
    latest, first = (session.begun_time for session in ada.sessions)
    assert latest == first + 60
    assert (len(ada.offline), len(ada.applications)) == (1, 1)
    (application,) = ada.applications
    assert (application.client, application.is_deleted, application.refresh_tokens) == ("leave/leave-worker", False, 2)
    assert application.offline_sids == (ada.offline[0].sid,)
    assert {consent.resource_server for consent in application.consents} == {"", "payroll/payroll-api"}
    assert (len(eve.sessions), eve.offline, eve.applications) == (1, (), ())
    assert ada == await admin.users.one(ADA.subject)
    assert ada.claim("email") == "ada@hr.example"


async def test_offline_access_is_listed_after_the_browser_session_has_ended() -> None:
    login = Login((CALLBACK,), refresh_idle_timeout=7 * 86400, refresh_max_lifetime=30 * 86400)
    async with running_admin(record=web_client(login=login)) as admin:
        await admin.logins.tokens(ADA, scopes=OFFLINE)
        admin.logins.harness.clock.advance(seconds=13 * 3600)
        ada = (await admin.every())[ADA.subject]
        assert ada.sessions == ()
        assert len(ada.offline) == 1
        assert ada.claim("name") == "Ada"


async def test_a_user_with_consents_only_is_found_by_sub_and_not_listed(admin: Admin) -> None:
    await admin.logins.tokens(ADA)
    await admin.logins.sessions.end_user(ADA.subject)
    assert await admin.every() == {}
    assert [a.client for a in (await admin.users.one(ADA.subject)).applications] == ["leave/leave-worker"]


async def test_more_users_than_a_page_has(admin: Admin) -> None:
    names = [f"user-{number}" for number in range(120)]
    for name in names:
        await admin.logins.session(user(name))
        await admin.logins.session(user(name))
    every = await admin.every()
    assert set(every) == {user(name).subject for name in names}
    assert {len(found.sessions) for found in every.values()} == {2}


@pytest.mark.parametrize("text", ["ADA@HR", "ada", "da@hr.ex", ADA.subject, ADA.subject[:9], "Augusta"])
def test_a_user_is_found_by_sub_name_and_address_in_any_case(text: str) -> None:
    found = StoredUser(ADA.subject, (session_of(ADA, preferred_username="augusta"),), (), ())
    assert found.matches(text)
    assert not found.matches("grace")
    assert not StoredUser(EVE.subject, (session_of(EVE),), (), ()).matches(text)


async def test_a_client_that_was_deleted_or_made_again_is_marked(admin: Admin) -> None:
    await admin.logins.put(other_client())
    await admin.logins.tokens(ADA)
    await admin.logins.put(replace(web_client(), uid="another"))
    again = await admin_of(admin.logins, admin.store)
    (application,) = (await again.users.one(ADA.subject)).applications
    assert (application.client, application.is_deleted) == ("leave/leave-worker", True)


async def test_the_end_of_a_provider_is_shown() -> None:
    company = provider_of("company")
    of_company = AuthenticatedUser("u-c", "company", "uid-of-company", (), 0)
    async with running_admin(providers=[company]) as admin:
        session = await admin.logins.session(of_company)
        again = await admin_of(admin.logins, admin.store)
        assert again.users.end_of_provider(session) == ""
        assert again.users.end_of_provider(replace(session, provider_uid="another")) == "deleted"
        later = admin.logins.harness.clock.now.replace(year=2099)
        admin.logins.harness.put_provider(replace(company, record=replace(company.record, revoked_before=later)))
        again = await admin_of(admin.logins, admin.store)
        assert again.users.end_of_provider(session) == "revokedBefore"
        admin.logins.harness.delete_provider("company")
        again = await admin_of(admin.logins, admin.store)
        assert again.users.end_of_provider(session) == "deleted"
        assert list(await again.every()) == ["u-c"], "a user of a deleted provider can be ended too"


async def test_other_installations_on_the_server_are_not_shown(admin: Admin) -> None:
    def sessions_at(url: str, key: bytes) -> UserSessions:
        keys = SessionKeys(key)
        return UserSessions(SealedSessions(admin.store, lambda: url, lambda: keys, admin.logins.harness.clock))

    await sessions_at("https://other.example", b"s" * 32).begin(EVE)
    assert await admin.every() == {}, "another URL, and the same key"
    await sessions_at("https://other.example", b"x" * 32).begin(EVE)
    assert await admin.every() == {}
    assert admin.users.unreadable > 0


async def test_a_session_of_another_installation_does_not_stand_in_for_one_of_this(admin: Admin) -> None:
    session, keys = await admin.logins.session(ADA), SessionKeys(b"s" * 32)
    other = SealedSessions(admin.store, lambda: "https://other.example", lambda: keys, admin.logins.harness.clock)
    await other.write(save_session(session, 0, admin.logins.harness.clock()))
    await admin.sealed.write(Forget(session_handle(session.sid)))
    assert await admin.every() == {}


async def test_a_value_that_poses_as_a_session_is_not_listed(admin: Admin) -> None:
    """A sealed value opens at its place only: a copy of a session under another key is not one."""
    await admin.logins.session(ADA)
    page = await admin.store.scan()
    key, stored = next((key, stored) for key, stored in page.values if len(stored.value) > 300)
    await admin.store.write(Put(b"c" * 32, stored.value, 60, 0), Delete(key))
    assert await admin.every() == {}


async def test_a_store_that_is_away_ends_a_listing_with_an_error(admin: Admin) -> None:
    await admin.logins.session(ADA)
    admin.store.is_away = True
    with pytest.raises(Unavailable):
        await admin.every()


async def test_no_credential_is_in_what_is_shown(admin: Admin) -> None:
    tokens = await admin.logins.tokens(ADA, scopes=OFFLINE)
    cookie, _ = await admin.logins.sessions.begin(ADA)
    ada = await admin.users.one(ADA.subject)
    shown: Any = f"{as_json(ada, admin.users)} {[*details(ada, admin.users)]}"
    handle = tokens["refresh_token"].split(".")[1]
    for secret in (cookie.split(".")[1], handle, tokens["access_token"], ada.sessions[0].secret_sha256):
        assert secret
        assert secret not in shown
