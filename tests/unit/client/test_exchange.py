"""Calls on behalf of a caller: its token is exchanged once (RFC 8693), and is in no repr or error."""

from pathlib import Path

import pytest

from scopewright.client import ClientCredentials, TokenError
from tests.unit.client.support import Api, Endpoint, FakeClock, Mount, call, call_async, refused

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PAYROLL = "https://payroll-api.payroll.svc"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def auth(tmp_path: Path, endpoint: Endpoint) -> ClientCredentials:
    mount = Mount(tmp_path / "oauth")
    return ClientCredentials(mount.path, PAYROLL, "payroll.read", http=endpoint.client(), clock=FakeClock())


def test_token_of_the_caller_is_exchanged(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api()
    with call(api, auth) as payroll:
        payroll.get("/salaries", auth=auth.on_behalf_of("the-callers-token"))
        payroll.get("/salaries")
    assert api.sent == ["Bearer token-1", "Bearer token-2"]
    assert endpoint.form(0) == {
        "grant_type": [EXCHANGE],
        "subject_token": ["the-callers-token"],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "resource": [PAYROLL],
        "scope": ["payroll.read"],
    }
    assert endpoint.form(1)["grant_type"] == ["client_credentials"]


async def test_token_of_the_caller_is_exchanged_in_async_code(tmp_path: Path, endpoint: Endpoint) -> None:
    mount = Mount(tmp_path / "oauth")
    auth = ClientCredentials(mount.path, PAYROLL, http=endpoint.async_client(), clock=FakeClock())
    async with call_async(Api(), auth) as payroll:
        assert (await payroll.get("/salaries", auth=auth.on_behalf_of("t"))).status_code == 200
    assert endpoint.form()["grant_type"] == [EXCHANGE]


def test_token_of_each_caller_is_exchanged_once(auth: ClientCredentials, endpoint: Endpoint) -> None:
    with call(Api(), auth) as payroll:
        for sent in ("one", "two", "one", "one"):
            payroll.get("/salaries", auth=auth.on_behalf_of(sent))
    assert [endpoint.form(n)["subject_token"] for n in range(len(endpoint.requests))] == [["one"], ["two"]]


def test_number_of_remembered_callers_is_bounded(auth: ClientCredentials) -> None:
    kept = auth.on_behalf_of("often")
    for number in range(5000):
        auth.on_behalf_of(str(number))
        assert auth.on_behalf_of("often") is kept
    assert len(auth._variants) == 1000


def test_error_for_a_refused_exchange_has_advice_and_no_token(auth: ClientCredentials, endpoint: Endpoint) -> None:
    endpoint.answers = [refused("invalid_request", description="bad the-callers-token")]
    with pytest.raises(TokenError, match="servedBy") as caught:
        auth.on_behalf_of("the-callers-token").token_sync()
    assert "the-callers-token" not in str(caught.value)
    endpoint.answers = [refused("unauthorized_client")]
    with pytest.raises(TokenError, match="token-exchange; add it to"):
        auth.on_behalf_of("another").token_sync()
    assert "another" not in repr(auth.on_behalf_of("another")._parameters)
