"""Users with the profile FAPI2, and what of earlier logins an installation keeps that switches to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import jwt
import pytest

from scopewright.core.records.client import ClientRecord, Login
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.issuer.users.id_tokens import IdTokens
from tests.harness.clock import START
from tests.harness.issuer import settle
from tests.harness.samples import ISSUER, SECRET
from tests.unit.issuer.assertions import assertion, generated_credential
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    VERIFIER,
    Logins,
    public_client,
    running_logins,
    web_client,
)
from tests.unit.issuer.users.test_dpop_binding import proof_for

LONG_AGO: Final = START - timedelta(days=2)


def pair_client(**changes: Any) -> ClientRecord:
    return web_client(method="PrivateKeyJWT", credentials=(generated_credential(),), **changes)


@asynccontextmanager
async def switching(record: ClientRecord | None = None) -> AsyncIterator[Logins]:
    """An installation with the default profile, and a client that the profile FAPI2 allows. The SigningKey of ID tokens
    has a key of ES256 from an earlier time, and signs with RS256.
    """
    async with running_logins(record or pair_client()) as logins:
        earlier = logins.harness.put_key(
            number=5, signing_key="id-tokens", config_map="other", signing_start_time=LONG_AGO
        )
        logins.harness.publish(earlier.jwk, name="other")
        await settle()
        yield logins


async def switch(logins: Logins) -> None:
    await logins.put(IssuerRecord(ISSUER, profile="FAPI2"))


async def post(logins: Logins, *, bound: bool = True, **form: Any) -> httpx.Response:
    """A token request with a client assertion and, if `bound`, a proof."""
    form |= {"client_id": CLIENT_ID, "client_assertion_type": JWT_BEARER, "client_assertion": assertion(logins.harness)}
    headers = {"DPoP": proof_for(logins)} if bound else {}
    present = {name: value for name, value in form.items() if value is not None}
    return await logins.harness.http.post("/token", data=present, headers=headers)


async def redeem(logins: Logins, code: str, **changes: Any) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return await post(logins, **form | changes)


async def tokens(logins: Logins, *, bound: bool = True, **of_code: Any) -> dict[str, Any]:
    response = await redeem(logins, await logins.code(await logins.session(), **of_code), bound=bound)
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    return content


async def userinfo(logins: Logins, token: str, sent: str = "") -> httpx.Response:
    headers = {"Authorization": f"{'DPoP' if sent else 'Bearer'} {token}"} | ({"DPoP": sent} if sent else {})
    return await logins.harness.http.get("/userinfo", headers=headers)


def algorithm(token: str) -> Any:
    return jwt.get_unverified_header(token)["alg"]


async def test_codes_of_before_the_switch_need_a_proof_and_a_challenge() -> None:
    async with switching(pair_client(login=Login((CALLBACK,), pkce_required=False))) as logins:
        session = await logins.session()
        code, unprotected = await logins.code(session), await logins.code(session, verifier="")
        assert (await redeem(logins, await logins.code(session, verifier=""), code_verifier=None)).status_code == 200
        await switch(logins)
        refused = await redeem(logins, unprotected, code_verifier=None)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        unbound = await redeem(logins, code, bound=False)
        assert (unbound.status_code, unbound.json()["error"]) == (400, "invalid_request")
        assert (await redeem(logins, code)).json()["token_type"] == "DPoP"


async def test_id_tokens_are_signed_with_an_allowed_key_of_the_same_signing_key() -> None:
    async with switching() as logins:
        assert algorithm((await tokens(logins))["id_token"]) == "RS256"
        await switch(logins)
        assert algorithm((await tokens(logins))["id_token"]) == "ES256"


async def test_without_an_allowed_key_no_id_token_is_signed_and_the_code_stays() -> None:
    async with running_logins(pair_client()) as logins:
        await switch(logins)
        code = await logins.code(await logins.session())
        response = await redeem(logins, code)
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        logins.harness.publish(logins.harness.put_key(number=5, signing_key="id-tokens").jwk, *published(logins))
        await settle()
        assert algorithm((await redeem(logins, code)).json()["id_token"]) == "ES256"


def published(logins: Logins) -> list[Mapping[str, Any]]:
    keys = logins.harness.issuer.registry.keys.jwks(logins.harness.clock()).keys.values()
    return [key.verification_key.jwk for key in keys]


async def test_an_id_token_of_before_the_switch_is_no_hint() -> None:
    async with switching() as logins:
        hints = IdTokens(logins.harness.issuer.registry)
        token = (await tokens(logins))["id_token"]
        assert hints.verify_hint(token, logins.harness.clock())
        await switch(logins)
        assert hints.verify_hint(token, logins.harness.clock()) is None, "RS256 is forbidden"
        token = (await tokens(logins))["id_token"]
        assert hints.verify_hint(token, logins.harness.clock())


async def test_refresh_tokens_and_sessions_stay_and_give_bound_tokens_only() -> None:
    async with switching() as logins:
        before = await tokens(logins, bound=False)
        assert before["token_type"] == "Bearer"
        await switch(logins)
        form = {"grant_type": "refresh_token", "refresh_token": before["refresh_token"]}
        unbound = await post(logins, bound=False, **form)
        assert (unbound.status_code, unbound.json()["error"]) == (400, "invalid_request")
        for _ in range(2):
            after = (await post(logins, **form)).json()
            assert (after["token_type"], algorithm(after["id_token"])) == ("DPoP", "ES256")
            assert after.get("refresh_token", before["refresh_token"]) == before["refresh_token"], "it does not rotate"


async def test_userinfo_takes_bound_tokens_only() -> None:
    async with switching() as logins:
        bearer = (await tokens(logins, bound=False, access=()))["access_token"]
        assert (await userinfo(logins, bearer)).status_code == 200
        await switch(logins)
        refused = await userinfo(logins, bearer)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("DPoP ")
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        in_body = await logins.harness.http.post("/userinfo", data={"access_token": bearer})
        assert in_body.status_code == 401
        bound = (await tokens(logins, access=()))["access_token"]
        sent = proof_for(logins, "/userinfo", method="GET", token=bound)
        assert (await userinfo(logins, bound, sent)).status_code == 200
        asked = await logins.harness.http.get("/userinfo")
        assert [value.partition(" ")[0] for value in asked.headers.get_list("www-authenticate")] == ["DPoP"]


@pytest.mark.parametrize("record", [web_client(), public_client()], ids=["secret", "public"])
async def test_refresh_tokens_of_other_clients_work_after_a_return_to_the_default(record: ClientRecord) -> None:
    """The profile ends no session and no refresh token: a switch that was a mistake can be undone."""
    async with running_logins(record) as logins:
        refresh_token = (await logins.tokens())["refresh_token"]
        secret = None if record.public else SECRET
        await switch(logins)
        refused = await logins.refresh(refresh_token, secret=secret)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert "private_key_jwt" in refused.json()["error_description"]
        await logins.put(IssuerRecord(ISSUER))
        assert (await logins.refresh(refresh_token, secret=secret)).status_code == 200
