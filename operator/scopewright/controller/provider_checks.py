"""Checks of the OpenID providers that are declared: whether users can log in there. Results stay in memory."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from scopewright.backoff import with_jitter
from scopewright.core.objects import Ref
from scopewright.core.providers.view import CheckResult, CheckTarget
from scopewright.logs import log_fields
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.check import check_provider

INTERVAL_SECONDS: Final = 300.0
"""Between two checks of a provider, with jitter."""
FAILED_INTERVAL_SECONDS: Final = 60.0
"""The same after a check that failed: a provider that starts together with the operator is soon Ready."""
MAX_CHECKS: Final = 4
"""Checks at the same time: a slow provider delays the others only with three more that are slow."""
TIMEOUT_SECONDS: Final = 30.0
"""Of one check, which has several requests with bounds of their own."""

log = logging.getLogger(__name__)


class LastChecks(Protocol):
    """What a reconciliation knows of the checks."""

    def last(self, key: Ref) -> CheckResult | None:
        """The result of the last check of this IdentityProvider; None before the first."""
        ...

    def expect(self, key: Ref, target: CheckTarget | None) -> None:
        """The provider is to be checked from now on, at once if the target has changed; None: no longer."""
        ...


class NoChecks:
    """Where no provider is reached: the status of each is as before."""

    def last(self, key: Ref) -> CheckResult | None:
        return None

    def expect(self, key: Ref, target: CheckTarget | None) -> None:
        return None


@dataclass(slots=True)
class _Checked:
    target: CheckTarget
    due: float
    """By the loop's clock."""
    result: CheckResult | None = None
    is_running: bool = False


class ProviderChecks:
    """`run` checks each expected provider until it is cancelled, and calls `enqueue` with those whose result changed.

    `check` raises `UpstreamFailed`.
    """

    def __init__(
        self,
        enqueue: Callable[[Ref], None],
        *,
        allow_loopback: bool = False,
        check: Callable[[CheckTarget], Awaitable[None]] | None = None,
        interval: float = INTERVAL_SECONDS,
        failed_interval: float = FAILED_INTERVAL_SECONDS,
    ) -> None:
        self._enqueue = enqueue
        self._allow_loopback = allow_loopback
        self._check = check or self._fetch
        self._interval = interval
        self._failed_interval = failed_interval
        self._checked: dict[Ref, _Checked] = {}
        self._wake = asyncio.Event()

    def clear(self) -> None:
        """Forget all results: another replica may have led since."""
        self._checked.clear()

    def last(self, key: Ref) -> CheckResult | None:
        known = self._checked.get(key)
        return known.result if known else None

    def expect(self, key: Ref, target: CheckTarget | None) -> None:
        known = self._checked.get(key)
        if target is None:
            self._checked.pop(key, None)
        elif known is None or known.target != target:
            self._checked[key] = _Checked(target, due=0.0, result=known.result if known else None)
            self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                running: set[asyncio.Task[None]] = set()
                while True:
                    self._wake.clear()
                    for key, checked in self._due(loop.time())[: MAX_CHECKS - len(running)]:
                        checked.is_running = True
                        task = group.create_task(self._check_one(key, checked))
                        running.add(task)
                        task.add_done_callback(running.discard)
                        task.add_done_callback(lambda _: self._wake.set())
                    await self._until_due(all_busy=len(running) >= MAX_CHECKS)
        finally:
            for checked in self._checked.values():
                checked.is_running = False

    def _due(self, now: float) -> list[tuple[Ref, _Checked]]:
        """Those that are due, the longest due first."""
        due = [(key, c) for key, c in self._checked.items() if c.due <= now and not c.is_running]
        return sorted(due, key=lambda item: item[1].due)

    async def _until_due(self, *, all_busy: bool) -> None:
        """Wait until a check is due, a target changes or a check ends; with `all_busy`, only for the last two."""
        times = [] if all_busy else [c.due for c in self._checked.values() if not c.is_running]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(times, default=None)):
                await self._wake.wait()

    async def _check_one(self, key: Ref, checked: _Checked) -> None:
        result = await self._result(key, checked.target)
        checked.is_running = False
        pause = self._failed_interval if result is None or result.reason else self._interval
        checked.due = asyncio.get_running_loop().time() + with_jitter(pause)
        if result is None or self._checked.get(key) is not checked:
            return
        changed, checked.result = checked.result != result, result
        if changed:
            log.info("%s: %s", key, result.message or "can be used", extra=log_fields(key, reason=result.reason))
            self._enqueue(key)

    async def _result(self, key: Ref, target: CheckTarget) -> CheckResult | None:
        """None: a bug. The provider is checked again later, and the other providers at all times."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._check(target)
        except UpstreamFailed as failed:
            return CheckResult(target, failed.reason, failed.message)
        except TimeoutError:
            message = f"{target.issuer_url} does not answer within {TIMEOUT_SECONDS:.0f} s"
            return CheckResult(target, "Unreachable", message)
        except Exception:
            log.exception("the check of %s failed", key, extra=log_fields(key))
            return None
        return CheckResult(target)

    async def _fetch(self, target: CheckTarget) -> None:
        await check_provider(
            target.issuer_url, target.ca_certificates, target.algorithms, allow_loopback=self._allow_loopback
        )
