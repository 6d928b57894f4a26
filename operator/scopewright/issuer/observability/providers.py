"""How identity providers answer: counted, and listed while they fail."""

import hashlib
from collections.abc import Awaitable, Iterator, Mapping
from typing import Final, Literal, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.serving.counters import WorkerCounters
from scopewright.issuer.state.providers import Provider, ProviderIndex
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import LoginRefused, UpstreamLogins, UpstreamRequest, UserGone

T = TypeVar("T")

Operation = Literal["begin_login", "login", "check"]
Result = Literal["ok", "refused", "ended", "failed"]

FAILING_SECONDS: Final = 600.0
"""For this long after a failure a provider counts as failing, unless it answers."""
MAX_PROVIDERS: Final = 64
"""Further ones are not counted."""
_RESULTS: Final[Mapping[Operation, tuple[Result, ...]]] = {
    "begin_login": ("ok", "failed"),
    "login": ("ok", "refused", "failed"),
    "check": ("ok", "refused", "ended", "failed"),
}
_CELLS: Final = {
    pair: 1 + n for n, pair in enumerate((operation, r) for operation, results in _RESULTS.items() for r in results)
}
"""By operation and result: the place in the columns of a provider, after its key."""
_WIDTH: Final = 1 + len(_CELLS)

COLUMNS: Final = MAX_PROVIDERS * _WIDTH
"""Number of columns in the counters."""


class ProviderMetrics:
    """Counts for one process, in its counters from column `first` on. Exports the sums of all processes.

    Each process gives a provider a place of its own, and writes a key there that stands for the name.
    """

    def __init__(self, counters: WorkerCounters, first: int, providers: ProviderIndex) -> None:
        self._counters = counters
        self._first = first
        self._providers = providers

    def count(self, name: str, operation: Operation, result: Result) -> None:
        place = self._place(_key(name))
        if place is not None:
            self._counters.cells[place + _CELLS[operation, result]] += 1

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "scopewright_issuer_provider_requests",
            "Questions to identity providers: where to log in (begin_login), who has logged in (login), whether the "
            "user of a session still exists (check). ended: the provider has ended the login of a session.",
            labels=["provider", "operation", "result"],
        )
        sums = self._sums()
        for provider in self._providers:
            for (operation, result), cell in _CELLS.items():
                requests.add_metric([provider.name, operation, result], sums[_key(provider.name)][cell])
        yield requests

    def _sums(self) -> Mapping[float, list[float]]:
        """By key of each provider in force, the cells of all processes."""
        shared = self._counters.shared
        sums = {_key(provider.name): [0.0] * _WIDTH for provider in self._providers}
        for row in range(shared.rows):
            begin = row * shared.columns + self._first
            for place in range(begin, begin + COLUMNS, _WIDTH):
                if total := sums.get(shared.cells[place]):
                    for cell in range(1, _WIDTH):
                        total[cell] += shared.cells[place + cell]
        return sums

    def _place(self, key: float) -> int | None:
        """The place of a provider in this process; a new one in place of a provider that was deleted."""
        cells = self._counters.cells
        places = range(self._first, self._first + COLUMNS, _WIDTH)
        known = next((place for place in places if cells[place] == key), None)
        if known is not None:
            return known
        in_force = {_key(provider.name) for provider in self._providers}
        free = next((place for place in places if cells[place] not in in_force), None)
        if free is not None:
            for cell in range(1, _WIDTH):
                cells[free + cell] = 0
            cells[free] = key
        return free


class ObservedLogins:
    """Implements `UpstreamLogins` by `logins`, and counts what it does."""

    def __init__(
        self, logins: UpstreamLogins, metrics: ProviderMetrics, providers: ProviderIndex, clock: Clock
    ) -> None:
        self._logins = logins
        self._metrics = metrics
        self._providers = providers
        self._clock = clock
        self._failed: dict[str, float] = {}
        """By name: when the provider failed last, if it has not answered since."""

    @property
    def failing(self) -> list[str]:
        """The names of the providers in force that do not answer."""
        since = self._clock() - FAILING_SECONDS
        return [provider.name for provider in self._providers if self._failed.get(provider.name, 0.0) > since]

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        return await self._observe("begin_login", provider, self._logins.authorization_url(provider, request))

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        return await self._observe("login", provider, self._logins.redeem(provider, request, parameters))

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        return await self._observe("check", provider, self._logins.confirm(provider, subject, tokens))

    async def _observe(self, operation: Operation, provider: Provider, request: Awaitable[T]) -> T:
        result: Result = "failed"
        try:
            answer = await request
            result = "ok"
        except LoginRefused:
            result = "refused"
            raise
        except UserGone:
            result = "ended"
            raise
        finally:
            self._metrics.count(provider.name, operation, result)
            self._note(provider.name, failed=result == "failed")
        return answer

    def _note(self, name: str, *, failed: bool) -> None:
        """Only of providers in force, so that names of deleted ones do not stay."""
        self._failed = {name: at for name, at in self._failed.items() if self._providers.by_name(name) is not None}
        if not failed:
            self._failed.pop(name, None)
        elif self._providers.by_name(name) is not None:
            self._failed[name] = self._clock()


def _key(name: str) -> float:
    """Stands for a name in the counters: 48 bits, which a float holds exactly, and never 0."""
    return float(1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]))
