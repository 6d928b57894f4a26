"""`revokedBefore` of an IdentityProvider: every earlier login ends, with its sessions, refresh tokens and tokens."""

import copy
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx
import jwt
import pytest

from scopewright.core.records.client import Login
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import uid_hash
from scopewright.issuer.state.entries import build_client
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.state.user_access_removal import MAX_CLIENTS_OF_LOGINS, ended_logins
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.stored import Session, encode_stored
from scopewright.issuer.users.user_record import session_handle
from scopewright.stores.sessions.sealed import Save
from scopewright.verifier.revoked import Revoked
from tests.harness.issuer import settle
from tests.harness.samples import BANK, ISSUER, PAYROLL_SERVICE, client_record
from tests.harness.users import web_record
from tests.unit.issuer.users import test_user_exchange
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    COMPANY,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)
from tests.unit.issuer.users.logins import CALLBACK, SCOPES, other_client, user, web_client
from tests.unit.issuer.users.test_provider_binding import GRACE, STAFF

BOTH = Login((CALLBACK,), identity_providers=("company", "staff"))
OF_STAFF = Login((CALLBACK,), identity_providers=("staff",))


@pytest.fixture
async def at() -> AsyncIterator[CheckedSessions]:
    """`leave/leave-worker` admits the users of both providers, `leave/other` those of `staff` alone."""
    async with running_checked_sessions((COMPANY, STAFF), record=web_client(login=BOTH)) as at:
        await test_user_exchange.install(at.logins)
        await at.logins.put(other_client(login=OF_STAFF))
        yield at


def ended(provider: Provider, before: float) -> Provider:
    return replace(provider, record=replace(provider.record, revoked_before=datetime.fromtimestamp(before, UTC)))


async def end_logins(at: CheckedSessions, provider: Provider = COMPANY, ago: float = 0) -> None:
    """Put a record that ends all logins until `ago` seconds before now. New tokens are then a second younger."""
    at.clock.advance(seconds=1)
    at.logins.harness.put_provider(ended(provider, at.clock() - ago))
    await settle()


@dataclass(frozen=True)
class Delegated:
    """All that a login gave."""

    cookie: str
    sid: str
    code: str
    refresh_token: str
    access_token: str
    exchanged: str
    of_userinfo: str


async def begin(at: CheckedSessions, who: AuthenticatedUser = ADA) -> tuple[str, Session]:
    """Log in at the user's provider. Only an OpenID provider can be asked again."""
    return await at.log_in(who) if who.provider == "company" else await at.logins.sessions.begin(who)


async def delegate(at: CheckedSessions, who: AuthenticatedUser = ADA, *, offline: bool = False) -> Delegated:
    cookie, session = await begin(at, who)
    token = await at.refresh_token(session, offline=offline)
    access = str((await at.refresh(token)).json()["access_token"])
    exchanged = await at.logins.harness.exchange(access, PAYROLL_SERVICE, BANK)
    of_userinfo = await at.logins.redeem(await at.logins.code(session, access=()))
    return Delegated(
        cookie,
        session.sid,
        await at.logins.code(session, SCOPES),
        token,
        access,
        str(exchanged.json()["access_token"]),
        str(of_userinfo.json()["access_token"]),
    )


async def userinfo(at: CheckedSessions, token: str) -> httpx.Response:
    return await at.logins.harness.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})


async def require_nothing_left(at: CheckedSessions, login: Delegated) -> None:
    assert await at.pages.of_cookie(login.cookie) is None, "the browser must log in again"
    assert await at.pages.of_sid(login.sid) is None
    assert refusal_of(await at.refresh(login.refresh_token)) == (400, "invalid_grant")
    assert refusal_of(await at.logins.redeem(login.code)) == (400, "invalid_grant")
    exchanged = await at.logins.harness.exchange(login.access_token, PAYROLL_SERVICE, BANK)
    assert refusal_of(exchanged) == (400, "invalid_request")
    assert (await userinfo(at, login.of_userinfo)).status_code == 401


async def is_active(at: CheckedSessions, token: str, client_id: str = "leave.leave-worker") -> bool:
    return bool((await at.logins.harness.introspect(token, client_id))["active"])


