"""Users of Entra ID, Google and Okta, with the settings of docs/users/providers: see `vendors`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from scopewright.core.records.resource_server import UserGrant
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.client import OpenIDLogins
from scopewright.issuer.upstream.login import LoginEnded, LoginRefused, LoginUnconfirmable
from scopewright.upstream import UpstreamFailed
from tests.harness.clock import Clock
from tests.harness.html_page import Page
from tests.harness.openid_replies import reply_json, replying
from tests.harness.users import UsersHarness, delegating_record, web_record
from tests.unit.issuer.upstream.support import new_request
from tests.unit.issuer.users.vendors import ENTRA, GOOGLE, OKTA, Vendor, VendorProvider, vendor_provider

VENDORS = pytest.mark.parametrize("vendor", [ENTRA, GOOGLE, OKTA], ids=["entra", "google", "okta"])
GROUP = {ENTRA.page: "hr-staff", GOOGLE.page: "domain:example.org", OKTA.page: "hr-staff"}
USER_NAME = {ENTRA.page: "ada@hr.example", GOOGLE.page: "ada@example.org", OKTA.page: "ada@hr.example"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def logins(clock: Clock) -> AsyncIterator[OpenIDLogins]:
    logins = OpenIDLogins(allow_loopback=True, observe=lambda *_: None, clock=clock)
    yield logins
    await logins.aclose()


async def log_in(logins: OpenIDLogins, at: VendorProvider, clock: Clock, **changes: Any) -> AuthenticatedUser:
    request = new_request(clock, **changes)
    answer = at.visit(await logins.authorization_url(at.provider, request))
    return await logins.redeem(at.provider, request, dict(parse_qsl(urlsplit(answer).query)))


async def confirm(logins: OpenIDLogins, at: VendorProvider, user: AuthenticatedUser) -> AuthenticatedUser:
    assert user.upstream is not None
    return await logins.confirm(at.provider, user.subject, user.upstream)


# Every page


@asynccontextmanager
async def pages(vendor: Vendor, folder: Path) -> AsyncIterator[tuple[UsersHarness, VendorProvider]]:
    """The issuer's pages with this provider, and an API that grants to the group of its user."""
    harness = UsersHarness(folder)
    assert harness.issuer.users is not None
    harness.issuer.users = replace(harness.issuer.users, allow_loopback=True)
    grant = UserGrant(("payroll.read",), groups=(GROUP[vendor.page],), namespaces=("hr",))
    harness.issuer.put(delegating_record(user_grants=(grant,)))
    with vendor_provider(vendor, harness.issuer.clock) as at:
        harness.issuer.put(web_record(identity_providers=(at.provider.name,)))
        harness.issuer.put_provider(at.provider)
        async with harness.running() as users:
            yield users, at


@VENDORS
async def test_user_logs_in_and_has_what_the_group_is_granted(vendor: Vendor, tmp_path: Path) -> None:
    async with pages(vendor, tmp_path) as (users, at):
        away = await users.follow(await users.authorize())
        consent = await users.follow(await users.browser.get(at.visit(away.headers["location"])))
        shown = Page(consent).texts["main"]
        assert "Ada Lovelace" in shown
        assert "See salaries" in shown
        assert "code" in users.parameters_of(await users.submit(consent, "consent", "allow"))


