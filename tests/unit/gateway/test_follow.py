"""The records decide which requests are allowed. What cannot be read or is deleted refuses them."""

from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from scopewright.core.records.codec import decode, encode
from scopewright.core.records.names import ISSUER_NAME, resource_server_record_name
from scopewright.core.records.resource_server import HttpRule, ResolvedGrant
from scopewright.gateway import follow
from scopewright.gateway.apis import ApiTable
from tests.harness.clock import START
from tests.harness.waiting import until, until_answer
from tests.unit.gateway.records import HEALTH, READ, RecordsGateway, access, server
from tests.unit.gateway.support import HOST, bearer, question
from tests.unit.verifier.support import token

READS = question(sent=[bearer(token())])
NAME = resource_server_record_name("payroll", "payroll")


async def test_record_of_an_api_is_in_force() -> None:
    gateway = RecordsGateway()
    async with gateway.running():
        assert await gateway.status(READS) == 403
        gateway.put(server())
        await gateway.until_status(200, READS)
        assert await gateway.status(question()) == 401


async def test_changed_rules_are_in_force_with_the_same_verified_tokens() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.put(server(http=access(HEALTH, HttpRule("read", ("/salaries/**",), scopes=("payroll.all",)))))
        await gateway.until_status(403, READS)
        gateway.put(server())
        await gateway.until_status(200, READS)


async def test_deleted_api_refuses_its_requests() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.delete()
        await gateway.until_status(403, READS)


async def test_api_that_was_deleted_during_an_interruption_refuses_its_requests() -> None:
    gateway = RecordsGateway()
    gateway.put(server(), server("other", http=access(hostname="other.hr.example")))
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.store.delete_by_hand(next(ref for ref in gateway.store.objects if ref.name == NAME), notify=False)
        gateway.store.relist()
        await gateway.until_status(403, READS)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", encode(server("other"))], ids=["empty", "cut", "bare", "other"])
