"""Exchange of a user's token (protocol.md, rule 20): the user stays the subject, with the user's own access."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from scopewright.core.records.client import Login, RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, Role, UserGrant
from scopewright.core.user_revocations import ended_sessions
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN, MAX_EXCHANGES
from scopewright.issuer.users.id_tokens import IdTokens
from scopewright.issuer.users.sessions import UserSessions, save_session
from scopewright.issuer.users.stored import Session, decode_stored
from scopewright.verifier.revoked import Revoked
from tests.harness.clock import START
from tests.harness.samples import (
    BANK,
    BANK_SERVICE,
    PAYROLL,
    PAYROLL_SERVICE,
    SECRET,
    VAULT,
    api_record,
    service_record,
)
from tests.unit.issuer.test_dpop import make_proof
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    PAYROLL_ACCESS,
    Logins,
    granting_server,
    running_logins,
    user,
    web_client,
)
from tests.unit.issuer.users.watched_sessions import watched
from tests.unit.verifier.support import HOLDER, thumbprint

NOW = int(START.timestamp())
TELLER = Role("teller", ("bank.look", "bank.pay"))
STAFF = UserGrant(("bank.look",), groups=("hr-staff",), clients=(PAYROLL_SERVICE,))
MANAGERS = UserGrant(TELLER.scopes, roles=("teller",), groups=("managers",), clients=(PAYROLL_SERVICE,))
MANAGER = user("ada", "hr-staff", "managers")


def bank(**changes: Any) -> Any:
    """`bank-api`: no client may use it for itself; staff may look and managers may pay, through payroll-service."""
    return replace(
        api_record("bank", "bank.pay", "bank.look", "bank.close", grants=()),
        **{"roles": (TELLER,), "user_grants": (STAFF, MANAGERS)} | changes,
    )


def vault() -> Any:
    through_bank = UserGrant(("vault.open",), all_users=True, clients=(BANK_SERVICE,))
    return replace(api_record("vault", "vault.open", grants=()), user_grants=(through_bank,))


def payroll(**changes: Any) -> Any:
    return replace(granting_server(), **{"served_by": (PAYROLL_SERVICE,)} | changes)


async def install(logins: Logins) -> None:
    await logins.put(payroll(), bank(), vault(), *(service_record(name) for name in ("payroll", "bank", "vault")))


async def token_of(logins: Logins, who: Any = MANAGER) -> str:
    """A token of a user for payroll-api, from the web application."""
    await install(logins)
    return str((await logins.tokens(who))["access_token"])


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def exchanged(
    logins: Logins, token: str, client_id: str = PAYROLL_SERVICE, resource: str = BANK, **more: str
) -> str:
    response = await logins.harness.exchange(token, client_id, resource, **more)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def reason(logins: Logins) -> str:
    return logins.harness.audit_lines[-1].rpartition('"reason":"')[2].partition('"')[0]


async def test_20_time_of_login_that_is_not_known_is_in_no_token() -> None:
    """A provider need not send `auth_time`; 0 would be a time in 1970."""
    async with running_logins() as logins:
        who = replace(MANAGER, auth_time=0)
        token, id_token = await token_of(logins, who), (await logins.tokens(who))["id_token"]
        for issued in (token, id_token, await exchanged(logins, token)):
            assert "auth_time" not in claims_of(issued)
        assert "auth_time" not in await logins.harness.introspect(token, CLIENT_ID)
        assert IdTokens(logins.harness.issuer.registry).verify_hint(id_token, logins.harness.clock())


async def test_20_user_stays_the_subject_and_act_names_each_caller() -> None:
    async with running_logins() as logins:
        token = await token_of(logins, replace(MANAGER, acr="gold", amr=("pwd", "otp")))
        at_bank = await exchanged(logins, token)
        claims, before = claims_of(at_bank), claims_of(token)
        assert (claims["sub"], claims["client_id"]) == (MANAGER.subject, PAYROLL_SERVICE)
        assert claims["act"] == {"sub": PAYROLL_SERVICE, "act": {"sub": CLIENT_ID}}
        for name in ("sid", "auth_time", "acr", "amr"):
            assert claims[name] == before[name]
        assert (claims["scope"], claims["roles"]) == ("bank.pay bank.look", ["teller"])
        content = await logins.harness.introspect(at_bank, BANK_SERVICE)
        assert (content["active"], content["act"], content["roles"]) == (True, claims["act"], ["teller"])
        at_vault = claims_of(await exchanged(logins, at_bank, BANK_SERVICE, VAULT))
        assert at_vault["act"] == {"sub": BANK_SERVICE, "act": claims["act"]}
        assert (at_vault["sub"], at_vault["scope"], at_vault["sid"]) == (MANAGER.subject, "vault.open", claims["sid"])
        line = logins.harness.audit_lines[-1]
        assert f'"subject":"{MANAGER.subject}"' in line
        assert f'"sid":"{claims["sid"]}"' in line
        assert not any(part in line for part in ("Ada", "hr-staff", at_bank))


async def test_20_user_has_what_their_groups_have_through_the_client_that_exchanges() -> None:
    async with running_logins() as logins:
        token = await token_of(logins, user("grace"))
        claims = claims_of(await exchanged(logins, token))
        assert claims["scope"] == "bank.look"
        assert "roles" not in claims
        asked = claims_of(await exchanged(logins, token, scope="bank.pay bank.look"))
        assert asked["scope"] == "bank.look", "scopes of users are narrowed"
        for scope, expected in (("bank.pay", "invalid_target"), ("bank.close", "invalid_scope")):
            response = await logins.harness.exchange(token, PAYROLL_SERVICE, BANK, scope=scope)
            assert refusal(response) == (400, expected), scope


async def test_20_role_needs_all_its_scopes_in_the_exchanged_token() -> None:
    async with running_logins() as logins:
        claims = claims_of(await exchanged(logins, await token_of(logins), scope="bank.look"))
        assert claims["scope"] == "bank.look"
        assert "roles" not in claims


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no entry for users": (bank(user_grants=()), "invalid_target", "invalid_target"),
    "a grant to the client only": (
        bank(user_grants=(), grants=(ResolvedGrant(("bank.look",), everybody=True),)),
        "invalid_target",
        "invalid_target",
    ),
    "an entry through another client": (
        bank(user_grants=(replace(STAFF, clients=(CLIENT_ID,)),)),
        "invalid_target",
        "invalid_target",
    ),
    "an entry for other users": (
        bank(user_grants=(replace(STAFF, groups=("x",)),)),
        "invalid_target",
        "invalid_target",
    ),
    "an entry that has ended": (
        bank(user_grants=(replace(STAFF, not_after=START),)),
        "invalid_target",
        "invalid_target",
    ),
    "no access in the manifest": (
        service_record("payroll", RequestedAccess("vault/vault-api", ("vault.open",))),
        "invalid_target",
        "invalid_target",
    ),
    "no grant type": (
        replace(service_record("payroll"), grant_types=("client_credentials",)),
        "unauthorized_client",
        "unauthorized_client",
    ),
    "another API that it serves": (payroll(served_by=(BANK_SERVICE,)), "invalid_request", "not_theirs"),
    "a web application that is disabled": (web_client(disabled=True), "invalid_request", "client_disabled"),
    "a web application without login": (web_client(login=None), "invalid_request", "login_withdrawn"),
    "a login for other groups": (
        web_client(login=Login((CALLBACK,), allowed_groups=("x",))),
        "invalid_request",
        "revoked",
    ),
    "no entry for users at the first API": (payroll(user_grants=()), "invalid_request", "scope_withdrawn"),
}


@pytest.mark.parametrize(("record", "error", "audited"), REFUSED.values(), ids=REFUSED)
async def test_20_exchange_is_refused_without(record: Any, error: str, audited: str) -> None:
    async with running_logins() as logins:
        token = await token_of(logins)
        await logins.put(record)
        assert refusal(await logins.harness.exchange(token, PAYROLL_SERVICE, BANK)) == (400, error)
        assert reason(logins) == audited


async def test_20_login_policy_of_the_first_client_is_checked_with_the_groups_of_the_session() -> None:
    """Also if the tokens of the client have not ended, because a new session of the user has other groups."""
    async with running_logins(web_client(login=Login((CALLBACK,), allowed_groups=("managers",)))) as logins:
        token = await token_of(logins)
        at_bank = await exchanged(logins, token)
        handle = f"session:{claims_of(token)['sid']}"
        await change_groups(logins, handle, ("hr-staff",))
        for subject_token, client_id, resource in ((token, PAYROLL_SERVICE, BANK), (at_bank, BANK_SERVICE, VAULT)):
            assert refusal(await logins.harness.exchange(subject_token, client_id, resource)) == (
                400,
                "invalid_request",
            )
            assert reason(logins) == "login_policy"


async def test_20_groups_are_those_of_the_session_now() -> None:
    async with running_logins() as logins:
        token = await token_of(logins)
        await change_groups(logins, f"session:{claims_of(token)['sid']}", ("hr-staff",))
        assert claims_of(await exchanged(logins, token))["scope"] == "bank.look"


async def change_groups(logins: Logins, handle: str, groups: tuple[str, ...]) -> None:
    """As a check at the identity provider does."""
    read = await logins.sealed.read(handle)
    opened = read.values[0]
    assert opened is not None
    session = decode_stored(Session, opened)
    assert session is not None
    assert await logins.sealed.write(save_session(replace(session, groups=groups), opened.version, read.now))


async def test_20_exchange_after_the_logout_is_refused() -> None:
    """By the revocation record, and by the session store too, if this issuer does not know of the logout yet."""
    async with running_logins() as logins:
        token = await token_of(logins)
        at_bank = await exchanged(logins, token)
        sessions = UserSessions(logins.sealed)
        await sessions.end(claims_of(token)["sid"])
        for subject_token, client_id, resource in ((token, PAYROLL_SERVICE, BANK), (at_bank, BANK_SERVICE, VAULT)):
            assert refusal(await logins.harness.exchange(subject_token, client_id, resource)) == (
                400,
                "invalid_request",
            )
            assert reason(logins) == "session_ended"
        assert (await logins.harness.introspect(at_bank, BANK_SERVICE))["active"] is True, "no record says so yet"
        ended = ended_sessions(MANAGER.subject, [claims_of(token)["sid"]], NOW)
        logins.harness.issuer.background.revocations.end(ended)
        assert refusal(await logins.harness.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
        assert reason(logins) == "revoked"
        assert (await logins.harness.introspect(at_bank, BANK_SERVICE)) == {"active": False}


async def test_20_session_store_that_is_away_is_503_for_users_only() -> None:
    store, settings = watched()
    async with running_logins(**settings) as logins:
        token = await token_of(logins)
        store.is_away = True
        response = await logins.harness.exchange(token, PAYROLL_SERVICE, BANK)
        assert refusal(response) == (503, "temporarily_unavailable")
        assert int(response.headers["retry-after"]) > 0
        both = RequestedAccess("vault/vault-api", ("vault.open",))
        own = service_record("payroll", both)
        granted = ResolvedGrant(("vault.open",), everybody=True)
        await logins.put(own, api_record("vault", "vault.open", grants=(granted,), served_by=(PAYROLL_SERVICE,)))
        of_client = await logins.harness.access_token(PAYROLL_SERVICE, resource=VAULT)
        assert (await logins.harness.exchange(of_client, PAYROLL_SERVICE, VAULT)).status_code == 200


async def test_20_session_is_read_once_and_not_for_a_token_that_is_refused_anyway() -> None:
    store, settings = watched()
    async with running_logins(**settings) as logins:
        token = await token_of(logins)
        reads = store.reads
        await exchanged(logins, token)
        assert store.reads == reads + 1
        assert refusal(await logins.harness.exchange(token, BANK_SERVICE, VAULT)) == (400, "invalid_request")
        assert refusal(await logins.harness.exchange(token + "A", PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
        assert store.reads == reads + 1


async def test_20_exchanged_token_outlives_neither_the_subject_token_nor_grant_nor_session() -> None:
    async with running_logins() as logins:
        token = await token_of(logins)
        logins.harness.clock.advance(seconds=400)
        assert claims_of(await exchanged(logins, token))["exp"] == claims_of(token)["exp"] == NOW + 600
        await logins.put(bank(user_grants=(replace(MANAGERS, not_after=START + timedelta(seconds=500)),)))
        assert claims_of(await exchanged(logins, token))["exp"] == NOW + 500
        logins.harness.clock.advance(seconds=12 * 3600 - 500)
        again = str((await logins.tokens(MANAGER))["access_token"])
        assert claims_of(again)["exp"] > claims_of(token)["exp"]


async def test_20_exchange_at_the_same_api_widens_neither_scopes_nor_roles() -> None:
    """Through payroll-service, the user has more at payroll-api than through the web application."""
    async with running_logins() as logins:
        more = UserGrant(
            ("payroll.read", "payroll.write"), roles=("manager",), groups=("hr-staff",), clients=(PAYROLL_SERVICE,)
        )
        token = await token_of(logins, user("grace"))
        await logins.put(
            payroll(user_grants=(*granting_server().user_grants, more)),
            service_record("payroll", PAYROLL_ACCESS, RequestedAccess("bank/bank-api", ("bank.look",))),
        )
        claims = claims_of(await exchanged(logins, token, resource=PAYROLL))
        assert claims["scope"] == "payroll.read"
        both = UserGrant(("payroll.read", "payroll.write"), groups=("hr-staff",), namespaces=("leave",))
        await logins.put(payroll(user_grants=(both, more)))
        logins.harness.clock.advance(seconds=1)
        token = str((await logins.tokens(user("grace")))["access_token"])
        assert "roles" not in claims_of(token)
        claims = claims_of(await exchanged(logins, token, resource=PAYROLL))
        assert claims["scope"] == "payroll.read payroll.write"
        assert "roles" not in claims


async def test_20_token_for_userinfo_is_not_exchanged() -> None:
    async with running_logins() as logins:
        await install(logins)
        token = str((await logins.tokens(access=()))["access_token"])
        assert refusal(await logins.harness.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
        assert reason(logins) == "not_theirs"


async def test_20_chain_of_a_user_is_bounded() -> None:
    async with running_logins() as logins:
        token = await token_of(logins)
        everywhere = UserGrant(("bank.look",), all_users=True, everybody=True)
        await logins.put(
            bank(user_grants=(everywhere,)), service_record("bank", RequestedAccess("bank/bank-api", ("bank.look",)))
        )
        logins.harness.clock.advance(seconds=1)
        token = await exchanged(logins, token)
        for _ in range(MAX_EXCHANGES - 1):
            token = await exchanged(logins, token, BANK_SERVICE)
        assert refusal(await logins.harness.exchange(token, BANK_SERVICE, BANK)) == (400, "invalid_request")
        assert len(token) < 4096
        verified = await logins.verified(token, BANK)
        assert verified["sub"] == MANAGER.subject


ENDS_THE_CHAIN: dict[str, Any] = {
    "the web application": web_client(disabled=True),
    "its login": web_client(login=None),
    "the client in the middle": service_record("payroll", disabled=True),
    "another client of its name": replace(service_record("payroll"), uid="made again"),
    "its grant type": replace(service_record("payroll"), grant_types=("client_credentials",)),
    "its access in the manifest": service_record("payroll", RequestedAccess("vault/vault-api", ("vault.open",))),
    "the service of the first API": payroll(served_by=()),
    "the service of the API in the middle": bank(served_by=()),
    "the entry for users at the first API": payroll(user_grants=()),
    "the entry for users in the middle": bank(user_grants=()),
    "the entry through the client in the middle": bank(user_grants=(replace(STAFF, clients=(BANK_SERVICE,)),)),
    "a scope in the middle": replace(bank(), scopes=("bank.look", "bank.close")),
    "the last entry": replace(vault(), user_grants=()),
}


@pytest.mark.parametrize("record", ENDS_THE_CHAIN.values(), ids=ENDS_THE_CHAIN)
async def test_20_exchanged_token_of_a_user_ends_with_any_part_of_its_chain(record: Any) -> None:
    """At introspection, and in the feed."""
    async with running_logins() as logins:
        token = await exchanged(logins, await exchanged(logins, await token_of(logins)), BANK_SERVICE, VAULT)
        assert (await logins.harness.introspect(token, "vault.vault-service"))["active"] is True
        await logins.put(record)
        assert await logins.harness.introspect(token, "vault.vault-service") == {"active": False}
        feed = (await logins.harness.http.get("/revocations")).json()
        revoked = Revoked.parse(feed, "https://issuer.example.org")
        assert revoked.has_ended(claims_of(token), jwt.get_unverified_header(token)["kid"])


async def test_20_revoking_a_token_of_a_user_ends_the_tokens_exchanged_from_it() -> None:
    async with running_logins() as logins:
        first = await token_of(logins)
        second = await exchanged(logins, first)
        third = await exchanged(logins, second, BANK_SERVICE, VAULT)
        await logins.harness.revoke(second, PAYROLL_SERVICE)
        assert await logins.harness.introspect(third, "vault.vault-service") == {"active": False}
        assert (await logins.harness.introspect(first))["active"] is True
        assert refusal(await logins.harness.exchange(second, BANK_SERVICE, VAULT)) == (400, "invalid_request")


async def test_20_client_that_requires_bound_tokens_exchanges_with_a_proof_only() -> None:
    async with running_logins() as logins:
        token = await token_of(logins)
        await logins.put(service_record("payroll", dpop_required=True))
        assert refusal(await logins.harness.exchange(token, PAYROLL_SERVICE, BANK)) == (400, "invalid_request")
        assert reason(logins) == "proof_missing"
        sent = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
        for form, accepted in ((sent | {"resource": BANK}, True), (sent | {"resource": VAULT}, False)):
            response = await logins.harness.http.post(
                "/token",
                data=form,
                auth=(PAYROLL_SERVICE, SECRET),
                headers={"DPoP": make_proof(logins.harness)},
            )
            assert (response.status_code == 200) is accepted, response.text
            assert response.headers["dpop-nonce"]
            if accepted:
                claims = claims_of(response.json()["access_token"])
                assert (claims["cnf"], claims["sub"]) == ({"jkt": thumbprint(HOLDER)}, MANAGER.subject)


async def test_20_users_are_never_mixed_up() -> None:
    """Two users through one client at one API, in turns: no claim of one is in a token of the other."""
    async with running_logins() as logins:
        tokens = {who.subject: await token_of(logins, who) for who in (MANAGER, user("grace"))}
        for _ in range(20):
            for subject, token in tokens.items():
                claims = claims_of(await exchanged(logins, token))
                assert (claims["sub"], claims["sid"]) == (subject, claims_of(token)["sid"])
                assert ("roles" in claims) is (subject == MANAGER.subject)


async def test_20_token_of_a_client_needs_no_session_store_and_gets_no_claim_of_users() -> None:
    """Through the same clients that exchange tokens of users."""
    store, settings = watched()
    async with running_logins(
        web_client(grant_types=("client_credentials", "authorization_code")), **settings
    ) as logins:
        await install(logins)
        everybody = (ResolvedGrant(("payroll.read",), everybody=True),)
        await logins.put(
            payroll(grants=everybody),
            bank(grants=(ResolvedGrant(("bank.look",), everybody=True),)),
            web_client(
                grant_types=("client_credentials", "authorization_code"),
                access=(PAYROLL_ACCESS, RequestedAccess("bank/bank-api", ("bank.look",))),
            ),
        )
        logins.harness.clock.advance(seconds=1)
        store.is_away = True
        own = await logins.harness.access_token(resource=PAYROLL, scope="payroll.read")
        claims = claims_of(await exchanged(logins, own))
        assert (claims["sub"], claims["act"]) == (CLIENT_ID, {"sub": PAYROLL_SERVICE})
        assert claims.keys().isdisjoint({"sid", "auth_time", "roles", "acr", "amr"})
