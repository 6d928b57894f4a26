"""Clients without a credential: where they are accepted, and what nobody learns or gets by naming one."""

import time

import httpx
import pytest

from scopewright.core.records.issuer import IssuerRecord
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, SECRET
from tests.unit.issuer.users.logins import CLIENT_ID, Logins, public_client, running_logins, web_client

CODE = {"grant_type": "authorization_code", "code": "x", "redirect_uri": "y"}


async def post(
    logins: Logins, form: dict[str, str], client_id: str = CLIENT_ID, path: str = "/token"
) -> httpx.Response:
    return await logins.harness.http.post(path, data=form | {"client_id": client_id})


async def test_it_redeems_a_code_by_its_client_id() -> None:
    async with running_logins(public_client()) as logins:
        assert (await logins.tokens())["token_type"] == "Bearer"


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "client_credentials"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"},
        {},
    ],
)
async def test_it_gets_no_token_for_itself_and_exchanges_none(form: dict[str, str]) -> None:
    """Whatever its record says: the answer is that to a request without a credential."""
    every = ("authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange")
    async with running_logins(public_client(grant_types=every)) as logins:
        response = await post(logins, form)
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_it_introspects_nothing() -> None:
    async with running_logins(public_client()) as logins:
        token = (await logins.tokens())["access_token"]
        response = await post(logins, {"token": token}, path="/introspect")
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("path", ["/token", "/revoke"])
async def test_unknown_and_confidential_clients_get_the_answer_to_a_wrong_credential_after_the_same_time(
    path: str,
) -> None:
    form = CODE if path == "/token" else {"token": "x"}
    async with running_logins(web_client(), min_refusal=0.2) as logins:
        answers = []
        for client_id in (CLIENT_ID, "leave.unknown", "not an id"):
            started = time.monotonic()
            response = await post(logins, form, client_id, path)
            assert time.monotonic() - started >= 0.2
            assert response.status_code == 401
            answers.append((response.json(), response.headers["www-authenticate"]))
        wrong = await logins.harness.http.post(path, data=form, auth=(CLIENT_ID, "wrong"))
        assert answers == [(wrong.json(), wrong.headers["www-authenticate"])] * 3


async def test_a_disabled_one_and_one_with_a_secret_are_refused() -> None:
    async with running_logins(public_client(disabled=True)) as logins:
        assert (await post(logins, CODE)).status_code == 401
    async with running_logins(public_client()) as logins:
        assert (await logins.redeem("x", secret=SECRET)).status_code == 401


async def test_the_record_is_read_before_a_public_client_is_refused() -> None:
    """A client that has just become public, before the watch says so."""
    async with running_logins(web_client()) as logins:
        logins.harness.put(public_client(), notify=False)
        assert (await post(logins, CODE)).json()["error"] == "invalid_grant"


async def test_the_profile_fapi2_has_none() -> None:
    async with running_logins(public_client()) as logins:
        logins.harness.put(IssuerRecord(ISSUER, profile="FAPI2"))
        await settle()
        response = await post(logins, CODE)
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_without_users_a_client_id_alone_is_no_credential(harness: IssuerHarness) -> None:
    response = await harness.http.post("/token", data=CODE | {"client_id": CLIENT_ID})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.json()["error_description"].startswith("no client authentication")