async def test_record_that_cannot_be_read_refuses_its_requests(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Although the last one could be read: its rules may have been narrowed."""
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.put_raw(NAME, content)
        await gateway.until_status(403, READS)
        await gateway.until_logged(caplog, "all requests to its API are refused")
        assert 'scopewright_gateway_apis{state="unreadable"} 1.0' in gateway.metrics()
        gateway.put(server())
        await gateway.until_status(200, READS)
        assert 'scopewright_gateway_apis{state="unreadable"} 0.0' in gateway.metrics()


async def test_rules_that_conflict_refuse_the_requests_of_their_api_alone() -> None:
    gateway = RecordsGateway()
    conflicting = access(READ, HttpRule("again", ("/salaries/**",), scopes=("payroll.all",)))
    other = server("other", http=access(hostname="other.hr.example"))
    gateway.put(server(http=conflicting), other)
    async with gateway.running():
        assert await gateway.status(READS) == 403
        assert await gateway.status(question(hostname="other.hr.example", sent=[bearer(token())])) == 200


@pytest.mark.parametrize("changes", [{"audience": ""}, {"orphaned_time": START}, {"http": None}])
async def test_api_without_audience_owner_or_rules_refuses_its_requests(changes: dict[str, Any]) -> None:
    gateway = RecordsGateway()
    gateway.put(server(**changes))
    async with gateway.running():
        assert await gateway.status(READS) == 403
        gateway.put(server())
        await gateway.until_status(200, READS)
        gateway.put(server(**changes))
        await gateway.until_status(403, READS)


async def test_changed_grants_make_no_new_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace can change them often, and a table of many APIs delays the decisions about all of them."""
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        table, read = Mock(side_effect=ApiTable), Mock(side_effect=decode)
        monkeypatch.setattr(follow, "ApiTable", table)
        monkeypatch.setattr(follow, "decode", read)
        for number in range(3):
            gateway.put(server(grants=(ResolvedGrant(("payroll.read",), clients=(f"payroll.c{number}",)),)))
            await until(lambda: read.call_count > number)  # noqa: B023
            assert await gateway.status(READS) == 200
        gateway.put(server(http=access(HEALTH)))
        await gateway.until_status(403, READS)
        assert table.call_count == 1


async def test_requests_of_an_unreadable_api_are_not_those_of_the_api_around_it() -> None:
    gateway = RecordsGateway()
    public = HttpRule("all", ("/**",), authentication="None")
    gateway.put(server("site", http=access(public)), server(http=access(READ, base_path="/salaries")))
    inner = question(target="/salaries/salaries/7")
    async with gateway.running():
        assert await gateway.status(inner) == 401
        gateway.put_raw(NAME, b"{")
        await gateway.until_status(403, inner)
        assert await gateway.status(question(target="/about")) == 200


async def test_requests_of_a_claim_are_not_those_of_the_api_around_it() -> None:
    gateway = RecordsGateway()
    gateway.put(server("site", http=access(HttpRule("all", ("/**",), authentication="None"))))
    async with gateway.running():
        assert await gateway.status(question()) == 200
        gateway.put_claim(HOST, "/salaries")
        await gateway.until_status(403, question())


async def test_claim_that_cannot_be_read_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    gateway = RecordsGateway()
    gateway.put(server("site", http=access(HttpRule("all", ("/**",), authentication="None"))))
    gateway.put_claim(HOST, "/salaries")
    async with gateway.running():
        assert await gateway.status(question()) == 403
        (claim,) = (ref.name for ref in gateway.store.objects if ref.name.startswith("hostname."))
        gateway.put_raw(claim, b"{", label="hostname")
        await gateway.until_logged(caplog, "its last good version stays in force")
        assert await gateway.status(question()) == 403


async def test_issuer_record_that_cannot_be_read_or_is_deleted_stays_in_force(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        gateway.put_raw(ISSUER_NAME, b"{}", label="issuer")
        await gateway.until_logged(caplog, "its last good version stays in force")
        assert await gateway.status(READS) == 200
        gateway.store.delete_by_hand(next(ref for ref in gateway.store.objects if ref.name == ISSUER_NAME))
        await gateway.until_logged(caplog, "was deleted; its last version stays valid")
        assert await gateway.status(READS) == 200


async def test_another_url_of_the_issuer_is_in_force_at_once() -> None:
    """Until its keys are there, no token can be checked; then those of the former URL are refused."""
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.put_issuer("https://new.example")
        await gateway.until_status(503, READS)
        gateway.web.pages["/.well-known/oauth-authorization-server"] = _metadata("https://new.example")
        gateway.web.feed["issuer"] = "https://new.example"

        async def is_refused() -> bool:
            gateway.clock.advance(seconds=60)
            return await gateway.status(READS) == 401

        await until_answer(is_refused)


def _metadata(issuer: str) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "issuer": issuer,
            "jwks_uri": "https://issuer.example/tenant/jwks.json",
            "scopewright_revocation_feed_uri": "https://issuer.example/tenant/revocations",
        },
    )


async def test_profile_of_the_issuer_requires_dpop_at_every_api() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        assert await gateway.status(READS) == 200
        gateway.put_issuer(profile="FAPI2")
        await gateway.until_status(401, READS)
        gateway.put_issuer()
        await gateway.until_status(200, READS)


async def test_without_records_every_decision_is_unavailable() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    gateway.store.unavailable = True
    async with gateway.running(ready=False):
        for request in (READS, question(), question(target="/healthz")):
            assert await gateway.status(request) == 503
        status, body = gateway.readyz()
        assert (status, "the issuer record" in body["missing"]) == (503, True)


async def test_records_stay_in_force_without_the_store() -> None:
    gateway = RecordsGateway()
    gateway.put(server())
    async with gateway.running():
        gateway.store.unavailable = True
        assert await gateway.status(READS) == 200
        assert await gateway.status(question()) == 401
