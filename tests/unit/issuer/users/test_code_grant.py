"""The grant authorization_code: what a code gives, what it must prove, and what a second redemption does."""

import base64
import hashlib

import jwt

from tests.harness.samples import ISSUER, PAYROLL
from tests.unit.issuer.users.logins import CLIENT_ID, Logins, running_logins, user


async def test_a_code_gives_an_access_token_an_id_token_and_a_refresh_token() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        response = await logins.redeem(await logins.code(session))
        assert response.status_code == 200, response.text
        content = response.json()
        assert set(content) == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
        assert (content["token_type"], content["scope"]) == ("Bearer", "openid profile email groups payroll.read")
        claims = await logins.verified(content["access_token"], PAYROLL)
        assert claims["sub"] == session.subject
        assert (claims["client_id"], claims["scope"]) == (CLIENT_ID, "payroll.read")
        assert (claims["sid"], claims["auth_time"]) == (session.sid, session.auth_time)
        assert claims.keys().isdisjoint({"name", "email", "groups", "roles"})
        assert response.headers["cache-control"] == "no-store"


async def test_the_id_token_is_about_the_login_and_the_access_token() -> None:
    async with running_logins() as logins:
        content = await logins.tokens()
        header = jwt.get_unverified_header(content["id_token"])
        assert (header["alg"], header["typ"]) == ("RS256", "JWT")
        claims = await logins.verified(content["id_token"], CLIENT_ID)
        digest = hashlib.sha256(content["access_token"].encode()).digest()[:16]
        assert claims.pop("at_hash") == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert claims.pop("exp") - claims.pop("iat") == 600
        sid = (await logins.verified(content["access_token"], PAYROLL))["sid"]
        assert claims == {
            "iss": ISSUER,
            "aud": CLIENT_ID,
            "sub": user().subject,
            "sid": sid,
            "auth_time": user().auth_time,
            "nonce": "n-1",
            "name": "Ada",
            "email": "ada@hr.example",
            "email_verified": True,
            "groups": ["hr-staff"],
        }


async def refused(logins: Logins, code: str, **changes: object) -> tuple[int, str]:
    response = await logins.redeem(code, **changes)  # type: ignore[arg-type]
    return response.status_code, response.json()["error"]
