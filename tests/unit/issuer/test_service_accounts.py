"""Projected ServiceAccount tokens as client assertions: line 16 of the protocol."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.records.issuer import Cluster, IssuerRecord
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


async def test_16_a_pods_token_is_the_assertion_as_often_as_it_is_valid(pod: IssuerHarness) -> None:
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


async def test_16_without_client_id_the_one_client_must_be_plain(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(), name="second", uid="uid-9"))
    await settle()
    assert await reason(pod, pod_token(pod)) == "unknown_client"
    assert await accepted(pod, pod_token(pod), client_id="leave.second")
    assert await accepted(pod, pod_token(pod), client_id=WORKER)
    pod.delete_object("Secret", "client.leave.second")
    await settle()
    assert await accepted(pod, pod_token(pod))


async def test_16_another_client_of_another_account_is_not_served(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(name="other"), name="second", uid="uid-9"))
    await settle()
    assert await reason(pod, pod_token(pod), client_id="leave.second") == "token_account"


async def test_a_client_without_its_account_and_one_of_an_unknown_cluster_are_refused(pod: IssuerHarness) -> None:
    pod.put(replace(with_account(), service_account=None))
    await settle()
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "no_service_account"
    pod.put(with_account(cluster="edge"))
    await settle()
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "unknown_cluster"


async def test_each_cluster_has_its_own_keys_and_issuer(pod: IssuerHarness) -> None:
    """The client's cluster fixes both: a token of one cluster is worth nothing for a client of another."""
    edge = Cluster("edge", "https://edge.example", keys=(jwk(8),))
    pod.put(in_cluster(clusters=(Cluster("in-cluster", CLUSTER, keys=(jwk(7),)), edge)))
    pod.put(with_account(cluster="edge"))
    await settle()
    theirs = pod_token(pod, number=8, iss="https://edge.example")
    assert await accepted(pod, theirs, client_id=WORKER)
    assert await accepted(pod, theirs)
    assert await reason(pod, pod_token(pod), client_id=WORKER) == "token_key"
    assert await reason(pod, pod_token(pod, iss="https://edge.example"), client_id=WORKER) == "token_key"


class NextDoor:
    """An API server that tells its keys, and takes tokens."""

    def __init__(self) -> None:
        self.keys = [jwk(7)]
        self.asked = 0
        self.away = False
        self.takes = True
        self.reviewed: list[str] = []

    async def discover(self) -> tuple[str, Mapping[str, Any]]:
        self.asked += 1
        if self.away:
            raise Unavailable("no connection")
        return CLUSTER, {"keys": self.keys}

    async def review(self, token: str, audience: str) -> bool:
        if self.away:
            raise Unavailable("no connection")
        self.reviewed.append(audience)
        return self.takes


@pytest.fixture
def next_door() -> NextDoor:
    return NextDoor()


@pytest.fixture
async def harness(next_door: NextDoor) -> AsyncIterator[IssuerHarness]:
    """An issuer that finds the keys of its cluster at the API server, unless it is given them."""
    harness = IssuerHarness(service_accounts=next_door)
    harness.install_defaults()
    harness.put(with_account())
    async with harness.running():
        yield harness


async def test_the_keys_are_found_at_the_api_server_and_fetched_once(
    harness: IssuerHarness, next_door: NextDoor
) -> None:
    for _ in range(3):
        assert await accepted(harness, pod_token(harness))
    assert next_door.asked == 1


async def test_a_new_key_of_the_cluster_is_fetched_and_made_up_ones_are_no_flood(
    harness: IssuerHarness, next_door: NextDoor
) -> None:
    assert await accepted(harness, pod_token(harness))
    next_door.keys = [jwk(8)]
    assert await accepted(harness, pod_token(harness, number=8))
    for number in (9, 10, 11):
        assert await reason(harness, pod_token(harness, number=number)) == "token_key"
    assert next_door.asked == 2
    harness.clock.advance(seconds=30)
    assert await reason(harness, pod_token(harness, number=9)) == "token_key"
    assert next_door.asked == 3


async def test_while_the_api_server_is_away_known_keys_go_on_and_nobody_is_refused_from_ignorance(
    harness: IssuerHarness, next_door: NextDoor
) -> None:
    next_door.away = True
    status, body = await present(harness, pod_token(harness), client_id=WORKER)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    next_door.away = False
    harness.clock.advance(seconds=2)
    assert await accepted(harness, pod_token(harness))
    next_door.away = True
    harness.clock.advance(hours=2)
    assert await accepted(harness, pod_token(harness))


async def test_token_review_by_choice(harness: IssuerHarness, next_door: NextDoor) -> None:
    assert await accepted(harness, pod_token(harness))
    assert next_door.reviewed == []
    harness.put(IssuerRecord(ISSUER, clusters=(Cluster("in-cluster", token_review=True),)))
    await settle()
    assert await accepted(harness, pod_token(harness))
    assert next_door.reviewed == [ISSUER]
    next_door.takes = False
    assert await reason(harness, pod_token(harness)) == "token_review"
    next_door.away = True
    status, _ = await present(harness, pod_token(harness), client_id=WORKER)
    assert status == 503
