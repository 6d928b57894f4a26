"""Where a user logs in: which provider is shown, and what it is asked."""

from pathlib import Path
from typing import Any

import pytest

from scopewright.issuer.users.attempts import attempt_of_state
from scopewright.upstream import UpstreamFailed
from tests.harness.html_page import Page
from tests.harness.scripted_logins import user_at
from tests.unit.issuer.users.provider_logins import (
    COMPANY,
    PARTNER,
    STAFF,
    ProviderLogins,
    running_providers,
    state_of,
)

BOTH = ("company", "partner")


async def test_the_only_provider_is_visited_at_once(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        away = await logins.begin(login_hint="ada@hr.example", acr_values="mfa", ui_locales="el")
        assert away.headers["location"].startswith("https://company.example/authorize?")
        [visit] = logins.upstreams.visits
        assert visit.redirect_uri == "https://issuer.example.org/callback/company"
        assert (visit.login_hint, visit.acr_values, visit.ui_locales) == ("ada@hr.example", "mfa", "el")
        assert (visit.prompt, visit.fresh, visit.max_age) == ((), False, None)
        assert len({visit.state, visit.nonce, visit.code_verifier}) == 3
        assert 43 <= len(visit.code_verifier) <= 128


async def test_a_user_returns_from_the_provider_consents_and_gets_a_code(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        consent = await logins.log_in()
        assert "Ada" in Page(consent).texts["main"]
        answer = await logins.users.submit(consent, "consent", "allow")
        assert logins.users.parameters_of(answer)["code"]
        [(visit, parameters)] = logins.upstreams.redeemed
        assert visit == logins.upstreams.visits[0]
        assert parameters == {"code": "the-code", "state": visit.state}
        user = user_at(COMPANY)
        line = logins.audited("login")
        assert (line["result"], line["subject"], line["provider"]) == ("accepted", user.subject, "company")
        assert line["groups"] == len(user.groups)
        assert "code" in logins.users.parameters_of(await logins.begin(prompt="none"))


async def test_the_only_static_provider_has_a_form(tmp_path: Path) -> None:
    async with running_providers(tmp_path, STAFF) as logins:
        page = Page(await logins.begin(login_hint="ada"))
        assert dict(page.forms["password-form"].fields)["username"] == "ada"


async def test_of_several_providers_the_user_chooses(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, STAFF, identity_providers=("company", "staff")) as logins:
        answer = await logins.begin()
        page = Page(answer)
        assert page.texts["provider-company"] == "Login of company"
        assert "provider-staff" in page.texts
        assert "provider-partner" not in page.texts
        assert "form-action 'self' https://hr.example;" in page.headers["content-security-policy"]
        away = await logins.get(f"{answer.url.path}/company")
        assert "consent" in Page(await logins.back(away)).forms
        assert "password-form" in Page(await logins.get(f"{answer.url.path}/staff")).forms


async def test_a_user_who_does_not_choose_goes_back(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, identity_providers=BOTH) as logins:
        answer = await logins.users.submit(await logins.begin(), "back-form", "back")
        assert logins.users.error_of(answer) == "access_denied"


@pytest.mark.parametrize(
    ("login", "text"),
    [
        ({}, "must name identityProviders"),
        ({"identity_providers": ("deleted",)}, "names deleted as identityProviders"),
    ],
)
async def test_without_a_login_the_page_says_what_to_do(tmp_path: Path, login: dict[str, Any], text: str) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, **login) as logins:
        answer = await logins.begin()
        page = Page(answer)
        assert answer.status_code == 503
        assert text in page.texts["error-description"]
        line = logins.audited("user_error")
        assert (line["reason"], line["client"]) == ("no_provider", "hr.hr-web")
        assert line["error_id"] == page.texts["error-id"]
        assert "form-action 'self' https://hr.example;" in page.headers["content-security-policy"]
        back = await logins.users.submit(answer, "back-form", "back")
        assert logins.users.error_of(back) == "access_denied"


async def test_a_path_of_another_provider_leads_back_to_the_application(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, identity_providers=("company",)) as logins:
        attempt = attempt_of_state(state_of(await logins.begin()))
        page = await logins.get(f"/login/{attempt}/partner")
        assert logins.users.error_of(await logins.users.submit(page, "back-form", "back")) == "access_denied"


@pytest.mark.parametrize("path", ["partner", "staff", "deleted", "company%2f..", "COMPANY"])
async def test_a_provider_that_the_client_does_not_name_is_refused_at_its_path(tmp_path: Path, path: str) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, STAFF, identity_providers=("company",)) as logins:
        attempt = attempt_of_state(state_of(await logins.begin()))
        for answer in (
            await logins.browser.get(f"/login/{attempt}/{path}"),
            await logins.browser.post(f"/login/{attempt}/{path}", data={"username": "ada", "password": "x"}),
        ):
            assert answer.status_code == 404
            assert "location" not in answer.headers
        assert len(logins.upstreams.visits) == 1
        assert logins.passwords.tried == []


