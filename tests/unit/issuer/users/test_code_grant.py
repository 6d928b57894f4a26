"""The grant authorization_code: what a code gives, what it must prove, and what a second redemption does."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import jwt
import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.client import Login, RequestedAccess
from scopewright.core.records.resource_server import UserGrant
from tests.harness.issuer import IssuerHarness
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER, PAYROLL, SECRET, server_record
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    PAYROLL_ACCESS,
    VERIFIER,
    Logins,
    granting_server,
    other_client,
    public_client,
    running_logins,
    s256,
    user,
    web_client,
)

LEAVE = "https://leave-api.leave.svc"


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


async def refused(logins: Logins, code: str, **changes: Any) -> tuple[int, str]:
    response = await logins.redeem(code, **changes)
    return response.status_code, response.json()["error"]


async def test_what_a_code_must_prove_is_checked_before_it_is_used_up() -> None:
    """Code injection (RFC 9700 §4.5): an attacker has the code, and nothing else."""
    async with running_logins() as logins:
        # Without a consent, so that only the code itself can refuse the other client.
        await logins.put(other_client(login=Login((CALLBACK,), consent="Skip")))
        code = await logins.code(await logins.session())
        grant = (400, "invalid_grant")
        assert await refused(logins, code, client="leave.other", secret="B" * 43) == grant
        assert await refused(logins, code, redirect_uri=CALLBACK + "/") == grant
        assert await refused(logins, code, redirect_uri=None) == grant
        assert await refused(logins, code, code_verifier="w" * 43) == grant
        assert await refused(logins, code, code_verifier=None) == grant
        assert await refused(logins, code, code_verifier=s256(VERIFIER)) == grant
        assert await refused(logins, code[:-1] + ("A" if code[-1] != "A" else "B")) == grant
        assert await refused(logins, "x" * 200) == grant
        assert (await logins.redeem(code, secret="C" * 43)).status_code == 401
        assert (await logins.redeem(code)).status_code == 200


async def test_a_verifier_without_a_challenge_is_refused() -> None:
    """PKCE downgrade (RFC 9700 §4.8.2): an attacker removed the challenge from the authorization request."""
    async with running_logins() as logins:
        session = await logins.session()
        assert await refused(logins, await logins.code(session, verifier="")) == (400, "invalid_grant")
        response = await logins.redeem(await logins.code(session, verifier=""), code_verifier=None)
        assert response.status_code == 200


async def test_a_client_that_became_public_needs_a_challenge() -> None:
    async with running_logins(public_client()) as logins:
        code = await logins.code(await logins.session(), verifier="")
        response = await logins.redeem(code, secret=None, code_verifier=None)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_twenty_logins_of_one_user_at_once_all_succeed() -> None:
    """Each of them writes the user's record."""
    async with running_logins() as logins:
        codes = [await logins.code(await logins.session()) for _ in range(20)]
        responses = await asyncio.gather(*(logins.redeem(code) for code in codes))
        assert {r.status_code for r in responses} == {200}
        for response in responses:
            assert (await logins.refresh(response.json()["refresh_token"])).status_code == 200


async def test_a_second_redemption_ends_what_the_first_one_gave() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session(), access=())
        first = (await logins.redeem(code)).json()
        second = (await logins.refresh(first["refresh_token"])).json()
        assert await refused(logins, code) == (400, "invalid_grant")
        assert '"reason":"code_replayed"' in logins.harness.audit_lines[-1]
        assert (await logins.refresh(first["refresh_token"])).status_code == 400
        for tokens in (first, second):
            headers = {"Authorization": f"Bearer {tokens['access_token']}"}
            assert (await logins.harness.http.get("/userinfo", headers=headers)).status_code == 401


async def test_somebody_who_found_a_code_ends_nothing_with_it() -> None:
    async with running_logins() as logins:
        await logins.put(other_client())
        code = await logins.code(await logins.session())
        first = (await logins.redeem(code)).json()
        assert await refused(logins, code, code_verifier="w" * 43) == (400, "invalid_grant")
        assert await refused(logins, code, client="leave.other", secret="B" * 43) == (400, "invalid_grant")
        assert (await logins.refresh(first["refresh_token"])).status_code == 200


async def test_of_concurrent_redemptions_one_gets_tokens_and_they_end() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session())
        responses = await asyncio.gather(*(logins.redeem(code) for _ in range(10)))
        assert sorted(r.status_code for r in responses) == [200] + [400] * 9
        [tokens] = [r.json() for r in responses if r.status_code == 200]
        assert (await logins.refresh(tokens["refresh_token"])).status_code == 400


