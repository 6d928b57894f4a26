"""CORS: scripts of registered origins may read the answers, without cookies, and no others may."""

import httpx
import pytest

from scopewright.core.records.client import Login
from tests.harness.issuer import IssuerHarness
from tests.unit.issuer.users.logins import CALLBACK, Logins, public_client, running_logins, web_client

ORIGIN = "https://hr.example"
ENDPOINTS = ("/token", "/userinfo", "/revoke", "/par")
DOCUMENTS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks.json")


async def preflight(logins: Logins, path: str, origin: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "dpop"}
    return await logins.harness.http.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_registered_origin_may_read_answers_and_errors(path: str) -> None:
    async with running_logins() as logins:
        asked = await preflight(logins, path, ORIGIN)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == ORIGIN
        assert asked.headers["access-control-allow-headers"] == "Authorization, Content-Type, DPoP"
        answer = await logins.harness.http.post(path, headers={"Origin": ORIGIN})
        assert answer.status_code in (400, 401)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-expose-headers"] == "DPoP-Nonce, WWW-Authenticate"
        for response in (asked, answer):
            assert response.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://hr.example.evil", "https://hr.example:444", "http://hr.example"]
)
async def test_no_other_origin_may(path: str, origin: str) -> None:
    async with running_logins() as logins:
        for response in (
            await preflight(logins, path, origin),
            await logins.harness.http.post(path, headers={"Origin": origin}),
        ):
            assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_loopback_has_any_port_for_public_clients_only() -> None:
    login = Login(("http://127.0.0.1:5000/callback",))
    async with running_logins(public_client(login=login)) as logins:
        for port in (5000, 5001):
            origin = f"http://127.0.0.1:{port}"
            response = await preflight(logins, "/token", origin)
            assert response.headers["access-control-allow-origin"] == origin
        await logins.put(web_client(login=login))
        assert "access-control-allow-origin" in (await preflight(logins, "/token", "http://127.0.0.1:5000")).headers
        assert "access-control-allow-origin" not in (await preflight(logins, "/token", "http://127.0.0.1:5001")).headers


async def test_an_origin_ends_with_the_last_client_that_has_it() -> None:
    async with running_logins() as logins:
        await logins.put(web_client(name="second", uid="uid-second"))
        await logins.put(web_client(login=None))
        assert "access-control-allow-origin" in (await preflight(logins, "/token", ORIGIN)).headers
        await logins.put(web_client(name="second", uid="uid-second", login=Login((CALLBACK + ":8443",))))
        assert "access-control-allow-origin" in (await preflight(logins, "/token", ORIGIN)).headers
        await logins.put(web_client(name="second", uid="uid-second", login=Login(("https://other.example/",))))
        assert "access-control-allow-origin" not in (await preflight(logins, "/token", ORIGIN)).headers


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_documents_are_for_every_origin(path: str) -> None:
    async with running_logins() as logins:
        for origin in ({}, {"Origin": "https://any.example"}):
            response = await logins.harness.http.get(path, headers=origin)
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")
        assert (await preflight(logins, path, "https://any.example")).headers["access-control-allow-origin"] == "*"


async def test_without_users_nothing_changes(harness: IssuerHarness) -> None:
    for path in (*ENDPOINTS, *DOCUMENTS):
        response = await harness.http.post(path, headers={"Origin": ORIGIN})
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert "vary" not in response.headers
