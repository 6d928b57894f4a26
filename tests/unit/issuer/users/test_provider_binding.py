"""A session counts only while the provider that logged its user in is in force, and its user is known there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from scopewright.core.providers.static_users import encode_static_users
from scopewright.core.records.client import Login
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.stored import Session
from tests.harness.issuer import settle
from tests.harness.samples import BANK, PAYROLL_SERVICE
from tests.harness.users import provider_of, static_user
from tests.unit.issuer.users import test_user_exchange
from tests.unit.issuer.users.checked_sessions import (
    COMPANY,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)
from tests.unit.issuer.users.logins import SCOPES, user
from tests.unit.issuer.users.test_login_metadata import OAUTH, OPENID

DOMAIN = "static:staff"


def static_users(**groups: list[str]) -> bytes:
    """The users of a static provider, by id, with their groups."""
    return encode_static_users(static_user(name, groups=of) for name, of in groups.items())


STAFF = provider_of(
    "staff",
    oidc=None,
    subject_domain=DOMAIN,
    claims=ClaimMappings(groups_allow=("hr-*", "managers")),
    users=static_users(grace=["hr-staff"]),
)
GRACE = AuthenticatedUser(subject_of(DOMAIN, "grace"), "staff", "uid-of-staff", ("hr-staff",), 1_800_000_000)
RECREATED = provider_of("company", uid="uid-of-another-one")


async def admit(at: CheckedSessions, *providers: str) -> Login:
    """Let users of these providers use the application, whose tokens a service may exchange. Returns its login."""
    await test_user_exchange.install(at.logins)
    declared = at.logins.record.login
    assert declared is not None
    login = replace(declared, identity_providers=providers)
    await at.logins.put(replace(at.logins.record, login=login))
    return login


@dataclass(frozen=True, slots=True)
class Delegated:
    """What the application has of a user, for each way to more tokens or data."""

    refresh_token: str
    access_token: str
    for_userinfo: str
    code: str

    @classmethod
    async def of(cls, at: CheckedSessions, session: Session, *, offline: bool) -> "Delegated":
        token = await at.refresh_token(session, offline=offline)
        access = (await at.refresh(token)).json()["access_token"]
        for_userinfo = (await at.logins.redeem(await at.logins.code(session, access=()))).json()["access_token"]
        return cls(token, access, for_userinfo, await at.logins.code(session, SCOPES))

    async def is_refused(self, at: CheckedSessions) -> None:
        assert refusal_of(await at.refresh(self.refresh_token)) == (400, "invalid_grant")
        assert refusal_of(await at.logins.redeem(self.code)) == (400, "invalid_grant")
        exchanged = await at.logins.harness.exchange(self.access_token, PAYROLL_SERVICE, BANK)
        assert refusal_of(exchanged) == (400, "invalid_request")
        assert (await userinfo(at, self.for_userinfo)).status_code == 401


@pytest.fixture
async def at() -> AsyncIterator[CheckedSessions]:
    async with running_checked_sessions((COMPANY, STAFF)) as logins:
        yield logins


async def put(at: CheckedSessions, provider: Provider) -> None:
    at.logins.harness.put_provider(provider)
    await settle()


async def delete(at: CheckedSessions, name: str) -> None:
    at.logins.harness.delete_provider(name)
    await settle()


async def userinfo(at: CheckedSessions, token: str) -> httpx.Response:
    return await at.logins.harness.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("then", [None, RECREATED], ids=["deleted", "deleted and created again"])
@pytest.mark.parametrize("offline", [False, True])
async def test_a_session_of_a_deleted_provider_gives_nothing(
    at: CheckedSessions, then: Provider | None, offline: bool
) -> None:
    """Also not to a provider that was created later with the same name: its users are others."""
    await admit(at, "company", "staff")
    cookie, session = await at.log_in()
    had = await Delegated.of(at, session, offline=offline)
    await delete(at, "company")
    if then is not None:
        await put(at, then)
    await had.is_refused(at)
    assert await at.pages.of_cookie(cookie) is None, "the browser must log in again"
    assert await at.pages.of_sid(session.sid) is None
    at.becomes_due()
    assert await at.pages.of_cookie(cookie) is None
    assert not at.upstream.asked, "the refresh token of one provider is not sent to another one"


async def test_a_session_goes_on_when_the_provider_is_in_force_again(at: CheckedSessions) -> None:
    """Such as after a restore of the cluster's objects: the UID is the same."""
    cookie, session = await at.log_in()
    await delete(at, "company")
    assert await at.pages.of_cookie(cookie) is None
    await put(at, COMPANY)
    assert await at.pages.of_cookie(cookie) == session


