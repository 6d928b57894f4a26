"""From the authorization request through login and consent to the code, or to an error."""

from tests.harness.html_page import Page
from tests.harness.samples import ISSUER
from tests.harness.users import REDIRECT_URI, UsersHarness


async def test_a_user_logs_in_consents_and_returns_with_a_code(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    assert login.url.path.startswith("/login/")
    assert [*Page(login).forms["login"].buttons] == ["user-ada", "user-eve"]
    consent = await users.submit(login, "login", "user-ada")
    assert "See salaries" in consent.text
    assert "payroll.write" not in consent.text
    answer = await users.submit(consent, "consent", "allow")
    assert answer.headers["location"].startswith(REDIRECT_URI + "?")
    found = users.parameters_of(answer)
    assert (found["state"], found["iss"]) == ("the-state", ISSUER)
    assert len(found["code"]) >= 43
    assert found.keys() == {"code", "state", "iss"}
