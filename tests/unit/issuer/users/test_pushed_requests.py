"""The endpoint for pushed authorization requests (RFC 9126 §2): who may push what, and the key of its proof."""

from typing import Any

import httpx
import pytest

from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.endpoints.pushed_requests import MAX_REQUEST_BYTES
from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.issuer.users import push_bounds
from scopewright.issuer.users.push_bounds import ADDRESS_BUDGET
from scopewright.issuer.users.pushed import URN, PushedRequests
from tests.harness.clock import Clock
from tests.harness.samples import ISSUER, SECRET
from tests.unit.issuer.assertions import assertion, generated_credential, in_cluster, pod_token, with_account
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    Logins,
    other_client,
    public_client,
    running_logins,
    s256,
    web_client,
)
from tests.unit.issuer.users.test_dpop_binding import CountedReplay, proof_for
from tests.unit.issuer.users.watched_sessions import watched
from tests.unit.verifier.support import HOLDER, OTHER, proof, thumbprint

REQUEST = {
    "response_type": "code",
    "redirect_uri": CALLBACK,
    "scope": "openid",
    "state": "s",
    "code_challenge": s256("v" * 43),
    "code_challenge_method": "S256",
}


async def push(logins: Logins, *, secret: str | None = SECRET, **changes: Any) -> httpx.Response:
    """As `client` (by default the installed one), with `proof` as a DPoP header. None removes a parameter."""
    return await logins.post({**REQUEST, **changes}, secret, "/par")


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content["error_description"]
    return response.status_code, content["error"]


async def parameters_of(logins: Logins, response: httpx.Response) -> dict[str, tuple[str, ...]]:
    """As they are stored."""
    assert response.status_code == 201, response.text
    client = logins.harness.issuer.registry.clients.get(CLIENT_ID)
    assert client is not None
    handle = response.json()["request_uri"].removeprefix(URN)
    found = await PushedRequests(logins.sealed, logins.harness.clock).read(handle)
    return dict(found.pushed.parameters)


