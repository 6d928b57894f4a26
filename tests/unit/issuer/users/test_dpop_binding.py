"""DPoP with users: bound codes, families and tokens, each proof for the URL that it is sent to."""

from typing import Any

import httpx
import pytest

from scopewright.core.records.client import ClientRecord
from scopewright.serving.replay import LocalReplay
from scopewright.verifier.nonces import Nonces
from tests.harness.clock import Clock
from tests.harness.samples import ISSUER, NONCE_KEY, PAYROLL, SECRET
from tests.unit.issuer.users.logins import (
    Logins,
    granting_server,
    public_client,
    running_logins,
    web_client,
)
from tests.unit.verifier.support import HOLDER, OTHER, SigningKey, proof, thumbprint


def proof_for(
    logins: Logins, path: str = "/token", key: SigningKey = HOLDER, method: str = "POST", token: str | None = None
) -> str:
    now = int(logins.harness.clock())
    nonce = Nonces(NONCE_KEY, "token endpoint").current(now)
    return proof(token, key, htm=method, htu=ISSUER + path, iat=now, nonce=nonce)


async def redeem(logins: Logins, key: SigningKey | None = HOLDER, **of_code: Any) -> httpx.Response:
    code = await logins.code(await logins.session(), **of_code)
    secret = None if logins.record.public else SECRET
    return await logins.redeem(code, secret=secret, proof=proof_for(logins, key=key) if key else None)


async def refresh(logins: Logins, token: str, key: SigningKey | None = HOLDER) -> httpx.Response:
    secret = None if logins.record.public else SECRET
    return await logins.refresh(token, secret=secret, proof=proof_for(logins, key=key) if key else None)


async def userinfo(
    logins: Logins, token: str, sent: str | None, scheme: str = "DPoP", method: str = "GET"
) -> httpx.Response:
    headers = {"Authorization": f"{scheme} {token}"} | ({"DPoP": sent} if sent else {})
    return await logins.harness.http.request(method, "/userinfo", headers=headers)


async def test_a_proof_binds_the_access_token() -> None:
    async with running_logins() as logins:
        response = await redeem(logins)
        assert response.json()["token_type"] == "DPoP"
        assert response.headers["dpop-nonce"]
        claims = await logins.verified(response.json()["access_token"], PAYROLL)
        assert claims["cnf"] == {"jkt": thumbprint(HOLDER)}


async def test_a_code_with_dpop_jkt_needs_that_key() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session(), jkt=thumbprint(HOLDER))
        for sent in (None, proof_for(logins, key=OTHER)):
            refusal = await logins.redeem(code, proof=sent)
            assert (refusal.status_code, refusal.json()["error"]) == (400, "invalid_grant")
        tokens = (await logins.redeem(code, proof=proof_for(logins))).json()
        for key in (None, OTHER):
            assert (await refresh(logins, tokens["refresh_token"], key)).json()["error"] == "invalid_grant"
        assert (await refresh(logins, tokens["refresh_token"])).json()["token_type"] == "DPoP"


async def test_the_token_of_a_public_client_is_bound_to_its_key_and_does_not_rotate() -> None:
    async with running_logins(public_client()) as logins:
        token = (await redeem(logins)).json()["refresh_token"]
        for key in (None, OTHER):
            assert (await refresh(logins, token, key)).json()["error"] == "invalid_grant"
        assert (await refresh(logins, token)).json()["refresh_token"] == token


async def test_a_replayed_code_needs_the_key_too_before_it_ends_anything() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session(), jkt=thumbprint(HOLDER))
        tokens = (await logins.redeem(code, proof=proof_for(logins))).json()
        assert (await logins.redeem(code, proof=proof_for(logins, key=OTHER))).status_code == 400
        assert (await refresh(logins, tokens["refresh_token"])).status_code == 200
        assert (await logins.redeem(code, proof=proof_for(logins))).status_code == 400
        assert (await refresh(logins, tokens["refresh_token"])).status_code == 400


@pytest.mark.parametrize("record", [web_client(dpop_required=True), public_client(dpop_required=True)])
async def test_a_client_with_required_dpop_gets_no_token_without_a_proof(record: ClientRecord) -> None:
    async with running_logins(record) as logins:
        assert (await redeem(logins, None)).json()["error"] == "invalid_request"
        assert (await redeem(logins)).status_code == 200