@VENDORS
async def test_claims_become_a_user(vendor: Vendor, logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(vendor, clock) as at:
        user = await log_in(logins, at, clock)
        assert user.groups == (GROUP[vendor.page],)
        assert user.claims["preferred_username"] == USER_NAME[vendor.page]
        assert user.claims["name"] == "Ada Lovelace"
        upstream_subject = vendor.claims.get("oid", vendor.subject)
        assert user.subject == subject_of(at.openid.issuer, upstream_subject)


@VENDORS
async def test_check_an_hour_later_sees_the_user_and_what_has_changed(
    vendor: Vendor, logins: OpenIDLogins, clock: Clock
) -> None:
    with vendor_provider(vendor, clock) as at:
        user = await log_in(logins, at, clock)
        assert user.upstream is not None
        assert user.upstream.refresh_token
        clock.advance(seconds=3700)
        at.openid.tokens.access.clear()
        checked = await confirm(logins, at, user)
        assert (checked.subject, checked.groups) == (user.subject, user.groups)
        at.openid.end_grants()
        with pytest.raises(LoginEnded):
            await confirm(logins, at, checked)


# Entra ID


async def test_entra_is_never_asked_for_userinfo(logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(ENTRA, clock) as at:
        await confirm(logins, at, await log_in(logins, at, clock))
        assert at.openid.count("userinfo") == 0


@pytest.mark.parametrize("auth_time", [True, False], ids=["with auth_time", "without"])
async def test_fresh_login_at_entra_needs_the_optional_claim(
    auth_time: bool, logins: OpenIDLogins, clock: Clock
) -> None:
    with vendor_provider(ENTRA, clock) as at:
        if auth_time:
            assert (await log_in(logins, at, clock, fresh=True)).auth_time == int(clock())
            return
        at.openid.id_token["auth_time"] = None
        await log_in(logins, at, clock)
        with pytest.raises(LoginRefused) as refused:
            await log_in(logins, at, clock, fresh=True)
        assert refused.value.reason == "login_too_old"


@pytest.mark.parametrize(
    "overage",
    [
        {"_claim_names": {"roles": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph"}}},
        {"hasgroups": True},
    ],
    ids=["_claim_names", "hasgroups"],
)
async def test_groups_that_entra_does_not_list_refuse_the_login(
    overage: dict[str, Any], logins: OpenIDLogins, clock: Clock
) -> None:
    with vendor_provider(ENTRA, clock) as at:
        at.openid.id_token |= {"roles": None, **overage}
        with pytest.raises(LoginRefused) as refused:
            await log_in(logins, at, clock)
        assert refused.value.reason == "too_many_groups"


async def test_user_of_entra_without_roles_has_no_groups(logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(ENTRA, clock) as at:
        at.openid.id_token["roles"] = None
        assert (await log_in(logins, at, clock)).groups == ()


async def test_conditional_access_is_no_end_of_a_login_at_entra(logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(ENTRA, clock) as at:
        user = await log_in(logins, at, clock)
        at.openid.replies["token"] = replying(reply_json({"error": "interaction_required"}, 400))
        with pytest.raises(UpstreamFailed):
            await confirm(logins, at, user)


# Google


@pytest.mark.parametrize("changes", [{"fresh": True}, {"max_age": 60}], ids=["prompt=login", "max_age"])
async def test_google_cannot_prove_a_fresh_login(changes: dict[str, Any], logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(GOOGLE, clock) as at:
        with pytest.raises(LoginRefused) as refused:
            await log_in(logins, at, clock, **changes)
        assert refused.value.reason == "login_too_old"


async def test_account_outside_of_the_workspace_has_no_group(logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(GOOGLE, clock) as at:
        del at.openid.users[GOOGLE.subject]["hd"]
        assert (await log_in(logins, at, clock)).groups == ()
        at.openid.users[GOOGLE.subject]["hd"] = "another.example"
        assert (await log_in(logins, at, clock)).groups == ()


async def test_google_without_a_refresh_token_is_asked_for_an_hour(logins: OpenIDLogins, clock: Clock) -> None:
    """As `offlineAccess: Scope` has it: with the access token, at userinfo."""
    with vendor_provider(GOOGLE, clock, {"offlineAccess": "Scope"}) as at:
        user = await log_in(logins, at, clock)
        assert user.upstream is not None
        assert not user.upstream.refresh_token
        assert (await confirm(logins, at, user)).groups == user.groups
        at.openid.tokens.access.clear()
        with pytest.raises(LoginUnconfirmable):
            await confirm(logins, at, user)


# Okta


async def test_okta_has_the_groups_at_userinfo_only(logins: OpenIDLogins, clock: Clock) -> None:
    with vendor_provider(OKTA, clock) as at:
        await log_in(logins, at, clock)
        assert at.openid.count("userinfo") == 1
        assert (await log_in(logins, at, clock, fresh=True)).auth_time == int(clock())


async def test_custom_authorization_server_of_okta_may_have_them_in_the_id_token(
    logins: OpenIDLogins, clock: Clock
) -> None:
    with vendor_provider(OKTA, clock) as at:
        at.openid.claims_in_id_token = True
        at.openid.userinfo["groups"] = None
        assert (await log_in(logins, at, clock)).groups == ("hr-staff",)