async def test_the_answer_has_a_reference_and_its_life() -> None:
    async with running_logins() as logins:
        first, second = await push(logins), await push(logins)
        assert first.status_code == 201
        assert first.headers["cache-control"] == "no-store"
        assert first.json().keys() == {"request_uri", "expires_in"}
        assert first.json()["expires_in"] == 90
        assert first.json()["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
        assert len(first.json()["request_uri"]) == len(URN) + 43
        assert first.json() != second.json()


# Who


async def test_a_secret_in_header_or_form() -> None:
    async with running_logins() as logins:
        form = {**REQUEST, "client_id": CLIENT_ID, "client_secret": SECRET}
        answer = await logins.harness.http.post("/par", data=form)
        stored = await parameters_of(logins, answer)
        assert "client_secret" not in stored
        assert stored == await parameters_of(logins, await push(logins))


@pytest.mark.parametrize("secret", ["B" * 43, ""])
async def test_a_wrong_secret_is_refused(secret: str) -> None:
    async with running_logins() as logins:
        assert refusal(await push(logins, secret=secret or None)) == (401, "invalid_client")


async def test_a_client_pushes_nothing_in_the_name_of_another() -> None:
    async with running_logins() as logins:
        await logins.put(other_client())
        answer = await push(logins, client="leave.other", secret="B" * 43, client_id=CLIENT_ID)
        assert refusal(answer) == (400, "invalid_request")


async def test_a_key_pair_by_an_assertion_for_the_issuer() -> None:
    record = web_client(method="PrivateKeyJWT", credentials=(generated_credential(),))
    async with running_logins(record) as logins:
        for audience, status in ((ISSUER, 201), (f"{ISSUER}/par", 401), (f"{ISSUER}/token", 401), ([ISSUER, "x"], 401)):
            sent = assertion(logins.harness, aud=audience)
            form = {**REQUEST, "client_assertion_type": JWT_BEARER, "client_assertion": sent}
            answer = await logins.harness.http.post("/par", data=form)
            assert answer.status_code == status, (audience, answer.text)
            if status == 201:
                assert "client_assertion" not in await parameters_of(logins, answer)
        again = await logins.harness.http.post("/par", data={**form, "client_assertion": sent})
        assert refusal(again) == (401, "invalid_client")


async def test_with_the_profile_fapi2_the_audience_is_one_string() -> None:
    record = web_client(method="PrivateKeyJWT", credentials=(generated_credential(),))
    async with running_logins(record) as logins:
        await logins.put(IssuerRecord(ISSUER, profile="FAPI2"))
        for audience, status in ((ISSUER, 201), ([ISSUER], 401)):
            sent = assertion(logins.harness, aud=audience)
            form = {**REQUEST, "client_assertion_type": JWT_BEARER, "client_assertion": sent}
            assert (await logins.harness.http.post("/par", data=form)).status_code == status


async def test_a_service_account_by_its_token() -> None:
    account = with_account().service_account
    async with running_logins(web_client(method="ServiceAccount", credentials=(), service_account=account)) as logins:
        await logins.put(in_cluster())
        form = {**REQUEST, "client_assertion_type": JWT_BEARER, "client_assertion": pod_token(logins.harness)}
        answer = await logins.harness.http.post("/par", data=form)
        assert (await parameters_of(logins, answer))["client_id"] == (CLIENT_ID,)


async def test_a_public_client_by_its_id() -> None:
    async with running_logins(public_client()) as logins:
        assert (await parameters_of(logins, await push(logins, secret=None)))["client_id"] == (CLIENT_ID,)


async def test_a_client_without_a_login_may_not() -> None:
    async with running_logins(web_client(login=None)) as logins:
        assert refusal(await push(logins)) == (400, "unauthorized_client")


# What


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"request_uri": URN + "x" * 43}, "invalid_request"),
        ({"request_uri": "https://evil.example/"}, "invalid_request"),
        ({"request": "ey"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/callback"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "unknown"}, "invalid_scope"),
        ({"resource": "https://unknown.example"}, "invalid_target"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"id_token_hint": "ey"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": ["openid", "email"]}, "invalid_request"),
    ],
)
async def test_a_request_that_authorize_refuses_is_refused(changes: dict[str, Any], error: str) -> None:
    async with running_logins() as logins:
        assert refusal(await push(logins, **changes)) == (400, error)


async def test_a_hint_is_stored_as_its_subject() -> None:
    """It is verified here, and its session may have ended since: what it says is who the user is."""
    async with running_logins() as logins:
        session = await logins.session()
        tokens = (await logins.redeem(await logins.code(session))).json()
        await logins.sessions.end(session.sid)
        logins.harness.clock.advance(seconds=3600)
        stored = await parameters_of(logins, await push(logins, id_token_hint=tokens["id_token"]))
        assert stored["id_token_hint"] == (session.subject,)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_post(method: str) -> None:
    async with running_logins() as logins:
        response = await logins.harness.http.request(method, "/par")
        assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_a_request_is_bounded() -> None:
    """Unknown parameters count too; a client assertion does not."""
    async with running_logins() as logins:
        room = MAX_REQUEST_BYTES - sum(len(k) + len(v) for k, v in REQUEST.items()) - len("x")
        assert (await push(logins, x="y" * room)).status_code == 201
        for changes in ({"x": "y" * (room + 1)}, {"x": "é" * (room // 2 + 1)}, {"x": "y" * 20_000}):
            assert refusal(await push(logins, **changes)) == (413, "invalid_request")


async def test_what_is_stored_is_what_matters() -> None:
    async with running_logins() as logins:
        stored = await parameters_of(logins, await push(logins, unknown="x" * 1000, display="page"))
        assert stored == {name: (value,) for name, value in {**REQUEST, "client_id": CLIENT_ID}.items()}


async def test_the_audit_line_names_the_client_and_no_parameter() -> None:
    async with running_logins() as logins:
        uri = (await push(logins, login_hint="ada@hr.example")).json()["request_uri"]
        line = logins.harness.audit_lines[-1]
        assert '"event":"par"' in line
        assert '"result":"pushed"' in line
        assert CLIENT_ID in line
        await push(logins, login_hint="ada@hr.example", redirect_uri="https://evil.example/")
        for line in logins.harness.audit_lines:
            assert "ada@hr.example" not in line
            assert uri.removeprefix(URN) not in line


@pytest.mark.parametrize("record", [web_client(), public_client()])
async def test_without_a_store_it_waits(record: Any) -> None:
    store, settings = watched()
    async with running_logins(record, **settings) as logins:
        store.is_away = True
        answer = await push(logins, secret=None if record.public else SECRET)
        assert refusal(answer) == (503, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "5"
        store.is_away = False
        assert (await push(logins, secret=None if record.public else SECRET)).status_code == 201


# DPoP


async def test_a_proof_binds_the_request_to_its_key() -> None:
    async with running_logins() as logins:
        answer = await push(logins, proof=proof_for(logins, "/par"))
        assert answer.headers["dpop-nonce"]
        assert (await parameters_of(logins, answer))["dpop_jkt"] == (thumbprint(HOLDER),)
        both = await push(logins, proof=proof_for(logins, "/par"), dpop_jkt=thumbprint(HOLDER))
        assert (await parameters_of(logins, both))["dpop_jkt"] == (thumbprint(HOLDER),)


async def test_dpop_jkt_alone_is_enough() -> None:
    async with running_logins() as logins:
        answer = await push(logins, dpop_jkt=thumbprint(OTHER))
        assert (await parameters_of(logins, answer))["dpop_jkt"] == (thumbprint(OTHER),)
        assert "dpop-nonce" not in answer.headers


async def test_the_key_of_the_proof_must_be_that_of_dpop_jkt() -> None:
    async with running_logins() as logins:
        answer = await push(logins, proof=proof_for(logins, "/par"), dpop_jkt=thumbprint(OTHER))
        assert refusal(answer) == (400, "invalid_dpop_proof")
        assert answer.headers["dpop-nonce"]


@pytest.mark.parametrize("path", ["/token", "/authorize"])
async def test_a_proof_is_for_this_endpoint(path: str) -> None:
    async with running_logins() as logins:
        assert refusal(await push(logins, proof=proof_for(logins, path))) == (400, "invalid_dpop_proof")


async def test_a_proof_is_of_use_once() -> None:
    async with running_logins() as logins:
        sent = proof_for(logins, "/par")
        assert (await push(logins, proof=sent)).status_code == 201
        assert refusal(await push(logins, proof=sent)) == (400, "invalid_dpop_proof")


async def test_a_proof_without_a_nonce_gets_one_where_it_is_required() -> None:
    async with running_logins() as logins:
        await logins.put(IssuerRecord(ISSUER, dpop_nonce="Required"))
        now = int(logins.harness.clock())
        without = proof(None, HOLDER, htm="POST", htu=f"{ISSUER}/par", iat=now)
        answer = await push(logins, proof=without)
        assert refusal(answer) == (400, "use_dpop_nonce")
        good = proof(None, HOLDER, htm="POST", htu=f"{ISSUER}/par", iat=now, nonce=answer.headers["dpop-nonce"])
        assert (await push(logins, proof=good)).status_code == 201


@pytest.mark.parametrize("changes", [{"redirect_uri": "https://evil.example"}, {"scope": "unknown"}, {"request": "ey"}])
async def test_a_proof_of_a_refused_request_takes_no_replay_room(changes: dict[str, str]) -> None:
    clock = Clock()
    replay = CountedReplay(clock)
    async with running_logins(public_client(), clock=clock, replay=replay) as logins:
        await push(logins, secret=None, proof=proof_for(logins, "/par"), **changes)
        assert replay.stored == 0


async def test_an_address_over_its_budget_takes_no_replay_room() -> None:
    clock = Clock()
    replay = CountedReplay(clock)
    async with running_logins(public_client(), clock=clock, replay=replay) as logins:
        for _ in range(ADDRESS_BUDGET.burst):
            await push(logins, secret=None)
        answer = await push(logins, secret=None, proof=proof_for(logins, "/par"))
        assert refusal(answer) == (429, "temporarily_unavailable")
        assert replay.stored == 0


# Bounds


async def test_a_client_over_its_bound_is_refused_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_bounds, "MAX_LIVE", 3)
    async with running_logins() as logins:
        await logins.put(other_client())
        for _ in range(3):
            assert (await push(logins)).status_code == 201
            logins.harness.clock.advance(seconds=10)
        answer = await push(logins)
        assert refusal(answer) == (429, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "60"
        assert '"reason":"too_many_of_client"' in logins.harness.audit_lines[-1]
        assert '"result":"slowed"' in logins.harness.audit_lines[-1]
        assert (await push(logins, client="leave.other", secret="B" * 43)).status_code == 201
        logins.harness.clock.advance(seconds=60)
        assert (await push(logins)).status_code == 201


async def test_refused_requests_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that the store did not take."""
    monkeypatch.setattr(push_bounds, "MAX_LIVE", 1)
    store, settings = watched()
    async with running_logins(**settings) as logins:
        await push(logins, scope="unknown")
        await push(logins, proof=proof_for(logins, "/token"))
        store.is_away = True
        assert (await push(logins)).status_code == 503
        store.is_away = False
        assert (await push(logins)).status_code == 201
        assert (await push(logins)).status_code == 429


async def test_a_displaced_request_is_deleted_unless_a_browser_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_bounds, "MAX_LIVE", 2)
    async with running_logins(public_client()) as logins:
        uris = [(await push(logins, secret=None)).json()["request_uri"] for _ in range(2)]
        visit = {"client_id": CLIENT_ID, "request_uri": uris[0]}
        assert (await logins.harness.http.get("/authorize", params=visit)).status_code == 303
        for _ in range(2):
            assert (await push(logins, secret=None)).status_code == 201
        logins.harness.clock.advance(seconds=2)
        assert (await logins.harness.http.get("/authorize", params=visit)).status_code == 303
        visit["request_uri"] = uris[1]
        assert (await logins.harness.http.get("/authorize", params=visit)).status_code == 400
