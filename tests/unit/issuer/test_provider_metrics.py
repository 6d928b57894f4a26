"""What is counted of identity providers, and which are listed as failing."""

from collections.abc import AsyncIterator

import pytest

from scopewright.core.records.identity_provider import UpstreamClient
from scopewright.issuer.observability.metrics import IssuerMetrics, shared_counters
from scopewright.issuer.observability.providers import FAILING_SECONDS, MAX_PROVIDERS
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.upstream.login import UpstreamRequest
from scopewright.issuer.users.assembly import UserState
from scopewright.upstream import UpstreamFailed
from tests.harness.issuer import settle
from tests.harness.samples import NAMESPACE
from tests.harness.users import provider_of
from tests.unit.issuer.users.logins import Logins, running_logins

METRIC = "scopewright_issuer_provider_requests_total"


COMPANY = provider_of("company")
UNREACHABLE = provider_of("company", oidc=UpstreamClient("https://127.0.0.1:1", "scopewright"))
REQUEST = UpstreamRequest("https://issuer.example/callback/company", "s" * 43, "n" * 43, "v" * 43, 0.0)


@pytest.fixture
async def logins() -> AsyncIterator[Logins]:
    async with running_logins(providers=(COMPANY,)) as logins:
        yield logins


async def readyz(logins: Logins) -> tuple[int, list[str]]:
    answer = await logins.harness.http.get("/readyz")
    return answer.status_code, answer.json().get("failing", [])


def counted(metrics: IssuerMetrics) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["provider"], sample.labels["operation"], sample.labels["result"]): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == METRIC and sample.value
    }


async def test_a_request_to_a_provider_that_does_not_answer_is_counted_and_leaves_the_issuer_ready() -> None:
    async with running_logins(providers=(UNREACHABLE,), developer=False) as logins:
        state = logins.harness.issuer.background.users
        assert isinstance(state, UserState)
        with pytest.raises(UpstreamFailed):
            await state.logins.upstreams.authorization_url(UNREACHABLE, REQUEST)
        assert counted(logins.harness.issuer.metrics) == {("company", "discovery", "AddressNotAllowed"): 1}
        assert await readyz(logins) == (200, ["identity provider company"])


async def test_a_provider_that_answers_again_or_was_deleted_is_not_failing(logins: Logins) -> None:
    observe = logins.harness.issuer.metrics.providers.observe
    observe("company", "token", "Unreachable")
    assert await readyz(logins) == (200, ["identity provider company"])
    observe("company", "keys", "ok")
    assert await readyz(logins) == (200, [])
    observe("company", "token", "Unreachable")
    logins.harness.delete_provider("company")
    await settle()
    assert await readyz(logins) == (200, [])
    observe("company", "token", "Unreachable")
    logins.harness.put_provider(COMPANY)
    await settle()
    assert await readyz(logins) == (200, []), "only a provider in force is noted"
    observe("company", "token", "Unreachable")
    logins.harness.clock.advance(seconds=FAILING_SECONDS)
    assert await readyz(logins) == (200, []), "nobody has asked it for a while"


def count(metrics: IssuerMetrics, name: str) -> None:
    metrics.providers.observe(name, "token", "ok")


def test_counts_of_all_workers_are_summed_although_each_has_places_of_its_own() -> None:
    registry, shared = Registry(NAMESPACE), shared_counters(2)
    one, two = (IssuerMetrics(registry, lambda: 1.0, shared.row(row)) for row in (0, 1))
    for name in ("a", "b"):
        registry.providers.put(provider_of(name))
    for name in ("a", "b", "b"):
        count(one, name)
    for name in ("b", "a"):
        count(two, name)
    expected = {("a", "token", "ok"): 2, ("b", "token", "ok"): 3}
    assert counted(one) == counted(two) == expected
    after_a_restart = IssuerMetrics(registry, lambda: 1.0, shared.row(0))
    count(after_a_restart, "a")
    assert counted(two)["a", "token", "ok"] == 3


def test_places_are_bounded_and_those_of_deleted_providers_are_used_again() -> None:
    registry = Registry(NAMESPACE)
    metrics = IssuerMetrics(registry, lambda: 1.0)
    for number in range(MAX_PROVIDERS + 1):
        registry.providers.put(provider_of(f"p{number}"))
        count(metrics, f"p{number}")
    assert len(counted(metrics)) == MAX_PROVIDERS
    registry.providers.remove("p0")
    assert ("p0", "token", "ok") not in counted(metrics)
    count(metrics, f"p{MAX_PROVIDERS}")
    assert counted(metrics)[f"p{MAX_PROVIDERS}", "token", "ok"] == 1
    registry.providers.put(provider_of("p0"))
    assert ("p0", "token", "ok") not in counted(metrics), "the place and its counts are another provider's"