async def is_in_feed(at: CheckedSessions, token: str) -> bool:
    feed = Revoked.parse((await at.logins.harness.http.get("/revocations")).json(), ISSUER)
    return feed.has_ended(test_user_exchange.claims_of(token), jwt.get_unverified_header(token)["kid"])


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(("provider", "who"), [(COMPANY, ADA), (STAFF, GRACE)], ids=["OpenID", "static"])
async def test_nothing_of_an_earlier_login_is_left(
    at: CheckedSessions, provider: Provider, who: AuthenticatedUser, offline: bool
) -> None:
    login = await delegate(at, who, offline=offline)
    assert await is_active(at, login.access_token)
    await end_logins(at, provider)
    await require_nothing_left(at, login)
    assert not await is_active(at, login.access_token)
    assert not await is_active(at, login.exchanged, PAYROLL_SERVICE)
    at.becomes_due()
    assert await at.pages.of_cookie(login.cookie) is None
    assert not at.upstream.asked, "the provider may be in the hands of an attacker"


async def test_a_later_login_goes_on(at: CheckedSessions) -> None:
    """Also one of the same second, and one whose `auth_time` at the provider is earlier."""
    await end_logins(at)
    session = (await at.log_in(replace(ADA, auth_time=1)))[1]
    at.clock.advance(seconds=1)
    token = await at.refresh_token(session, offline=True)
    assert scope_of(await at.refresh(token)) == "payroll.read"
    assert await at.pages.of_sid(session.sid) is not None


async def test_a_login_before_a_time_in_the_past_ends_and_one_since_goes_on(at: CheckedSessions) -> None:
    before = await delegate(at)
    at.clock.advance(seconds=60)
    cookie, _ = await at.log_in()
    since = str((await at.refresh(before.refresh_token)).json()["access_token"])
    await end_logins(at, ago=30)
    await require_nothing_left(at, before)
    for token in (before.access_token, since):
        assert not await is_active(at, token)
        assert await is_in_feed(at, token), "tokens of such a login were issued until now"
    assert await at.pages.of_cookie(cookie) is not None