async def test_a_code_lives_a_minute() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session())
        logins.harness.clock.advance(seconds=61)
        assert await refused(logins, code) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"disabled": True}, "invalid_client"),
        ({"uid": "uid-of-a-successor"}, "invalid_grant"),
        ({"login": None}, "invalid_grant"),
        ({"grant_types": ("client_credentials",)}, "unauthorized_client"),
        ({"login": Login(("https://hr.example/elsewhere",))}, "invalid_grant"),
        ({"login": Login((CALLBACK,), allowed_groups=("managers",))}, "invalid_grant"),
        ({"access": ()}, "invalid_target"),
        ({"dpop_required": True}, "invalid_request"),
    ],
)
async def test_a_change_of_the_client_since_the_login_counts(changes: dict[str, Any], error: str) -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session())
        tokens = await logins.tokens()
        await logins.put(web_client(**changes))
        assert (await logins.redeem(code)).json()["error"] == error
        assert (await logins.refresh(tokens["refresh_token"])).json()["error"] == error


async def test_a_grant_that_was_withdrawn_since_the_login_counts() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens(user("ada", "managers"))
        assert tokens["scope"].endswith("payroll.read payroll.write")
        claims = await logins.verified(tokens["access_token"], PAYROLL)
        assert claims["roles"] == ["manager"]
        staff = UserGrant(("payroll.read",), groups=("managers",), namespaces=("leave",))
        await logins.put(granting_server(user_grants=(staff,)))
        narrower = (await logins.refresh(tokens["refresh_token"])).json()
        assert narrower["scope"].endswith(" payroll.read")
        assert "roles" not in await logins.verified(narrower["access_token"], PAYROLL)
        await logins.put(granting_server(user_grants=()))
        refusal = await logins.refresh(tokens["refresh_token"])
        assert (refusal.status_code, refusal.json()["error"]) == (400, "invalid_target")
        await logins.put(granting_server())
        assert (await logins.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_code_ends_with_the_session() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        code = await logins.code(session)
        await logins.sessions.end(session.sid)
        assert await refused(logins, code) == (400, "invalid_grant")


@pytest.mark.parametrize("grant_types", [("authorization_code",), ("authorization_code", "refresh_token")])
async def test_a_code_ends_with_the_consent(grant_types: tuple[str, ...]) -> None:
    """The client keeps the code back until the user has withdrawn the consent."""
    async with running_logins(web_client(grant_types=grant_types)) as logins:
        session = await logins.session()
        code = await logins.code(session)
        await logins.consents.withdraw(session.subject, uid_hash_of(logins))
        assert await refused(logins, code) == (400, "invalid_grant")
        assert '"reason":"consent_withdrawn"' in logins.harness.audit_lines[-1]
        await logins.code(session, access=())
        assert await refused(logins, code) == (400, "invalid_grant"), "the user consents to less"


async def test_a_consent_that_is_withdrawn_during_the_redemption_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_logins() as logins:
        session = await logins.session()
        code = await logins.code(session)
        store, uid_hash = logins.sealed._store, uid_hash_of(logins)
        write = store.write

        async def withdraw_first(*changes: Any) -> bool:
            monkeypatch.setattr(store, "write", write)
            await logins.consents.withdraw(session.subject, uid_hash)
            return await store.write(*changes)

        monkeypatch.setattr(store, "write", withdraw_first)
        assert await refused(logins, code) == (400, "invalid_grant")


async def test_a_client_that_needs_no_consent_redeems_without_one() -> None:
    async with running_logins(web_client(login=Login((CALLBACK,), consent="Skip"))) as logins:
        session = await logins.session()
        code = await logins.code(session)
        await logins.consents.withdraw(session.subject, uid_hash_of(logins))
        assert (await logins.redeem(code)).status_code == 200


@pytest.mark.parametrize("grant_types", [("authorization_code",), ("authorization_code", "refresh_token")])
async def test_a_logout_at_any_moment_ends_the_token_of_a_code(
    grant_types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the session has its first token while it ends: the token is revoked, or there is none."""
    async with running_logins(web_client(grant_types=grant_types)) as logins:
        sessions = logins.sessions_with_revocations()
        session = await logins.session()
        token = (await logins.redeem(await logins.code(session))).json()["access_token"]
        await sessions.end(session.sid)
        assert (await logins.harness.introspect(token))["active"] is False
        session = await logins.session()
        code = await logins.code(session)
        store = logins.sealed._store
        write = store.write

        async def redeem_first(*changes: Any) -> bool:
            monkeypatch.setattr(store, "write", write)
            redeemed.append((await logins.redeem(code)).json()["access_token"])
            return await store.write(*changes)

        redeemed: list[str] = []
        monkeypatch.setattr(store, "write", redeem_first)
        await sessions.end(session.sid)
        assert (await logins.harness.introspect(redeemed[0]))["active"] is False


def uid_hash_of(logins: Logins) -> str:
    client = logins.harness.issuer.registry.clients.get(CLIENT_ID)
    assert client is not None
    return client.uid_hash


async def test_a_token_is_for_one_api_or_for_userinfo() -> None:
    async with running_logins() as logins:
        leave = server_record(
            namespace="leave",
            name="leave-api",
            uid="uid-leave",
            audience=LEAVE,
            scopes=("leave.read",),
            user_grants=(UserGrant(("leave.read",), all_users=True, everybody=True),),
        )
        of_leave = RequestedAccess("leave/leave-api", ("leave.read",))
        await logins.put(leave, web_client(access=(PAYROLL_ACCESS, of_leave)))
        both = (PAYROLL_ACCESS, of_leave)
        session = await logins.session()

        async def error(**changes: Any) -> str:
            response = await logins.redeem(await logins.code(session, access=both), **changes)
            return str(response.json()["error"])

        assert await error() == "invalid_target"
        assert await error(resource="https://unknown.example") == "invalid_target"
        assert await error(resource=[PAYROLL, LEAVE]) == "invalid_target"
        for resource, audience, scope in (
            (PAYROLL, PAYROLL, "payroll.read"),
            (LEAVE, LEAVE, "leave.read"),
            (ISSUER, ISSUER, "openid profile email groups"),
        ):
            response = await logins.redeem(await logins.code(session, access=both), resource=resource)
            claims = await logins.verified(response.json()["access_token"], audience)
            assert (claims["aud"], claims["scope"]) == (audience, scope)
        tokens = (await logins.redeem(await logins.code(session, access=both), resource=LEAVE)).json()
        narrowed = await logins.refresh(tokens["refresh_token"], scope="openid payroll.read")
        assert (await logins.verified(narrowed.json()["access_token"], PAYROLL))["scope"] == "payroll.read"
        assert narrowed.json()["scope"] == "openid payroll.read"
        only_openid = await logins.refresh(tokens["refresh_token"], scope="openid")
        assert (await logins.verified(only_openid.json()["access_token"], ISSUER))["scope"] == "openid"


async def test_without_openid_there_is_no_id_token_and_no_token_for_userinfo() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        content = (await logins.redeem(await logins.code(session, scopes=()))).json()
        assert "id_token" not in content
        assert content["scope"] == "payroll.read"
        response = await logins.redeem(await logins.code(session, scopes=()), resource=ISSUER)
        assert response.json()["error"] == "invalid_target"


async def test_the_audit_lines_name_grant_user_session_and_token() -> None:
    async with running_logins() as logins:
        code = await logins.code(await logins.session())
        tokens = (await logins.redeem(code)).json()
        line = json.loads(logins.harness.audit_lines[-1])
        claims = await logins.verified(tokens["access_token"], PAYROLL)
        assert {name: line[name] for name in ("event", "result", "grant_type", "client", "audience")} == {
            "event": "token",
            "result": "issued",
            "grant_type": "authorization_code",
            "client": CLIENT_ID,
            "audience": PAYROLL,
        }
        assert (line["subject"], line["sid"], line["jti"]) == (claims["sub"], claims["sid"], claims["jti"])
        await logins.redeem(code, code_verifier="w" * 43)
        assert json.loads(logins.harness.audit_lines[-1])["reason"] == "code_verifier"
        everything = "\n".join(logins.harness.audit_lines)
        for secret in (code, VERIFIER, tokens["refresh_token"], tokens["access_token"], "ada@hr.example"):
            assert secret not in everything


async def test_claims_of_two_users_never_mix() -> None:
    """One client, one API, both users interleaved a thousand times."""
    async with running_logins() as logins:
        ada, eve = user("ada"), user("eve", "managers")
        tokens = {who.subject: await logins.tokens(who) for who in (ada, eve)}
        expected = {ada.subject: ("payroll.read", None), eve.subject: ("payroll.read payroll.write", ["manager"])}

        async def refresh(subject: str) -> None:
            response = await logins.refresh(tokens[subject]["refresh_token"])
            access, identity = (unverified(response.json()[name]) for name in ("access_token", "id_token"))
            assert (access["sub"], identity["sub"]) == (subject, subject)
            assert (access["scope"], access.get("roles")) == expected[subject]
            assert access["sid"] == identity["sid"]

        for _ in range(50):
            await asyncio.gather(*(refresh(subject) for _ in range(10) for subject in (ada.subject, eve.subject)))


async def test_a_store_that_is_away_is_503_and_client_tokens_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_logins(
        web_client(grant_types=("authorization_code", "refresh_token", "client_credentials"))
    ) as logins:
        code = await logins.code(await logins.session())
        tokens = await logins.tokens()

        async def away(*_: object) -> None:
            raise Unavailable("the store is away")

        monkeypatch.setattr(MemorySessions, "get", away)
        for response in (await logins.redeem(code), await logins.refresh(tokens["refresh_token"])):
            assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
            assert response.headers["retry-after"]
        await logins.put(server_record())
        own = await logins.post({"grant_type": "client_credentials", "scope": "payroll.read"}, SECRET)
        assert own.status_code == 200
        await logins.put(granting_server())
        monkeypatch.undo()
        monkeypatch.setattr(MemorySessions, "write", away)
        assert (await logins.redeem(code)).status_code == 503
        monkeypatch.undo()
        assert (await logins.redeem(code)).status_code == 200


async def test_without_users_the_grants_are_unknown(harness: IssuerHarness) -> None:
    form = {"grant_type": "authorization_code", "code": "c"}
    response = await harness.http.post("/token", data=form, auth=(CLIENT_ID, SECRET))
    assert response.json()["error"] == "unsupported_grant_type"
    assert "authorization_code" not in response.text


def unverified(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