async def test_a_session_of_a_deleted_provider_can_be_ended(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    await delete(at, "company")
    assert await at.pages.of_cookie(cookie, idle_too=True) == session
    await at.pages.end(session.sid)
    await put(at, COMPANY)
    assert await at.pages.of_cookie(cookie) is None


async def test_the_developer_login_ends_when_a_provider_comes_into_force() -> None:
    async with running_checked_sessions(()) as at:
        cookie, session = await at.logins.sessions.begin(user())
        token = await at.refresh_token(session)
        assert scope_of(await at.refresh(token)) == "payroll.read"
        await put(at, COMPANY)
        assert await at.pages.of_cookie(cookie) is None
        assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")


# Static users


async def static_login(at: CheckedSessions) -> tuple[str, str]:
    """The cookie and a refresh token of Grace."""
    await delete(at, "company")
    cookie, session = await at.logins.sessions.begin(GRACE)
    return cookie, await at.refresh_token(session)


async def test_a_static_user_has_the_groups_and_claims_of_the_current_record(at: CheckedSessions) -> None:
    cookie, token = await static_login(at)
    await put(at, replace(STAFF, users=static_users(grace=["managers"])))
    refreshed = await at.refresh(token)
    assert scope_of(refreshed) == "payroll.read payroll.write"
    claims = await at.logins.verified(refreshed.json()["id_token"], "leave.leave-worker")
    assert (claims["name"], claims["groups"]) == ("grace", ["managers"])
    session = await at.pages.of_cookie(cookie)
    assert session is not None
    assert session.groups == ("managers",)
    at.clock.advance(hours=7)
    assert (await at.refresh(token)).status_code == 200, "there is nobody to ask"


async def test_a_static_user_who_was_removed_is_logged_out(at: CheckedSessions) -> None:
    cookie, token = await static_login(at)
    await put(at, replace(STAFF, users=static_users(eve=["hr-staff"])))
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert await at.pages.of_cookie(cookie) is None


@pytest.mark.parametrize("offline", [False, True])
async def test_a_removed_static_user_has_nothing_left_but_access_tokens(at: CheckedSessions, offline: bool) -> None:
    await admit(at, "staff")
    cookie, session = await at.logins.sessions.begin(GRACE)
    had = await Delegated.of(at, session, offline=offline)
    await put(at, replace(STAFF, users=static_users(eve=["hr-staff"])))
    await had.is_refused(at)
    assert await at.pages.of_cookie(cookie) is None


@pytest.mark.parametrize(
    "changes", [{"allowed_groups": ("managers",)}, {"identity_providers": ("company",)}], ids=["groups", "providers"]
)
@pytest.mark.parametrize("offline", [False, True])
async def test_an_application_that_admits_fewer_users_gives_the_others_nothing(
    at: CheckedSessions, changes: dict[str, Any], offline: bool
) -> None:
    """Their sessions go on, for other applications."""
    login = await admit(at, "staff")
    cookie, session = await at.logins.sessions.begin(GRACE)
    had = await Delegated.of(at, session, offline=offline)
    at.clock.advance(seconds=1)
    await at.logins.put(replace(at.logins.record, login=replace(login, **changes)))
    await had.is_refused(at)
    assert await at.pages.of_cookie(cookie) is not None


async def test_a_record_with_malformed_users_is_ignored(at: CheckedSessions) -> None:
    cookie, _ = await static_login(at)
    await put(at, replace(STAFF, users=b'{"users": [{}]}'))
    session = await at.pages.of_cookie(cookie)
    assert session is not None
    assert session.groups == ("hr-staff",)


# What is served


async def test_the_endpoints_of_users_are_there_while_a_provider_is_in_force() -> None:
    async with running_checked_sessions((), developer=False) as at:
        await require_users_endpoints(at, served=False)
        await put(at, COMPANY)
        await require_users_endpoints(at, served=True)
        await delete(at, "company")
        await require_users_endpoints(at, served=False)


async def require_users_endpoints(at: CheckedSessions, *, served: bool) -> None:
    http, origin = at.logins.harness.http, {"origin": "https://hr.example"}
    pages = [await http.get(path) for path in ("/authorize", "/account", "/logout", "/userinfo", "/login/x/company")]
    assert [page.headers["content-type"] == "application/json" for page in pages] == (
        [False, False, False, True, False] if served else [True] * 5
    )
    assert [page.status_code == 404 for page in pages] == [not served] * 5
    documents = [await http.get(path, headers=origin) for path in (OPENID, OAUTH)]
    for document in documents:
        assert ("authorization_endpoint" in document.json()) == served
        assert document.json()["response_types_supported"] == (["code"] if served else ["none"])
    for answer in (*documents, await http.post("/token", headers=origin), await http.post("/revoke", headers=origin)):
        assert ("access-control-allow-origin" in answer.headers) == served
