"""A ServiceAccount token that was accepted before is verified again as soon as anything that it relies on changes."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from scopewright.core.records.issuer import Cluster
from scopewright.verifier.discovery import DEFAULT_MAX_AGE_SECONDS
from tests.harness.issuer import IssuerHarness, settle
from tests.unit.issuer.assertions import CLUSTER, WORKER, in_cluster, jwk, pod_token, present, with_account
from tests.unit.issuer.test_assertions import Counted
from tests.unit.issuer.test_service_accounts import FakeApiServer


class Verified:
    """Presents one token, and says whether its signature was verified for that."""

    def __init__(self, harness: IssuerHarness, monkeypatch: pytest.MonkeyPatch, client_id: str = WORKER) -> None:
        self._harness = harness
        self._token = pod_token(harness)
        self._client_id = client_id
        self._counted = Counted(monkeypatch)

    async def __call__(self, expected: int = 200) -> bool:
        before = self._counted.count
        status, body = await present(self._harness, self._token, client_id=self._client_id)
        assert status == expected, body
        return self._counted.count > before


@pytest.fixture
async def pod(harness: IssuerHarness) -> IssuerHarness:
    harness.put(in_cluster())
    harness.put(with_account())
    await settle()
    return harness


async def test_a_token_is_verified_once(pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = Verified(pod, monkeypatch)
    assert [await verified() for _ in range(4)] == [True, False, False, False]
    lines = [json.loads(line) for line in pod.audit_lines[-2:]]
    assert lines[0].keys() == lines[1].keys()


async def test_another_spelling_of_a_recognised_token_is_verified(
    pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = Verified(pod, monkeypatch)
    assert await verified()
    token = pod_token(pod)
    assert (await present(pod, token[:-4] + "AAAA", client_id=WORKER))[0] == 401
    assert not await verified()


async def test_its_end_ends_it(pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = Verified(pod, monkeypatch)
    assert await verified()
    pod.clock.advance(seconds=3600 + 59)
    assert not await verified()
    pod.clock.advance(seconds=1)
    await verified(401)


async def test_a_clock_that_was_set_back_ends_it(pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = Verified(pod, monkeypatch)
    assert await verified()
    pod.clock.advance(seconds=-61)
    assert await verified(503), "refused, but the budget of reads has the same clock here"


@pytest.mark.parametrize("what", ["disabled", "recreated", "method", "issuer", "audience", "keys", "deleted"])
async def test_a_change_of_what_it_relies_on_ends_it(
    pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    verified = Verified(pod, monkeypatch)
    assert await verified()
    assert not await verified()
    other = Cluster("in-cluster", CLUSTER, keys=(jwk(8),))
    match what:
        case "disabled":
            pod.put(replace(with_account(), disabled=True))
        case "recreated":
            pod.put(with_account(uid="another"))
        case "method":
            pod.put(replace(with_account(), method="PrivateKeyJWT"))
        case "issuer":
            pod.put(replace(in_cluster(), issuer="https://new.example.org"))
        case "audience":
            pod.put(in_cluster(reserved_audiences=(pod.issuer.registry.require_issuer().issuer,)))
        case "keys":
            pod.put(in_cluster(clusters=(other,)))
        case "deleted":
            pod.delete_object("Secret", f"client.{WORKER}")
    await settle()
    await verified(401)


async def test_a_second_client_of_the_account_ends_it_where_the_request_names_no_client(
    pod: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = Verified(pod, monkeypatch), Verified(pod, monkeypatch, client_id="")
    assert [await named(), await named()] == [True, False]
    assert [await unnamed(), await unnamed()] == [True, False]
    pod.put(replace(with_account(), name="second", uid="uid-9"))
    await settle()
    await unnamed(401)
    assert not await named()
    pod.delete_object("Secret", "client.leave.second")
    await settle()
    await unnamed()


@pytest.fixture
async def discovering() -> AsyncIterator[tuple[IssuerHarness, FakeApiServer]]:
    api_server = FakeApiServer()
    harness = IssuerHarness(service_accounts=api_server)
    harness.install_defaults()
    harness.put(in_cluster(clusters=(Cluster("in-cluster", ""),)))
    harness.put(with_account())
    async with harness.running():
        yield harness, api_server


async def test_a_key_that_the_cluster_has_withdrawn_ends_it(
    discovering: tuple[IssuerHarness, FakeApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, api_server = discovering
    verified = Verified(harness, monkeypatch)
    assert [await verified(), await verified()] == [True, False]
    api_server.keys = [jwk(8)]
    harness.clock.advance(seconds=DEFAULT_MAX_AGE_SECONDS)
    await verified(401)


async def test_a_token_that_is_reviewed_is_reviewed_each_time(
    discovering: tuple[IssuerHarness, FakeApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, api_server = discovering
    harness.put(in_cluster(clusters=(Cluster("in-cluster", "", token_review=True),)))
    await settle()
    verified = Verified(harness, monkeypatch)
    assert [await verified(), await verified()] == [True, True]
    api_server.accepts = False
    await verified(401)