async def test_a_password_is_no_way_around_an_openid_provider(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        attempt = attempt_of_state(state_of(await logins.begin()))
        answer = await logins.browser.post(f"/login/{attempt}/company", data={"username": "ada", "password": "x"})
        assert answer.status_code == 404
        assert logins.passwords.tried == []


async def test_with_a_provider_the_developer_login_is_not_offered(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        attempt = attempt_of_state(state_of(await logins.begin()))
        answer = await logins.browser.post(f"/login/{attempt}", data={"user": "ada"})
        assert answer.status_code == 404


# Which login is enough


@pytest.mark.parametrize(
    ("request_", "prompt", "fresh", "max_age"),
    [
        ({}, (), False, None),
        ({"prompt": "login"}, ("login",), True, None),
        ({"prompt": "select_account"}, ("login",), False, None),
        ({"prompt": "login select_account"}, ("login",), True, None),
        ({"prompt": "consent"}, (), False, None),
        ({"max_age": "0"}, ("login",), True, 0),
        ({"max_age": "300"}, (), False, 300),
    ],
)
async def test_the_provider_is_asked_for_a_fresh_login_where_the_client_is(
    tmp_path: Path, request_: dict[str, Any], prompt: tuple[str, ...], fresh: bool, max_age: int | None
) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.log_in(**request_)
        for visit in (logins.upstreams.visits[0], logins.upstreams.redeemed[0][0]):
            assert (visit.prompt, visit.fresh, visit.max_age) == (prompt, fresh, max_age)
            assert visit.started == logins.users.issuer.clock()


async def test_a_login_that_is_too_old_becomes_a_fresh_one(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.users.submit(await logins.log_in(), "consent", "allow")
        logins.users.issuer.clock.advance(seconds=301)
        away = await logins.begin(max_age="300")
        assert (logins.upstreams.visits[-1].fresh, logins.upstreams.visits[-1].prompt) == (True, ("login",))
        await logins.back(away)
        assert logins.upstreams.redeemed[-1][0].fresh


async def test_the_time_of_the_login_is_that_of_the_provider(tmp_path: Path) -> None:
    """A provider may remember its user for days; `max_age` counts from the login there."""
    async with running_providers(tmp_path, COMPANY) as logins:
        login_time = int(logins.users.issuer.clock()) - 3600
        logins.upstreams.changes = {"auth_time": login_time}
        await logins.users.submit(await logins.log_in(), "consent", "allow")
        assert logins.users.error_of(await logins.begin(max_age="3599", prompt="none")) == "login_required"
        assert "code" in logins.users.parameters_of(await logins.begin(max_age="3600", prompt="none"))


@pytest.mark.parametrize("changes", [{}, {"max_age": "0"}, {"id_token_hint": None}])
async def test_prompt_none_never_visits_a_provider(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        for begin in (logins.users.authorize, logins.begin):
            assert logins.users.error_of(await begin(prompt="none", **changes)) == "login_required"
        posted = await logins.users.begin_by_post(logins.browser, prompt="none", **changes)
        assert logins.users.error_of(await logins.users.follow(posted)) == "login_required"
        assert logins.upstreams.visits == []


@pytest.mark.parametrize("provider", ["", "/company"])
async def test_prompt_none_visits_no_provider_by_its_path(tmp_path: Path, provider: str) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        begun = await logins.users.begin_by_post(logins.browser, prompt="none")
        path = begun.headers["location"].replace("/consent/", "/login/")
        assert logins.users.error_of(await logins.get(path + provider)) == "login_required"
        assert logins.upstreams.visits == []


@pytest.mark.parametrize("name", ["no-access", "not-admitted", "consent"])
async def test_another_user_is_asked_for_at_the_provider(tmp_path: Path, name: str) -> None:
    """Otherwise the provider would return the same user without a page, for ever."""
    login = {"allowed_groups": ("hr-staff",)} if name == "not-admitted" else {}
    async with running_providers(tmp_path, COMPANY, **login) as logins:
        logins.upstreams.groups = ("hr-staff",) if name == "consent" else ("guests",)
        page = await logins.log_in(login_hint="ada")
        assert [visit.prompt for visit in logins.upstreams.visits] == [()]
        away = await logins.get(f"/login/{attempt_of(logins)}?user=another")
        assert f'href="/login/{attempt_of(logins)}?user=another"' in page.text
        assert [visit.prompt for visit in logins.upstreams.visits] == [(), ("login",)]
        assert logins.upstreams.visits[-1].login_hint == ""
        logins.upstreams.groups, logins.upstreams.user = ("hr-staff",), "grace"
        consent = await logins.back(away)
        assert "Grace" in Page(consent).texts["main"]
        assert "code" in logins.users.parameters_of(await logins.users.submit(consent, "consent", "allow"))


async def test_another_user_chooses_the_provider_first(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, identity_providers=BOTH) as logins:
        path = (await logins.begin()).url.path
        page = await logins.get(f"{path}?user=another")
        assert f'href="{path}/company?user=another"' in page.text


async def test_a_form_never_leads_to_a_provider(tmp_path: Path) -> None:
    """`form-action` applies to the whole chain of redirects, and the provider is not in it."""
    async with running_providers(tmp_path, COMPANY) as logins:
        consent = await logins.log_in()
        await logins.users.submit(await logins.browser.get("/logout"), "logout", "log-out")
        answer = await logins.users.submit(consent, "consent", "allow")
        assert answer.status_code == 200
        assert "provider-company" in Page(answer).texts


# Account and logout


async def test_the_account_page_names_the_provider_of_each_login(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.log_in()
        assert "This browser Login of company" in Page(await logins.get("/account")).texts["account-page"]


async def test_after_a_logout_the_provider_is_visited_again(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.users.submit(await logins.log_in(), "consent", "allow")
        await logins.users.submit(await logins.browser.get("/logout"), "logout", "log-out")
        assert logins.users.error_of(await logins.begin(prompt="none")) == "login_required"
        assert "code" in logins.users.parameters_of(await logins.log_in())


# Policy


async def test_a_user_of_another_provider_does_not_learn_the_groups_of_the_client(tmp_path: Path) -> None:
    async with running_providers(
        tmp_path, COMPANY, PARTNER, identity_providers=("company",), allowed_groups=("hr-staff",)
    ) as logins:
        await logins.log_in()
        await logins.put(identity_providers=("partner",), allowed_groups=("secret-project",))
        page = await logins.begin()
        assert page.status_code == 403
        assert "secret-project" not in page.text
        assert "does not accept users of the login" in Page(page).texts["no-access"]


async def test_a_user_without_the_groups_learns_them_and_gets_no_session(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, allowed_groups=("hr-managers",)) as logins:
        page = await logins.log_in()
        assert "hr-managers" in Page(page).texts["no-access"]
        assert "__Host-scopewright-session" not in logins.browser.cookies
        assert logins.audited("login")["result"] == "access_denied"


async def test_the_login_at_a_deleted_provider_ends_with_it(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.users.submit(await logins.log_in(), "consent", "allow")
        logins.users.issuer.delete_object("Secret", "identityprovider.company")
        await logins.put(PARTNER)
        assert logins.users.error_of(await logins.begin(prompt="none")) == "login_required"
        assert (await logins.begin()).headers["location"].startswith("https://partner.example/")


async def test_a_provider_that_is_away_is_no_redirect(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY, PARTNER, identity_providers=BOTH) as logins:
        path = (await logins.begin()).url.path
        logins.upstreams.failure = UpstreamFailed("Unreachable", "connection refused; start it")
        answer = await logins.get(f"{path}/company")
        page = Page(answer)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "does not answer" in page.texts["login-problem"]
        assert f'href="{path}/company"' in answer.text
        assert f'href="{path}/partner"' in answer.text
        line = logins.audited("login")
        assert (line["result"], line["reason"]) == ("temporarily_unavailable", "Unreachable")
        assert (line["detail"], line["error_id"]) == ("connection refused; start it", page.texts["error-id"])
        logins.upstreams.failure = None
        assert "consent" in Page(await logins.back(await logins.get(f"{path}/company"))).forms


def attempt_of(logins: ProviderLogins) -> str:
    """The attempt of the last visit."""
    return attempt_of_state(logins.upstreams.visits[-1].state)
