"""Audit lines of decisions that have no page of their own: ended sessions, replays, refused access."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scopewright.issuer.observability import user_events
from scopewright.issuer.users.user_record import MAX_SESSIONS
from tests.harness.issuer import IssuerHarness
from tests.harness.users import UsersHarness
from tests.unit.issuer.users.checked_sessions import ADA, running_checked_sessions
from tests.unit.issuer.users.logins import public_client, running_logins, user
from tests.unit.issuer.users.provider_logins import COMPANY, running_providers


def lines(harness: IssuerHarness, event: str) -> list[dict[str, Any]]:
    """Those of an event, without the time."""
    found = (json.loads(line) for line in harness.audit_lines)
    return [{name: value for name, value in line.items() if name != "time"} for line in found if line["event"] == event]


async def test_a_session_that_a_provider_ends_has_one_line() -> None:
    async with running_checked_sessions() as at:
        _, session = await at.log_in()
        token = await at.refresh_token(session)
        at.deletes_ada()
        at.becomes_due()
        assert (await at.refresh(token)).status_code == 400
        assert (await at.refresh(token)).status_code == 400
        ended = {"peer": "", "result": "ended", "subject": ADA.subject, "sid": session.sid, "reason": "provider"}
        assert lines(at.logins.harness, "session") == [{"event": "session", **ended}]


async def test_the_oldest_session_that_a_login_ends_has_a_line(users: UsersHarness) -> None:
    for _ in range(MAX_SESSIONS + 1):
        async with users.open_browser() as browser:
            await users.log_in("ada", browser=browser)
    logins = lines(users.issuer, "login")
    [ended] = lines(users.issuer, "session")
    assert (ended["reason"], ended["sid"], ended["subject"]) == ("too_many", logins[0]["sid"], logins[0]["subject"])


async def test_the_session_of_another_user_of_the_browser_has_a_line(users: UsersHarness) -> None:
    await users.put_web(allowed_groups=None)
    await users.log_in("ada")
    page = await users.follow(await users.authorize(prompt="login"))
    await users.submit(page, "login", "user-eve")
    ada, eve = lines(users.issuer, "login")
    [ended] = lines(users.issuer, "session")
    assert (ended["reason"], ended["sid"], ended["subject"]) == ("other_user", ada["sid"], ada["subject"])
    assert ada["subject"] != eve["subject"]


async def test_replays_name_the_user_and_the_login_whose_tokens_end() -> None:
    async with running_logins(public_client()) as logins:
        session = await logins.session()
        code = await logins.code(session)
        first = (await logins.redeem(code, secret=None)).json()["refresh_token"]
        await logins.refresh(first, secret=None)
        logins.harness.clock.advance(seconds=31)
        await logins.refresh(first, secret=None)
        await logins.redeem(code, secret=None)
        await logins.redeem("unknown", secret=None)
        refresh, redemption, unknown = lines(logins.harness, "token")[-3:]
        for line, reason in ((refresh, "refresh_token_replayed"), (redemption, "code_replayed")):
            assert (line["result"], line["reason"]) == ("invalid_grant", reason)
            assert (line["subject"], line["sid"]) == (user().subject, session.sid)
        assert unknown["reason"] == "unknown_code"
        assert not {"subject", "sid"} & {*unknown}
        assert not [line for line in logins.harness.audit_lines if first in line or code in line]


async def test_a_page_that_refuses_access_has_a_line(tmp_path: Path) -> None:
    async with running_providers(tmp_path, COMPANY) as logins:
        await logins.log_in()
        await logins.put(allowed_groups=("managers",))
        await logins.begin()
        [line] = lines(logins.users.issuer, "access")
        assert (line["result"], line["reason"], line["client"]) == ("refused", user_events.POLICY, "hr.hr-web")
        assert line["subject"] == logins.audited("login")["subject"]


async def test_text_of_a_request_cannot_make_a_line_or_steer_a_terminal(users: UsersHarness) -> None:
    forged = '"}\n{"event":"login","result":"accepted"}\x1b[2J\u202e'
    await users.authorize(scope=forged, state=forged)
    await users.authorize(client_id=forged)
    await users.authorize(redirect_uri="https://evil.example/" + forged)
    await users.browser.get(f"/callback/{quote(forged)}?error={quote(forged)}&error_description={quote(forged)}")
    assert len(users.issuer.audit_lines) == 4
    for line in users.issuer.audit_lines:
        assert line.isascii() or "\u202e" not in line
        assert not any(ord(character) < 0x20 for character in line)
        assert json.loads(line)["result"] != "accepted"
