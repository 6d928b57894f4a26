"""Userinfo: the claims of consented scopes, for tokens that are meant for it, and for nothing else."""

from typing import Any

import httpx
import pytest

from scopewright.core.failures import Unavailable
from tests.harness.issuer import settle
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER, PAYROLL
from tests.unit.issuer.users.logins import Logins, running_logins, user, web_client


async def userinfo(logins: Logins, token: str, method: str = "GET", **request: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await logins.harness.http.request(method, "/userinfo", headers=headers, **request)


async def token_for_userinfo(logins: Logins, **of_code: Any) -> str:
    return str((await logins.tokens(access=(), **of_code))["access_token"])


async def test_it_has_the_claims_of_the_consented_scopes_and_no_others() -> None:
    async with running_logins() as logins:
        token = await token_for_userinfo(logins, scopes=("openid", "email"))
        response = await userinfo(logins, token)
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"
        assert response.json() == {"sub": user().subject, "email": "ada@hr.example", "email_verified": True}
        claims = await logins.verified(token, ISSUER)
        assert (claims["aud"], claims["scope"]) == (ISSUER, "openid email")


async def test_it_takes_post_with_a_header_and_with_a_form() -> None:
    async with running_logins() as logins:
        token = await token_for_userinfo(logins, scopes=("openid",))
        expected = {"sub": user().subject}
        assert (await userinfo(logins, token, "POST")).json() == expected
        assert (await userinfo(logins, "", "POST", data={"access_token": token})).json() == expected
        both = await userinfo(logins, token, "POST", data={"access_token": token})
        assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


async def test_a_token_for_an_api_is_refused() -> None:
    async with running_logins() as logins:
        content = await logins.tokens()
        assert (await logins.verified(content["access_token"], PAYROLL))["sub"] == user().subject
        response = await userinfo(logins, content["access_token"])
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
        for token, advice in (
            (content["id_token"], "send the access token and not an ID token"),
            ("x", "is malformed"),
        ):
            refused = await userinfo(logins, token)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
            assert advice in refused.json()["error_description"]


async def test_without_a_token_it_offers_both_schemes() -> None:
    async with running_logins() as logins:
        response = await userinfo(logins, "")
        assert response.status_code == 401
        offered = response.headers.get_list("www-authenticate")
        assert [value.partition(" ")[0] for value in offered] == ["Bearer", "DPoP"]
        in_url = await logins.harness.http.get("/userinfo?access_token=x")
        assert in_url.status_code == 401
        assert (await userinfo(logins, "x", "DELETE")).status_code == 405


async def test_a_token_ends_with_its_session_its_client_and_its_login() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        response = await logins.redeem(await logins.code(session, access=()))
        token = response.json()["access_token"]
        assert (await userinfo(logins, token)).status_code == 200
        await logins.sessions.end(session.sid)
        assert (await userinfo(logins, token)).status_code == 401
        token = await token_for_userinfo(logins)
        await logins.put(web_client(login=None))
        assert (await userinfo(logins, token)).status_code == 401
    async with running_logins() as logins:
        token = await token_for_userinfo(logins)
        await logins.put(web_client(uid="uid-of-a-successor"))
        assert (await userinfo(logins, token)).status_code == 401


async def test_a_store_that_is_away_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_logins() as logins:
        token = await token_for_userinfo(logins)

        async def away(*_: object) -> None:
            raise Unavailable("the store is away")

        monkeypatch.setattr(MemorySessions, "get", away)
        response = await userinfo(logins, token)
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        monkeypatch.undo()
        await settle()
        assert (await userinfo(logins, token)).status_code == 200


async def test_the_audit_line_names_the_user_and_no_claim() -> None:
    async with running_logins() as logins:
        await userinfo(logins, await token_for_userinfo(logins))
        line = logins.harness.audit_lines[-1]
        assert '"event":"userinfo"' in line
        assert '"result":"answered"' in line
        assert user().subject in line
        assert "ada@hr.example" not in line