async def test_a_refresh_token_has_the_time_of_its_login_and_not_that_of_its_code(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    at.clock.advance(seconds=60)
    token = await at.refresh_token(session, offline=True)
    await end_logins(at, ago=30)
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert await at.pages.of_cookie(cookie) is None


async def test_logins_at_other_providers_go_on(at: CheckedSessions) -> None:
    login = await delegate(at, GRACE)
    session = (await begin(at, GRACE))[1]
    of_other = await at.logins.redeem(
        await at.logins.code(session, client_id="leave.other"), secret="B" * 43, client="leave.other"
    )
    await end_logins(at)
    assert await at.pages.of_cookie(login.cookie) is not None
    assert not await is_active(at, login.access_token), "its application admits users of the other provider too"
    assert scope_of(await at.refresh(login.refresh_token)) == "payroll.read", "and refreshes it once"
    assert of_other.status_code == 200
    assert await is_in_feed(at, login.access_token)
    assert await is_in_feed(at, login.exchanged)
    assert not await is_in_feed(at, of_other.json()["access_token"])


async def test_no_token_of_a_client_for_itself_ends() -> None:
    both = ("client_credentials", "authorization_code", "refresh_token")
    record = web_client(login=BOTH, grant_types=both)
    async with running_checked_sessions((COMPANY, STAFF), record=record) as at:
        token = await at.logins.harness.access_token()
        await end_logins(at)
        assert await is_active(at, token)
        assert not await is_in_feed(at, token)


# A store that went back, and what earlier versions stored


async def test_a_store_that_went_back_logs_nobody_in_who_was_ended(at: CheckedSessions) -> None:
    """It is a copy of before, so it has sessions and refresh tokens that ended since."""
    login = await delegate(at, offline=True)
    online = await delegate(at)
    backup = copy.deepcopy(at.store._entries)
    await at.pages.end_user(ADA.subject)
    at.store._entries = backup
    for each in (login, online):
        assert scope_of(await at.refresh(each.refresh_token)) == "payroll.read", "the copy revives it"
    await end_logins(at)
    for each in (login, online):
        await require_nothing_left(at, each)
    at.store._entries = copy.deepcopy(backup)
    at.clock.advance(seconds=60)
    await require_nothing_left(at, login)


async def test_a_session_of_an_earlier_version_has_no_time_and_ends(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    stored = json.loads(encode_stored(session)[1:])
    del stored["begun_time"]
    await at.logins.sealed.write(Save(session_handle(session.sid), b"1" + json.dumps(stored).encode(), 3600, 1))
    assert await at.pages.of_cookie(cookie) is not None
    await end_logins(at, ago=30 * 24 * 3600)
    assert await at.pages.of_cookie(cookie) is None


async def test_the_developer_login_has_no_such_time() -> None:
    async with running_checked_sessions(()) as at:
        cookie, _ = await at.logins.sessions.begin(user())
        at.logins.harness.put_provider(ended(COMPANY, at.clock() + 60))
        at.logins.harness.delete_provider("company")
        await settle()
        assert await at.pages.of_cookie(cookie) is not None


# The revocation record


async def test_one_change_of_the_field_is_recorded_once(at: CheckedSessions) -> None:
    await end_logins(at)
    recorded = at.logins.harness.issuer.background.revocations.record
    assert recorded.user_clients == {uid_hash("uid-1"): int(at.clock())}
    at.clock.advance(seconds=5)
    provider = at.logins.harness.issuer.registry.providers.by_name("company")
    assert provider is not None
    for changed in (replace(provider.record, display_name="New"), replace(provider.record, revoked_before=None)):
        at.logins.harness.put_provider(replace(provider, record=changed))
        await settle()
    assert at.logins.harness.issuer.background.revocations.record == recorded


async def test_a_start_ends_what_was_ended_while_no_issuer_ran() -> None:
    """As after a restore: the issuer is stopped, and starts with the field set, without a snapshot."""
    async with running_checked_sessions((COMPANY,)) as at:
        await test_user_exchange.install(at.logins)
        login = await delegate(at)
    harness = at.logins.harness
    at.clock.advance(seconds=5)
    set_at = int(at.clock())
    harness.put_provider(ended(COMPANY, set_at))
    for _ in range(2):
        at.clock.advance(seconds=5)
        async with harness.running():
            await require_nothing_left(at, login)
            assert not await is_active(at, login.access_token)
            assert await is_in_feed(at, login.access_token)
            assert harness.issuer.background.revocations.record.user_clients == {uid_hash("uid-1"): set_at}
    at.clock.advance(hours=2)
    async with harness.running():
        await require_nothing_left(at, login)
        assert not harness.issuer.background.revocations.record.user_clients, "no token is as old"


async def test_what_is_repeated_at_a_start_and_too_old_to_matter_is_not_recorded(at: CheckedSessions) -> None:
    """Else each start of an issuer would bring it back for a while, and could exceed the limits of the record."""
    revocations, now = at.logins.harness.issuer.background.revocations, int(at.clock())
    revocations.repeat(RevocationRecord(user_clients={"old": now - 24 * 3600, "new": now}))
    assert revocations.record.user_clients == {"new": now}


# Which clients


def test_clients_that_may_admit_the_users_of_the_provider() -> None:
    clients = {
        "named": web_record(uid="named", identity_providers=("company", "staff")),
        "the only one": web_record(uid="the only one"),
        "another one": web_record(uid="another one", identity_providers=("staff",)),
        "no login": client_record(uid="no login"),
    }
    affected = ended_logins("company", [build_client(record, "1") for record in clients.values()], 7.5)
    assert affected == RevocationRecord(user_clients={uid_hash(name): 7 for name in ("named", "the only one")})


def test_very_many_clients_are_one_entry() -> None:
    client = build_client(web_record(), "1")
    many = [replace(client, uid_hash=f"{number:012}") for number in range(MAX_CLIENTS_OF_LOGINS + 1)]
    assert ended_logins("company", many, 7) == RevocationRecord(every_user=7)
    assert len(ended_logins("company", many[1:], 7).user_clients) == MAX_CLIENTS_OF_LOGINS
