"""Two issuers with one store: each knows the logins of the other, and of concurrent changes one is made."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from scopewright.stores.sessions.valkey import PAUSE_SECONDS, ValkeySessions
from tests.harness.user_workers import Workers, log_in_often
from tests.harness.valkey_server import ValkeyServer
from tests.unit.issuer.users.logins import Logins, public_client, running_logins, web_client

ISSUERS = {"public": public_client, "confidential": web_client}
SECRETS = {"public": {"secret": None}, "confidential": {}}
"""Of the requests of each kind of client."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """It keeps its content when it is killed."""
    made = ValkeyServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield made
    made.stop()


@pytest.fixture(params=ISSUERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def issuers(own_server: ValkeyServer, kind: str) -> AsyncIterator[list[Logins]]:
    namespace = f"test-{uuid4().hex}"
    async with AsyncExitStack() as running:
        made = []
        for _ in range(2):
            store = ValkeySessions(own_server.url, namespace)
            running.push_async_callback(store.close)
            made.append(await running.enter_async_context(running_logins(ISSUERS[kind](), store)))
        yield made


async def refreshed(logins: Logins, token: str, kind: str) -> str:
    response = await logins.refresh(token, **SECRETS[kind])
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])


async def test_fifty_concurrent_refreshes_at_two_issuers_have_one_successor(issuers: list[Logins], kind: str) -> None:
    first = (await issuers[0].tokens())["refresh_token"]
    for _ in range(3):
        successors = set(await asyncio.gather(*(refreshed(logins, first, kind) for logins in issuers * 25)))
        [successor] = successors
        assert (successor == first) == (kind == "confidential")
        first = successor


async def test_a_code_is_redeemed_once_at_two_issuers(issuers: list[Logins], kind: str) -> None:
    code = await issuers[0].code(await issuers[0].session())
    secret = {"secret": None} if kind == "public" else {}
    responses = await asyncio.gather(*(logins.redeem(code, **secret) for logins in issuers * 5))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 9


async def test_a_session_that_ends_at_one_issuer_has_ended_at_the_other(issuers: list[Logins], kind: str) -> None:
    session = await issuers[0].session()
    response = await issuers[0].redeem(await issuers[0].code(session), **SECRETS[kind])
    token = await refreshed(issuers[1], response.json()["refresh_token"], kind)
    await issuers[1].sessions.end(session.sid, session.subject)
    for logins in issuers:
        assert (await logins.refresh(token, **SECRETS[kind])).json()["error"] == "invalid_grant"


async def test_a_store_that_is_killed_in_between_costs_a_503_and_no_login(
    issuers: list[Logins], kind: str, own_server: ValkeyServer
) -> None:
    """Also where the successor was written and the answer was lost."""
    token = (await issuers[0].tokens())["refresh_token"]
    requests = [asyncio.create_task(logins.refresh(token, **SECRETS[kind])) for logins in issuers * 25]
    await asyncio.sleep(0.02)
    await asyncio.to_thread(own_server.stop)
    responses = await asyncio.gather(*requests)
    assert {response.status_code for response in responses} <= {200, 503}
    for logins in issuers:
        away = await logins.refresh(token, **SECRETS[kind])
        assert (away.status_code, away.json()["error"]) == (503, "temporarily_unavailable")
        assert (await logins.post({"grant_type": "client_credentials"}, "x")).status_code == 401, "clients go on"
    await asyncio.to_thread(own_server.start)
    await asyncio.sleep(PAUSE_SECONDS)  # a server may start within it: issuers do not ask before it ends
    successors = {await refreshed(logins, token, kind) for logins in issuers}
    successors |= {response.json()["refresh_token"] for response in responses if response.status_code == 200}
    assert len(successors) == 1


async def test_a_store_that_lost_everything_ends_logins_and_takes_new_ones(
    issuers: list[Logins], kind: str, own_server: ValkeyServer
) -> None:
    token = (await issuers[0].tokens())["refresh_token"]
    with own_server.client() as admin:
        admin.flushall()
    for logins in issuers:
        assert (await logins.refresh(token, **SECRETS[kind])).json()["error"] == "invalid_grant"
    await refreshed(issuers[1], (await issuers[0].tokens())["refresh_token"], kind)


@pytest.mark.parametrize("kind", ["public"], indirect=True)
async def test_a_store_that_went_back_moves_forward_again(
    issuers: list[Logins], kind: str, own_server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover to a replica that was late."""
    token = (await issuers[0].tokens())["refresh_token"]
    with own_server.client() as admin:
        before = {key: admin.dump(key) for key in admin.scan_iter("*")}
        for logins in [*issuers, issuers[0]]:
            token = await refreshed(logins, token, kind)
        for key, value in before.items():
            admin.restore(key, 3_600_000, value, replace=True)
    with caplog.at_level(logging.WARNING):
        token = await refreshed(issuers[1], token, kind)
    assert "went back" in caplog.text
    assert token not in caplog.text
    await refreshed(issuers[0], token, kind)


def test_two_replicas_with_two_workers_each_know_one_login(own_server: ValkeyServer, tmp_path: Path) -> None:
    """Authorization requests, pages, forms and codes go to the replicas in turn."""
    folders = [tmp_path / name for name in ("one", "other")]
    replicas = []
    try:
        for folder in folders:
            folder.mkdir()
            replicas.append(Workers(folder, own_server.url))
        assert log_in_often(*replicas) == 1
        assert [replica.stop() for replica in replicas] == [0, 0]
    finally:
        for replica in replicas:
            replica.kill()
    for folder in folders:
        assert [file.name for file in folder.glob("sessions.db*")] == [], "nothing is stored in a file"
        assert "Traceback" not in (folder / "log").read_text()
