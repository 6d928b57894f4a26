"""Remembered introspections: an issuer without that memory, on the same store, answers and audits the same."""

import gc
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import httpx
import pytest

from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import key_record_name
from scopewright.core.records.resource_server import ResolvedGrant
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.endpoints.base import Endpoint
from scopewright.issuer.endpoints.introspection import IntrospectionEndpoint
from scopewright.issuer.tokens.inspect import Inspector
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import (
    BANK_SERVICE,
    ISSUER,
    PAYROLL,
    PAYROLL_SERVICE,
    SECRET,
    client_record,
    server_record,
    service_record,
)

WORKER = "leave.leave-worker"
SERVED = server_record(served_by=(PAYROLL_SERVICE,))


@asynccontextmanager
async def plain_twin(harness: IssuerHarness) -> Any:
    """An issuer on the same store that remembers no introspection."""
    twin = IssuerHarness(store=harness.store, clock=harness.clock)
    async with twin.running():
        endpoint = twin.issuer.endpoints.introspection
        assert isinstance(endpoint, Endpoint)
        endpoint.find_known = None
        yield twin


def change(harness: IssuerHarness, random: Random) -> None:
    """Something that tokens rely on, or do not."""
    ends = START + timedelta(seconds=random.randrange(400))
    grant = ResolvedGrant(("payroll.read",), namespaces=("leave",), not_after=ends)
    changes: list[Any] = [
        *[client_record()] * 3,
        client_record(disabled=True),
        client_record(access=()),
        client_record(uid="uid-of-another"),
        client_record(dpop_required=True),
        *[SERVED] * 3,
        server_record(),
        replace(SERVED, grants=()),
        replace(SERVED, grants=(grant,)),
        replace(SERVED, dpop_required=True),
        replace(SERVED, scopes=("payroll.write",)),
        service_record("payroll", disabled=random.random() < 0.3),
        IssuerRecord(ISSUER, clock_skew=random.choice((0, 60))),
        service_record("vault"),
    ]
    harness.put(random.choice(changes))


@pytest.mark.parametrize("seed", range(12))
async def test_answers_are_those_of_an_issuer_without_the_memory(services: IssuerHarness, seed: int) -> None:
    random = Random(seed)
    async with plain_twin(services) as twin:
        tokens = [await services.access_token(resource=PAYROLL)]
        for _ in range(30):
            match random.randrange(12):
                case 0 | 1:
                    change(services, random)
                case 2:
                    services.clock.advance(seconds=random.choice((1, 20, 200, -5)))
                case 3 | 4:
                    answer = await services.token(resource=PAYROLL)
                    tokens += [answer.json()["access_token"]] if answer.status_code == 200 else []
                case 5:
                    await services.post_token("/revoke", random.choice(tokens))
                    services.clock.advance(seconds=1)
                case _:
                    caller = random.choice((WORKER, PAYROLL_SERVICE, PAYROLL_SERVICE, BANK_SERVICE))
                    await settle()
                    token = random.choice(tokens[-2:])
                    issuers = (services, services, twin)
                    first, second, plain = [await introspected(issuer, token, caller) for issuer in issuers]
                    assert first == second == plain
            await settle()


async def introspected(harness: IssuerHarness, token: str, caller: str) -> tuple[int, bytes, dict[str, Any]]:
    answer = await harness.post_token("/introspect", token, caller)
    line = json.loads(harness.audit_lines[-1])
    return answer.status_code, answer.content, {name: line[name] for name in line if name not in ("time", "ts")}


async def test_a_key_that_was_withdrawn_ends_it(services: IssuerHarness) -> None:
    token = await services.access_token(resource=PAYROLL)
    for _ in range(3):
        assert (await services.introspect(token))["active"]
    kid = next(iter(services.issuer.registry.keys.jwks(services.clock()).keys))
    services.delete_object("Secret", key_record_name(kid))
    await settle()
    assert not (await services.introspect(token))["active"]


async def test_a_repeated_introspection_is_not_inspected_again(
    services: IssuerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await services.access_token(resource=PAYROLL)
    first = await services.post_token("/introspect", token, PAYROLL_SERVICE)
    monkeypatch.setattr(Inspector, "inspect", lambda *arguments: pytest.fail("inspected"))
    again = await services.post_token("/introspect", token, PAYROLL_SERVICE)
    assert again.content == first.content


async def test_a_body_with_a_credential_is_not_remembered_for_the_header(services: IssuerHarness) -> None:
    """Two credentials in one request are 400, also if the body alone was answered before."""
    token = await services.access_token(resource=PAYROLL)
    form = {"token": token, "client_id": PAYROLL_SERVICE, "client_secret": SECRET}
    assert (await services.http.post("/introspect", data=form)).json()["active"]
    await services.introspect(token, PAYROLL_SERVICE)
    both: httpx.Response = await services.http.post("/introspect", data=form, auth=(PAYROLL_SERVICE, SECRET))
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


async def test_no_earlier_revocation_record_is_kept(services: IssuerHarness) -> None:
    """Each revocation makes a record, which may have the revoked tokens of 10,000 clients."""

    def count() -> int:
        gc.collect()
        return sum(isinstance(each, RevocationRecord) for each in gc.get_objects())

    services.put(SERVED)
    await settle()
    before = count()
    for _ in range(20):
        kept, revoked = [await services.access_token(resource=PAYROLL) for _ in range(2)]
        assert (await services.post_token("/introspect", kept, PAYROLL_SERVICE)).json()["active"]
        await services.revoke(revoked)
    assert count() <= before + 2


async def test_unusual_hints_take_no_memory(services: IssuerHarness) -> None:
    services.put(SERVED)
    await settle()
    token, endpoint = await services.access_token(resource=PAYROLL), services.issuer.endpoints.introspection
    assert isinstance(endpoint, Endpoint)
    assert isinstance(endpoint.handler, IntrospectionEndpoint)
    for hint in ("access_token", "refresh_token", "x"):
        await services.post_token("/introspect", token, PAYROLL_SERVICE, token_type_hint=hint)
    assert len(endpoint.handler._known._known) == 1
