"""Metrics of the users' endpoints: pages, logins, codes, refreshes, checks and the session store.

No label has a value of a user, a client or a provider. Requests of clients for themselves count nothing here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability import user_events
from scopewright.issuer.observability.user_events import OTHER, CheckResult
from scopewright.issuer.protocol.errors import OAuthError, from_failure
from scopewright.issuer.tokens.authorise import AUTHORIZATION_CODE, REFRESH_TOKEN
from scopewright.serving.columns import CounterColumns, GaugeColumns, HistogramColumns
from scopewright.serving.counters import WorkerCounters

HANDLERS: Final = ("authorize", "login", "callback", "consent", "logout", "account")
"""The first parts of the paths of pages."""

PageResult = Literal["page", "redirect", "refused", "busy", "timeout", "unavailable", "failed"]
"""`refused` is a page with 4xx, `busy` and `timeout` are refusals of the pool, `unavailable` is another 503."""

StoreOperation = Literal["get", "write", "scan", "store_id"]
StoreResult = Literal["ok", "conflict", "unavailable", "failed"]
"""`conflict`: another write came first, so nothing was written. `failed` is an exception that no store should raise."""

ISSUED: Final = "issued"

_PAGE_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STORE_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_REQUESTS: Final = CounterColumns(
    0,
    "scopewright_issuer_user_requests",
    "Requests of browsers, by page and result.",
    ("handler", "result"),
    ((handler, result) for handler in HANDLERS for result in get_args(PageResult)),
)
_SECONDS: Final = HistogramColumns(
    _REQUESTS.end,
    "scopewright_issuer_user_request_seconds",
    "Duration of requests of browsers, with the waits for providers and passwords.",
    "handler",
    HANDLERS,
    _PAGE_BOUNDS,
)
_ERROR_PAGES: Final = CounterColumns(
    _SECONDS.end,
    "scopewright_issuer_user_error_pages",
    "Error pages, by reason: those of the audit event user_error.",
    ("error_reason",),
    ((reason,) for reason in user_events.ERROR_PAGES),
)
_LOGINS: Final = CounterColumns(
    _ERROR_PAGES.end,
    "scopewright_issuer_logins",
    "Logins by kind of provider and by result: accepted, or the reason of the refusal.",
    ("way", "result"),
    (
        (way, result)
        for way, reasons in user_events.LOGIN_REASONS.items()
        for result in (user_events.ACCEPTED, *reasons, OTHER)
    ),
)
_DECISIONS: Final = CounterColumns(
    _LOGINS.end,
    "scopewright_issuer_user_decisions",
    "Audit lines about users, by event and result, without logins and error pages.",
    ("event", "result"),
    (
        (event, result)
        for event, results in user_events.RESULTS.items()
        if event not in ("login", "user_error")
        for result in results
    ),
)
_GRANTS: Final = CounterColumns(
    _DECISIONS.end,
    "scopewright_issuer_user_grants",
    "Codes and refresh tokens of authenticated clients at the token endpoint: issued, or the reason of the refusal.",
    ("grant_type", "result"),
    (
        *((AUTHORIZATION_CODE, r) for r in (ISSUED, *user_events.CODE_REFUSALS, *user_events.GRANT_REFUSALS)),
        *((REFRESH_TOKEN, r) for r in (ISSUED, *user_events.REFRESH_REFUSALS, *user_events.GRANT_REFUSALS)),
    ),
)
_CHECKS: Final = CounterColumns(
    _GRANTS.end,
    "scopewright_issuer_user_checks",
    "Questions to OpenID providers about users of sessions, by result.",
    ("result",),
    ((result,) for result in get_args(CheckResult)),
)
_STORE: Final = CounterColumns(
    _CHECKS.end,
    "scopewright_issuer_session_store_requests",
    "Requests to the session store.",
    ("operation", "result"),
    (
        (operation, result)
        for operation in get_args(StoreOperation)
        for result in get_args(StoreResult)
        if result != "conflict" or operation == "write"
    ),
)
_STORE_SECONDS: Final = HistogramColumns(
    _STORE.end,
    "scopewright_issuer_session_store_seconds",
    "Time until the session store answered, or its failure was noticed.",
    "operation",
    get_args(StoreOperation),
    _STORE_BOUNDS,
)
_POOL: Final = GaugeColumns(
    _STORE_SECONDS.end,
    "scopewright_issuer_user_requests_in_progress",
    "Requests of browsers that are handled now, in all processes.",
)
_POOL_LIMIT: Final = GaugeColumns(
    _POOL.end,
    "scopewright_issuer_user_requests_limit",
    "Requests of browsers that all processes handle at once at most. Beyond it they get 503.",
)
_PASSWORDS: Final = GaugeColumns(
    _POOL_LIMIT.end,
    "scopewright_issuer_password_computations",
    "Passwords of static users that are computed now, or wait for that. Each process computes 2 and lets 20 wait.",
    ("state",),
    ("running", "waiting"),
)
_STORE_DOWN: Final = _PASSWORDS.end

COLUMNS: Final = _STORE_DOWN + 1
"""Number of columns in the counters."""

_COUNTERS: Final[tuple[CounterColumns | HistogramColumns, ...]] = (
    _REQUESTS,
    _SECONDS,
    _ERROR_PAGES,
    _LOGINS,
    _DECISIONS,
    _GRANTS,
    _CHECKS,
    _STORE,
    _STORE_SECONDS,
)
_GAUGES: Final = (_POOL, _POOL_LIMIT, _PASSWORDS)


@dataclass(frozen=True, slots=True)
class UserLoad:
    """Of one process: requests of users that are handled, their limit, and passwords."""

    requests: int = 0
    limit: int = 0
    computing: int = 0
    waiting: int = 0


class UserMetrics:
    """Counts for one process, in its counters from column `first` on. Exports the sums of all processes."""

    def __init__(self, counters: WorkerCounters, first: int) -> None:
        self._counters = counters
        self._first = first
        self._cells = counters.cells[first : first + COLUMNS]
        self._cells[_STORE_DOWN] = 0
        self.load: Callable[[], UserLoad] | None = None
        """Set where users can log in; otherwise nothing is exported."""

    def request(self, handler: str, result: PageResult, seconds: float) -> None:
        _REQUESTS.add(self._cells, handler, result)
        _SECONDS.add(self._cells, handler, seconds)

    def decided(self, event: str, result: str, more: Mapping[str, Any]) -> None:
        """Count an audit line about a user."""
        reason = str(more.get("reason", ""))
        if event == "user_error":
            _ERROR_PAGES.add(self._cells, reason if (reason,) in _ERROR_PAGES else OTHER)
        elif event == "login":
            way, how = str(more["way"]), result if result == user_events.ACCEPTED else reason
            _LOGINS.add(self._cells, way, how if (way, how) in _LOGINS else OTHER)
        else:
            _DECISIONS.add(self._cells, event, result)

    @contextmanager
    def grant(self, grant_type: str) -> Iterator[None]:
        """Count a code or a refresh token, by how the block ends."""
        try:
            yield
        except OAuthError as error:
            self._count_grant(grant_type, error.reason)
            raise
        except Unavailable as failure:
            self._count_grant(grant_type, from_failure(failure).reason)
            raise
        except Exception:
            self._count_grant(grant_type, OTHER)
            raise
        self._count_grant(grant_type, ISSUED)

    def _count_grant(self, grant_type: str, result: str) -> None:
        _GRANTS.add(self._cells, grant_type, result if (grant_type, result) in _GRANTS else OTHER)

    def check(self, result: CheckResult) -> None:
        _CHECKS.add(self._cells, result)

    def store(self, operation: StoreOperation, result: StoreResult, seconds: float) -> None:
        _STORE.add(self._cells, operation, result)
        _STORE_SECONDS.add(self._cells, operation, seconds)
        self._cells[_STORE_DOWN] = result == "unavailable"

    def update(self) -> None:
        """Record the current load."""
        if self.load is not None:
            load = self.load()
            _POOL.set(self._cells, load.requests)
            _POOL_LIMIT.set(self._cells, load.limit)
            _PASSWORDS.set(self._cells, load.computing, "running")
            _PASSWORDS.set(self._cells, load.waiting, "waiting")

    def collect(self) -> Iterator[Metric]:
        if self.load is None:
            return
        totals = self._counters.shared.totals()[self._first : self._first + COLUMNS]
        yield from (counter.family(totals) for counter in _COUNTERS)
        yield from (gauge.family(totals) for gauge in _GAUGES)
        yield GaugeMetricFamily(
            "scopewright_issuer_session_store_up",
            "1 if the session store answered the last request of every process, which is at most 20 s old.",
            not totals[_STORE_DOWN],
        )
