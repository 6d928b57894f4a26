"""ID tokens as hints: which come from this issuer, and what no ID token is."""

import base64
import json
from typing import Any

import pytest

from scopewright.issuer.users.id_tokens import IdTokens
from tests.harness.issuer import settle
from tests.harness.samples import private_key, public_jwk
from tests.unit.issuer.users.logins import CLIENT_ID, Logins, running_logins, user, web_client


def b64(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def hint(logins: Logins, token: str) -> Any:
    return IdTokens(logins.harness.issuer.registry).verify_hint(token, logins.harness.clock())


async def test_an_id_token_is_a_hint_after_its_end_too() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens()
        logins.harness.clock.advance(hours=5)
        found = hint(logins, tokens["id_token"])
        assert (found.client_id, found.subject) == (CLIENT_ID, user().subject)
        assert await logins.sessions.of_sid(found.sid) is not None


async def test_nothing_else_is() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens()
        userinfo = await logins.tokens(access=())
        header, payload, signature = tokens["id_token"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        for forged in (
            tokens["access_token"],
            userinfo["access_token"],
            tokens["refresh_token"],
            f"{b64({'alg': 'none'})}.{payload}.",
            f"{b64({'alg': 'none', 'typ': 'JWT'})}.{payload}.{signature}",
            f"{header}.{b64(claims | {'sub': 'u-' + 'a' * 26})}.{signature}",
            f"{header}.{payload}.{signature[:-2]}",
            f"{header}.{payload}",
            "",
            "." * 20,
            "é.é.é",
            "x" * 100_000,
        ):
            assert hint(logins, forged) is None


async def test_a_hint_ends_with_its_key_and_with_the_issuer_that_signed_it() -> None:
    async with running_logins() as logins:
        token = (await logins.tokens())["id_token"]
        logins.harness.publish(public_jwk(private_key(), "ES256"))
        await settle()
        assert hint(logins, token) is None


@pytest.mark.parametrize("scopes", [("openid",), ("openid", "profile"), ("openid", "groups")])
async def test_an_id_token_has_the_claims_of_its_scopes(scopes: tuple[str, ...]) -> None:
    async with running_logins() as logins:
        claims = await logins.verified((await logins.tokens(scopes=scopes))["id_token"], CLIENT_ID)
        of_user = {"name", "email", "email_verified", "groups"} & claims.keys()
        assert of_user == {("openid",): set(), ("openid", "profile"): {"name"}}.get(scopes, {"groups"})


async def test_the_claims_of_a_provider_replace_no_claim_of_the_issuer() -> None:
    async with running_logins() as logins:
        who = user("ada", sub="u-forged", iss="https://evil.example", aud="x", sid="x", nonce="x", exp=1)
        claims = await logins.verified((await logins.tokens(who))["id_token"], CLIENT_ID)
        assert (claims["sub"], claims["aud"], claims["nonce"]) == (user().subject, CLIENT_ID, "n-1")


async def test_without_its_key_there_are_no_tokens_and_the_code_is_not_used_up() -> None:
    async with running_logins(web_client()) as logins:
        code = await logins.code(await logins.session())
        rsa, ec = (public_jwk(private_key(name, n), name) for name, n in (("RS256", 1), ("ES256", 0)))
        logins.harness.publish(ec)
        await settle()
        refusal = await logins.redeem(code)
        assert (refusal.status_code, refusal.json()["error"]) == (503, "temporarily_unavailable")
        logins.harness.publish(ec, rsa)
        await settle()
        assert (await logins.redeem(code)).status_code == 200
