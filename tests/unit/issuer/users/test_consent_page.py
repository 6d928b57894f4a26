"""What the consent page says: what is new, what is allowed already, roles, and how to become another user."""

from scopewright.core.records.resource_server import Role, UserGrant
from scopewright.issuer.users import texts
from tests.harness.html_page import Page
from tests.harness.issuer import settle
from tests.harness.users import UsersHarness, delegating_record

BOTH = ("payroll.read", "payroll.write")


async def shown(users: UsersHarness, scope: str) -> str:
    """The text of the consent page for these scopes, to a user who is logged in."""
    answer = await users.follow(await users.authorize(scope=scope, prompt="consent"))
    return Page(answer).texts["main"]


async def put_api(users: UsersHarness, **changes: object) -> None:
    grant = UserGrant(BOTH, groups=("hr-staff",), namespaces=("hr",), roles=("clerk", "manager"))
    users.issuer.put(delegating_record(user_grants=(grant,), **changes))
    await settle()


async def test_each_scope_that_is_allowed_already_is_marked(users: UsersHarness) -> None:
    await put_api(users)
    await users.log_in("ada", scope="openid payroll.read")
    text = await shown(users, "openid email payroll.read payroll.write")
    assert texts.CONSENT_HEADING.format(application="hr-web") in text
    assert f"See salaries payroll.read {texts.CONSENT_ALLOWED}" in text
    assert f"{texts.OPENID_SCOPES['openid']} {texts.CONSENT_ALLOWED}" in text
    assert text.count(texts.CONSENT_ALLOWED) == 2
    assert "Continue as Ada Lovelace?" in await shown(users, "openid payroll.read")


async def test_the_consent_to_an_api_is_not_one_to_its_successor(users: UsersHarness) -> None:
    await put_api(users)
    await users.log_in("ada", scope="openid payroll.read")
    await put_api(users, uid="uid-of-another")
    text = await shown(users, "openid payroll.read")
    assert f"payroll.read {texts.CONSENT_ALLOWED}" not in text
    assert text.count(texts.CONSENT_ALLOWED) == 1


async def test_roles_are_shown_if_the_token_may_have_all_of_their_scopes(users: UsersHarness) -> None:
    roles = (Role("clerk", ("payroll.read",), "Reads all salaries"), Role("manager", BOTH, "Changes all salaries"))
    await put_api(users, roles=roles)
    await users.log_in("ada", scope="openid payroll.read")
    text = await shown(users, "openid payroll.read")
    assert "clerk Reads all salaries" in text
    assert "manager" not in text
    assert "manager Changes all salaries" in await shown(users, "openid payroll.read payroll.write")


async def test_a_user_without_access_logs_in_as_another_one(users: UsersHarness) -> None:
    refused = await users.log_in("eve")
    assert "no-access" in Page(refused).texts
    path = f"/login/{refused.url.path.removeprefix('/consent/')}?user=another"
    assert f'href="{path}"' in refused.text
    login = await users.browser.get(path)
    consent = await users.submit(login, "login", "user-ada")
    assert "Ada Lovelace" in consent.text
    answer = await users.submit(consent, "consent", "allow")
    assert users.parameters_of(answer)["code"]
