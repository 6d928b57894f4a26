"""A flood of refused credentials does not show which client ids exist (protocol.md, rule 6)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scopewright.core.records.client import Credential
from scopewright.rate_budget import RateBudget
from tests.harness.clock import START, Clock
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import client_record, sha256
from tests.unit.issuer.assertions import assertion, in_cluster, pod_token, present, with_account, with_pair

Answer = tuple[int, bytes, tuple[tuple[str, str], ...]]

KNOWN, DISABLED, PAIR = "leave.leave-worker", "leave.disabled", "leave.pair"
UNKNOWN, MALFORMED = "leave.made-up", "not an id"


async def flood(
    ask: Callable[[IssuerHarness, int], Any], *, requests: int = 400, pause: float = 0.01, unavailable: bool = False
) -> list[Answer]:
    """Responses of a new issuer to these requests, which are `pause` seconds apart."""
    time = Clock()
    harness = IssuerHarness(monotonic=time)
    harness.install_defaults()
    harness.put(client_record(name="disabled", uid="uid-8", disabled=True))
    harness.put(with_pair(name="pair", uid="uid-9"))
    answers = []
    async with harness.running():
        harness.store.unavailable = unavailable
        for number in range(requests):
            answer = await ask(harness, number)
            headers = tuple(sorted((n, v) for n, v in answer.headers.items() if n != "date"))
            answers.append((answer.status_code, answer.content, headers))
            time.advance(seconds=pause)
    return answers


def with_wrong_secret(client_id: str) -> Callable[[IssuerHarness, int], Any]:
    return lambda harness, number: harness.token(client_id, "wrong")


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.02, 0.2])
async def test_known_and_unknown_ids_get_the_same_responses_in_the_same_order(pause: float) -> None:
    floods = [await flood(with_wrong_secret(c), pause=pause) for c in (KNOWN, DISABLED, PAIR, UNKNOWN, MALFORMED)]
    assert all(answers == floods[0] for answers in floods)
    statuses = {status for status, _, _ in floods[0]}
    assert statuses == ({401, 503} if pause < 0.05 else {401})


@pytest.mark.parametrize("every", [2, 3, 7])
async def test_known_id_among_unknown_ones_gets_the_same_responses(every: int) -> None:
    """The budgets are exhausted with unknown ids, and one id in `every` is the one in question."""

    def between(client_id: str) -> Callable[[IssuerHarness, int], Any]:
        def ask(harness: IssuerHarness, number: int) -> Any:
            return harness.token(client_id if number % every == 0 else f"leave.made-up-{number}", "wrong")

        return ask

    floods = [await flood(between(client_id), pause=0.005) for client_id in (KNOWN, DISABLED, UNKNOWN)]
    assert floods[0] == floods[1] == floods[2]


async def test_known_id_after_a_flood_gets_the_same_responses() -> None:
    """300 failures with unknown ids, then failures of one id."""

    def afterwards(client_id: str) -> Callable[[IssuerHarness, int], Any]:
        return lambda harness, number: harness.token(f"leave.x{number}" if number < 300 else client_id, "wrong")

    for pause in (0.0, 0.01, 0.06):
        assert await flood(afterwards(KNOWN), pause=pause) == await flood(afterwards(UNKNOWN), pause=pause)


async def test_assertions_of_known_and_unknown_ids_get_the_same_responses() -> None:
    async def ask(harness: IssuerHarness, client_id: str) -> Any:
        token = assertion(harness, number=8, iss=client_id, sub=client_id)
        form = {"grant_type": "client_credentials", "client_assertion": token}
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return await harness.http.post("/token", data=form)

    known = await flood(lambda harness, number: ask(harness, PAIR), requests=300)
    assert known == await flood(lambda harness, number: ask(harness, UNKNOWN), requests=300)


async def test_service_account_tokens_do_not_show_which_accounts_have_a_client() -> None:
    """Without client_id, the subject of the token names the ServiceAccount; the signature is wrong."""

    async def ask(harness: IssuerHarness, number: int, account: str) -> Any:
        if number == 0:
            harness.put(in_cluster())
            harness.put(replace(with_account(), name="worker", uid="uid-7"))
            await settle()
        if number % 3:
            return await harness.token(f"leave.made-up-{number}", "wrong")
        token = pod_token(harness, number=8, sub=f"system:serviceaccount:leave:{account}")
        form = {"grant_type": "client_credentials", "client_assertion": token}
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return await harness.http.post("/token", data=form)

    accounts = ("worker", "unknown", "with.dots")
    floods = [await flood(lambda w, n, a=a: ask(w, n, a), requests=300, pause=0.005) for a in accounts]  # type: ignore[misc]
    assert floods[0] == floods[1] == floods[2]
    assert {status for status, _, _ in floods[0]} == {401, 503}


async def test_new_client_of_a_service_account_of_its_name_is_read(harness: IssuerHarness) -> None:
    harness.put(in_cluster())
    await settle()
    harness.put(replace(with_account(), name="worker", uid="uid-7"), notify=False)
    assert (await present(harness, pod_token(harness)))[0] == 200


async def test_responses_are_the_same_while_the_store_is_unavailable() -> None:
    known, unknown = [await flood(with_wrong_secret(c), requests=250, unavailable=True) for c in (KNOWN, UNKNOWN)]
    assert known == unknown
    assert {status for status, _, _ in known} == {503}


async def test_rotated_secret_is_accepted_during_a_flood_from_the_same_address() -> None:
    """Its record is read on the reserve budget, which unknown ids do not use."""
    time = Clock()
    harness = IssuerHarness(monotonic=time)
    harness.install_defaults()
    async with harness.running():
        for number in range(400):
            await harness.token(f"leave.made-up-{number}", "wrong")
        assert (await harness.token("leave.made-up", "wrong")).status_code == 503
        harness.put(client_record(credentials=(Credential(sha256("rotated"), START),)), notify=False)
        assert (await harness.token(secret="rotated")).status_code == 200


async def test_slow_read_of_the_reserve_budget_does_not_delay_a_refusal() -> None:
    """The duration would show that a record exists."""
    harness = IssuerHarness(read_budget=RateBudget(rate=0.0, burst=0))
    harness.install_defaults()
    async with harness.running():
        harness.store.hold_reads()
        async with asyncio.timeout(5):
            assert (await harness.token(secret="wrong")).status_code == 503
            assert (await harness.token(UNKNOWN, "wrong")).status_code == 503
        harness.put(client_record(credentials=(Credential(sha256("rotated"), START),)), notify=False)
        harness.store.release_reads()
        await settle()
        assert (await harness.token(secret="rotated")).status_code == 200, "the read went on in the background"


async def test_reserve_budget_is_bounded() -> None:
    time = Clock()
    harness = IssuerHarness(monotonic=time, read_budget=RateBudget(rate=0.0, burst=0))
    harness.install_defaults()
    async with harness.running():
        for number in range(100):
            harness.put(client_record(name=f"c{number}", uid=f"uid-{number}"))
        await settle()
        for number in range(100):
            await harness.token(f"leave.c{number}", "wrong")
        assert len(harness.store.reads) == 40


async def test_wrong_key_and_unknown_client_get_the_same_response(harness: IssuerHarness) -> None:
    harness.put(with_pair(name="pair", uid="uid-9"))
    await settle()
    answers = [
        await present(harness, assertion(harness, number=8, iss=client_id, sub=client_id))
        for client_id in (PAIR, UNKNOWN)
    ]
    assert answers[0] == answers[1]
