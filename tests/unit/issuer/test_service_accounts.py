"""Projected ServiceAccount tokens as client assertions: rule 16 of protocol.md."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.issuer import Cluster, IssuerRecord
from scopewright.verifier.discovery import DEFAULT_MAX_AGE_SECONDS
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER
from tests.unit.issuer.assertions import CLUSTER, UID, WORKER, in_cluster, jwk, pod_token, present, with_account


@pytest.fixture
async def pod(harness: IssuerHarness) -> IssuerHarness:
    harness.put(in_cluster())
    harness.put(with_account())
    await settle()
    return harness


async def accepted(harness: IssuerHarness, token: str, **parameters: str) -> bool:
    return (await present(harness, token, **parameters))[0] == 200


async def reason(harness: IssuerHarness, token: str, **parameters: str) -> str:
    status, body = await present(harness, token, **parameters)
    assert (status, body["error"]) == (401, "invalid_client"), body
    return str(json.loads(harness.audit_lines[-1])["reason"])


async def test_16_service_account_token_is_accepted_repeatedly(pod: IssuerHarness) -> None:
    token = pod_token(pod)
    assert await accepted(pod, token, client_id=WORKER)
    assert await accepted(pod, token, client_id=WORKER)
    assert await accepted(pod, token), "the only client of its ServiceAccount"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://other.example"}, "token_issuer"),
        ({"aud": ["https://other.example"]}, "token_audience"),
        ({"aud": None}, "token_audience"),
        ({"aud": [ISSUER, "https://kubernetes"]}, "token_too_good"),
        ({"aud": [ISSUER, CLUSTER]}, "token_too_good"),
        ({"exp": None}, "assertion_expired"),
        ({"exp": START.timestamp() - 60}, "assertion_expired"),
        ({"exp": START.timestamp() + 24 * 3600 + 1}, "token_life"),
        ({"iat": None}, "token_life"),
        ({"nbf": START.timestamp() + 61}, "assertion_early"),
        ({"sub": "system:serviceaccount:leave:other"}, "token_account"),
        ({"sub": "system:serviceaccount:payroll:worker"}, "token_account"),
        ({"bound": {}}, "token_account"),
        ({"bound": {"namespace": "leave", "serviceaccount": {"name": "worker"}}}, "token_account"),
        ({"bound": {"namespace": "leave", "serviceaccount": {"name": "worker", "uid": "former"}}}, "token_account"),
        ({"bound": {"namespace": "other", "serviceaccount": {"name": "worker", "uid": UID}}}, "token_account"),
        ({"bound": {"namespace": "leave", "serviceaccount": "worker"}}, "token_account"),
        ({"number": 8}, "token_key"),
    ],
)
async def test_16_each_claim_is_checked(pod: IssuerHarness, changes: dict[str, Any], why: str) -> None:
    assert await reason(pod, pod_token(pod, **changes), client_id=WORKER) == why


async def test_16_client_id_is_required_if_several_clients_have_the_service_account(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(), name="second", uid="uid-9"))
    await settle()
    assert await reason(pod, pod_token(pod)) == "unknown_client"
    assert await accepted(pod, pod_token(pod), client_id="leave.second")
    assert await accepted(pod, pod_token(pod), client_id=WORKER)
    pod.delete_object("Secret", "client.leave.second")
    await settle()
    assert await accepted(pod, pod_token(pod))


async def test_16_client_of_another_service_account_is_refused(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(name="other"), name="second", uid="uid-9"))
    await settle()
    assert await reason(pod, pod_token(pod), client_id="leave.second") == "token_account"


async def test_client_without_service_account_or_of_an_unknown_cluster_is_refused(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(), service_account=None))
    await settle()
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "no_service_account"
    pod.put(with_account(cluster="edge"))
    await settle()
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "unknown_cluster"


async def test_each_cluster_has_its_own_keys_and_issuer(pod: IssuerHarness) -> None:
    """A token of one cluster does not authenticate a client of another."""
    edge = Cluster("edge", "https://edge.example", keys=(jwk(8),))
    pod.put(in_cluster(clusters=(Cluster("in-cluster", CLUSTER, keys=(jwk(7),)), edge)))
    pod.put(with_account(cluster="edge"))
    await settle()
    token = pod_token(pod, number=8, iss="https://edge.example")
    assert await accepted(pod, token, client_id=WORKER)
    assert await accepted(pod, token)
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "token_key"
    assert await reason(pod, pod_token(pod, iss="https://edge.example"), client_id=WORKER) == "token_key"


class FakeApiServer:
    """OIDC discovery and TokenReview of an API server."""

    def __init__(self) -> None:
        self.keys = [jwk(7)]
        self.discoveries = 0
        self.unavailable = False
        self.accepts = True
        self.reviewed: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def discover(self) -> tuple[str, Mapping[str, Any]]:
        self.discoveries += 1
        keys = self.keys
        await self.answers.wait()
        if self.unavailable:
            raise Unavailable("no connection")
        return CLUSTER, {"keys": keys}

    async def review(self, token: str, audience: str) -> bool:
        if self.unavailable:
            raise Unavailable("no connection")
        self.reviewed.append(audience)
        return self.accepts


@pytest.fixture
def api_server() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
async def harness(api_server: FakeApiServer) -> AsyncIterator[IssuerHarness]:
    """An issuer that discovers the keys of its cluster, unless the issuer record has them."""
    harness = IssuerHarness(service_accounts=api_server)
    harness.install_defaults()
    harness.put(with_account())
    async with harness.running():
        yield harness


async def test_keys_of_the_cluster_are_discovered_once(harness: IssuerHarness, api_server: FakeApiServer) -> None:
    for _ in range(3):
        assert await accepted(harness, pod_token(harness))
    assert api_server.discoveries == 1


async def test_new_key_of_the_cluster_is_fetched_and_unknown_keys_are_limited(
    harness: IssuerHarness, api_server: FakeApiServer
) -> None:
    assert await accepted(harness, pod_token(harness))
    api_server.keys = [jwk(8)]
    assert await accepted(harness, pod_token(harness, number=8))
    for number in (9, 10, 11):
        assert await reason(harness, pod_token(harness, number=number)) == "token_key"
    assert api_server.discoveries == 2
    harness.clock.advance(seconds=30)
    assert await reason(harness, pod_token(harness, number=9)) == "token_key"
    assert api_server.discoveries == 3


async def test_key_of_the_cluster_that_is_published_during_a_discovery_is_fetched_at_once(
    harness: IssuerHarness, api_server: FakeApiServer
) -> None:
    assert await accepted(harness, pod_token(harness))
    api_server.answers.clear()
    harness.clock.advance(seconds=0.9 * DEFAULT_MAX_AGE_SECONDS)  # in the background
    assert await accepted(harness, pod_token(harness))
    await settle()
    api_server.keys = [jwk(8)]
    new = [asyncio.create_task(accepted(harness, pod_token(harness, number=8))) for _ in range(3)]
    await settle()
    assert api_server.discoveries == 2
    api_server.answers.set()
    assert all(await asyncio.gather(*new))
    assert api_server.discoveries == 3


async def test_known_keys_are_used_while_the_api_server_is_unavailable(
    harness: IssuerHarness, api_server: FakeApiServer
) -> None:
    api_server.unavailable = True
    status, body = await present(harness, pod_token(harness), client_id=WORKER)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    api_server.unavailable = False
    harness.clock.advance(seconds=2)
    assert await accepted(harness, pod_token(harness))
    api_server.unavailable = True
    harness.clock.advance(hours=2)
    assert await accepted(harness, pod_token(harness))


async def test_token_review_is_optional(harness: IssuerHarness, api_server: FakeApiServer) -> None:
    assert await accepted(harness, pod_token(harness))
    assert api_server.reviewed == []
    harness.put(IssuerRecord(ISSUER, clusters=(Cluster("in-cluster", token_review=True),)))
    await settle()
    assert await accepted(harness, pod_token(harness))
    assert api_server.reviewed == [ISSUER]
    api_server.accepts = False
    assert await reason(harness, pod_token(harness)) == "token_review"
    api_server.unavailable = True
    status, _ = await present(harness, pod_token(harness), client_id=WORKER)
    assert status == 503
