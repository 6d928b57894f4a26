"""`verifier()` and `credentials()` work without a network, in sync and in async code."""

import socket
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scopewright.client import TokenError
from scopewright.testing import FakeIssuer
from scopewright.verifier import KeysUnavailable, Verifier, protect, require

API = "https://payroll.test"


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> FakeIssuer:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return FakeIssuer()


def service(verifier: Verifier) -> httpx.ASGITransport:
    async def salaries(request: Request) -> JSONResponse:
        token = require(request, "payroll.read")
        return JSONResponse({"client": token.client_id, "actor": token.actor and token.actor.subject})

    return httpx.ASGITransport(protect(Starlette(routes=[Route("/salaries", salaries)]), verifier))


async def called(issuer: FakeIssuer, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=service(issuer.verifier()), base_url=API, **options) as client:
        return await client.get("/salaries")


async def test_service_is_tested_with_headers(issuer: FakeIssuer) -> None:
    granted = await called(issuer, headers=issuer.headers("payroll.read"))
    assert granted.json() == {"client": "test.client", "actor": None}
    assert (await called(issuer)).status_code == 401
    assert (await called(issuer, headers=issuer.headers("payroll.write"))).status_code == 403
    assert (await called(issuer, headers=issuer.headers("payroll.read", expires_in=-60))).status_code == 401


async def test_service_answers_503_while_keys_cannot_be_fetched(issuer: FakeIssuer) -> None:
    headers = issuer.headers("payroll.read")
    with issuer.unavailable():
        response = await called(issuer, headers=headers)
        assert response.status_code == 503
        assert "retry-after" in response.headers
        with pytest.raises(KeysUnavailable):
            issuer.verifier().ready_sync()
    assert (await called(issuer, headers=headers)).status_code == 200


async def test_verifier_that_has_keys_works_while_the_issuer_is_unavailable(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier()
    await verifier.ready()
    with issuer.unavailable():
        await verifier.verify(issuer.token())


async def test_caller_is_tested_with_credentials(issuer: FakeIssuer) -> None:
    response = await called(issuer, auth=issuer.credentials(client="leave.worker", scope="payroll.read"))
    assert response.json()["client"] == "leave.worker"


def test_credentials_work_in_sync_code(issuer: FakeIssuer) -> None:
    token = issuer.credentials(scope="payroll.read", resource="https://other.test").token_sync()
    assert token.scopes == {"payroll.read"}
    issuer.verifier(audience="https://other.test").verify_sync(token.value)


async def test_caller_acts_on_behalf_of_its_caller(issuer: FakeIssuer) -> None:
    credentials = issuer.credentials(client="leave.service", scope="payroll.read")
    response = await called(issuer, auth=credentials.on_behalf_of(issuer.token(subject="alice")))
    assert response.json() == {"client": "leave.service", "actor": "leave.service"}


async def test_dpop_tokens_are_bound_to_the_key_of_the_caller(issuer: FakeIssuer) -> None:
    token = await issuer.credentials(dpop=True).token()
    assert token.value
    with pytest.raises(Exception, match="DPoP"):
        issuer.verifier().verify_sync(token.value)


def test_credentials_report_an_unavailable_issuer_without_waiting(issuer: FakeIssuer) -> None:
    with issuer.unavailable(), pytest.raises(TokenError) as raised:
        issuer.credentials().token_sync()
    assert raised.value.error == "temporarily_unavailable"
    assert issuer.credentials().token_sync()


@pytest.mark.parametrize("error", ["invalid_scope", "invalid_target", "invalid_client", "server_error"])
def test_credentials_report_the_error_of_the_issuer(issuer: FakeIssuer, error: Any) -> None:
    with issuer.refusing(error), pytest.raises(TokenError) as raised:
        issuer.credentials().token_sync()
    assert raised.value.error == error
    assert issuer.credentials().token_sync()


async def test_credentials_introspect_and_revoke(issuer: FakeIssuer) -> None:
    credentials = issuer.credentials(scope="payroll.read")
    token = await credentials.token()
    active = await credentials.introspect(token.value)
    assert (active["active"], active["scope"], active["client_id"]) == (True, "payroll.read", "test.client")
    await credentials.revoke(token.value)
    assert await credentials.introspect(token.value) == {"active": False}


def test_options_replace_those_of_the_issuer(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier(scopes=["payroll.read"], leeway=0)
    assert verifier.policy.scopes == {"payroll.read"}
    with pytest.raises(ValueError, match="leeway"):
        issuer.verifier(leeway=-1)
    token = issuer.credentials(resource="https://other.test", scope=["a", "b"]).token_sync()
    assert issuer.verifier(audience=["https://other.test"]).verify_sync(token.value).scopes == {"a", "b"}