async def test_an_api_with_required_dpop_gets_only_bound_tokens() -> None:
    async with running_logins() as logins:
        await logins.put(granting_server(dpop_required=True))
        assert (await redeem(logins, None)).json()["error"] == "invalid_request"
        assert (await redeem(logins)).json()["token_type"] == "DPoP"


async def test_a_proof_for_another_url_uses_up_no_code() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session())
        refusal = await logins.redeem(code, proof=proof_for(logins, "/userinfo"))
        assert refusal.json()["error"] == "invalid_dpop_proof"
        assert (await logins.redeem(code, proof=proof_for(logins))).status_code == 200


async def test_userinfo_wants_a_proof_of_the_token_for_its_own_url() -> None:
    async with running_logins() as logins:
        token = (await redeem(logins, access=())).json()["access_token"]
        for method in ("GET", "POST"):
            good = proof_for(logins, "/userinfo", method=method, token=token)
            response = await userinfo(logins, token, good, method=method)
            assert response.status_code == 200, response.text
            assert response.headers["dpop-nonce"]
            again = await userinfo(logins, token, good, method=method)
            assert (again.status_code, again.json()["error"]) == (401, "invalid_dpop_proof")
        for bad in (
            proof_for(logins, "/token", method="GET", token=token),
            proof_for(logins, "/userinfo", method="POST", token=token),
            proof_for(logins, "/userinfo", method="GET"),
            proof_for(logins, "/userinfo", method="GET", token="x" + token),
            None,
        ):
            refusal = await userinfo(logins, token, bad)
            assert (refusal.status_code, refusal.json()["error"]) == (401, "invalid_dpop_proof")
            assert refusal.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')
            assert "algs=" in refusal.headers["www-authenticate"]
        other = proof_for(logins, "/userinfo", OTHER, method="GET", token=token)
        assert (await userinfo(logins, token, other)).json()["error"] == "invalid_token"


async def test_userinfo_needs_no_nonce_and_refuses_a_wrong_one() -> None:
    async with running_logins() as logins:
        token = (await redeem(logins, access=())).json()["access_token"]
        now = int(logins.harness.clock())
        claims: dict[str, Any] = {"htm": "GET", "htu": f"{ISSUER}/userinfo", "iat": now}
        assert (await userinfo(logins, token, proof(token, **claims))).status_code == 200
        refusal = await userinfo(logins, token, proof(token, **claims, nonce="wrong"))
        assert (refusal.status_code, refusal.json()["error"]) == (401, "use_dpop_nonce")
        assert refusal.headers["dpop-nonce"]


async def test_the_scheme_must_be_that_of_the_token() -> None:
    async with running_logins() as logins:
        bound = (await redeem(logins, access=())).json()["access_token"]
        refusal = await userinfo(logins, bound, None, "Bearer")
        assert (refusal.status_code, refusal.json()["error"]) == (401, "invalid_token")
        assert refusal.headers["www-authenticate"].startswith("DPoP ")
        bearer = (await redeem(logins, None, access=())).json()["access_token"]
        sent = proof_for(logins, "/userinfo", method="GET", token=bearer)
        assert (await userinfo(logins, bearer, sent)).status_code == 401
        await logins.put(web_client(dpop_required=True))
        assert (await userinfo(logins, bearer, None, "Bearer")).status_code == 401


class CountedReplay(LocalReplay):
    """Counts what is stored."""

    stored = 0

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        self.stored += 1
        return await super().first_use(owner, value, until)


async def test_strangers_fill_no_replay_memory_in_the_name_of_a_public_client() -> None:
    """Its room is shared by the namespace, so that confidential clients would be refused."""
    clock = Clock()
    replay = CountedReplay(clock)
    async with running_logins(public_client(), clock=clock, replay=replay) as logins:
        code = await logins.code(await logins.session())
        for changes in ({"code": "x"}, {"code_verifier": "w" * 43}, {"redirect_uri": "https://evil.example"}):
            form = {"code": code} | changes
            refusal = await logins.redeem(form.pop("code"), secret=None, proof=proof_for(logins), **form)
            assert refusal.json()["error"] == "invalid_grant"
            assert refusal.headers["dpop-nonce"]
        refusal = await logins.refresh(f"{'A' * 22}.{'A' * 43}", secret=None, proof=proof_for(logins))
        assert refusal.json()["error"] == "invalid_grant"
        assert replay.stored == 0
        assert (await logins.redeem(code, secret=None, proof=proof_for(logins))).status_code == 200
        assert replay.stored == 1
