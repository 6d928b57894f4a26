"""What is counted of identity providers, and which are listed as failing."""

from collections.abc import AsyncIterator

import pytest

from scopewright.issuer.observability.metrics import IssuerMetrics, shared_counters
from scopewright.issuer.observability.providers import FAILING_SECONDS, MAX_PROVIDERS, Operation, Result
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.login import LoginRefused, UserGone
from scopewright.upstream import UpstreamFailed
from tests.harness.issuer import settle
from tests.harness.samples import NAMESPACE
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import COMPANY, ProviderLogins, running_provider_logins

METRIC = "scopewright_issuer_provider_requests_total"


@pytest.fixture
async def at() -> AsyncIterator[ProviderLogins]:
    async with running_provider_logins() as logins:
        yield logins


async def readyz(at: ProviderLogins) -> tuple[int, list[str]]:
    answer = await at.logins.harness.http.get("/readyz")
    return answer.status_code, answer.json().get("failing", [])


async def refresh_when_due(at: ProviderLogins, failure: Exception | None = None) -> None:
    at.upstream.failure = failure
    token = await at.logged_in()
    at.becomes_due()
    await at.refresh(token)


def counted(metrics: IssuerMetrics) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["provider"], sample.labels["operation"], sample.labels["result"]): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == METRIC and sample.value
    }


@pytest.mark.parametrize(
    ("failure", "result"),
    [
        (None, "ok"),
        (UserGone(), "ended"),
        (LoginRefused("too_many_groups", "300"), "refused"),
        (UpstreamFailed("Unreachable", "down"), "failed"),
        (ValueError("a bug"), "failed"),
    ],
)
async def test_each_check_is_counted_by_its_result(at: ProviderLogins, failure: Exception | None, result: str) -> None:
    await refresh_when_due(at, failure)
    assert counted(at.logins.harness.issuer.metrics) == {("company", "check", result): 1}
    assert await readyz(at) == (200, ["identity provider company"] if result == "failed" else [])


async def test_a_provider_that_answers_again_or_was_deleted_is_not_failing(at: ProviderLogins) -> None:
    down = UpstreamFailed("Unreachable", "down")
    await refresh_when_due(at, down)
    assert await readyz(at) == (200, ["identity provider company"])
    await refresh_when_due(at)
    assert await readyz(at) == (200, [])
    await refresh_when_due(at, down)
    at.logins.harness.delete_provider("company")
    await settle()
    assert await readyz(at) == (200, [])
    at.logins.harness.put_provider(COMPANY)
    await settle()
    await refresh_when_due(at, down)
    at.clock.advance(seconds=FAILING_SECONDS)
    assert await readyz(at) == (200, []), "nobody has asked it for a while"


def count(metrics: IssuerMetrics, name: str, operation: Operation = "login", result: Result = "ok") -> None:
    metrics.providers.count(name, operation, result)


def test_counts_of_all_workers_are_summed_although_each_has_places_of_its_own() -> None:
    registry, shared = Registry(NAMESPACE), shared_counters(2)
    one, two = (IssuerMetrics(registry, lambda: 1.0, shared.row(row)) for row in (0, 1))
    for name in ("a", "b"):
        registry.providers.put(provider_of(name))
    for name in ("a", "b", "b"):
        count(one, name)
    for name in ("b", "a"):
        count(two, name)
    expected = {("a", "login", "ok"): 2, ("b", "login", "ok"): 3}
    assert counted(one) == counted(two) == expected
    after_a_restart = IssuerMetrics(registry, lambda: 1.0, shared.row(0))
    count(after_a_restart, "a")
    assert counted(two)["a", "login", "ok"] == 3


def test_places_are_bounded_and_those_of_deleted_providers_are_used_again() -> None:
    registry = Registry(NAMESPACE)
    metrics = IssuerMetrics(registry, lambda: 1.0)
    for number in range(MAX_PROVIDERS + 1):
        registry.providers.put(provider_of(f"p{number}"))
        count(metrics, f"p{number}")
    assert len(counted(metrics)) == MAX_PROVIDERS
    registry.providers.remove("p0")
    assert ("p0", "login", "ok") not in counted(metrics)
    count(metrics, f"p{MAX_PROVIDERS}")
    assert counted(metrics)[f"p{MAX_PROVIDERS}", "login", "ok"] == 1
    registry.providers.put(provider_of("p0"))
    assert ("p0", "login", "ok") not in counted(metrics), "the place and its counts are another provider's"
