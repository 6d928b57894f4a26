"""Audit lines of refusals: a bounded number for each API and second, so that a flood hides no other API's.

A line has no token, no proof, no query and no header that the caller sent.
"""

from typing import Any, Final

from scopewright.bounded import BoundedDict
from scopewright.gateway.decide import Decision, Result
from scopewright.gateway.metrics import GatewayMetrics
from scopewright.rate_budget import Clock, RateBudget, TokenBucket
from scopewright.serving import audit

EVENT: Final = "gateway"
LINES: Final = RateBudget(rate=10, burst=50)
"""Lines a second of one API in one process, and at once after a pause. Requests that lead to no API have one budget."""
MAX_BUDGETS: Final = 10_000


class _Budget:
    def __init__(self, monotonic: Clock) -> None:
        self.lines = TokenBucket(LINES, monotonic)
        self.suppressed = 0


class RefusalAudit:
    """Writes a line for each refusal, until those of its API are too many: these are counted in its next line."""

    def __init__(self, sink: audit.Sink, metrics: GatewayMetrics, clock: Clock, monotonic: Clock) -> None:
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._budgets: BoundedDict[str, _Budget] = BoundedDict(MAX_BUDGETS)

    def note(self, decision: Decision, status: int, peer: str) -> None:
        """`status` is that of the answer; `peer` is the address of the proxy."""
        if decision.result is Result.ALLOWED:
            return
        budget = self._budgets.get(decision.api_key)
        if budget is None:
            budget = self._budgets[decision.api_key] = _Budget(self._monotonic)
        if not budget.lines.take():
            budget.suppressed += 1
            self._metrics.suppressed()
            return
        more = _members(decision, status)
        if budget.suppressed:
            more["suppressed"], budget.suppressed = budget.suppressed, 0
        self._sink(audit.entry(EVENT, self._clock(), peer, decision.result.value, more))


def _members(decision: Decision, status: int) -> dict[str, Any]:
    original = decision.original
    members: dict[str, Any] = {
        "reason": decision.reason,
        "status": status,
        "profile": decision.profile.name,
        "api": decision.api_key,
        "rule": decision.rule,
        "client": decision.client_id,
        "jti": decision.token_id,
    }
    if original is not None:
        path = original.target.partition(b"?")[0].decode("ascii", "replace")
        members |= {"hostname": original.hostname, "method": original.method, "path": path}
    return {name: audit.truncated(value) for name, value in members.items() if value != ""}
