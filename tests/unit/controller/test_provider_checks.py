"""Checks of OpenID providers: at once, periodically, a bounded number at a time, and each without the others."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from scopewright.controller import provider_checks
from scopewright.controller.provider_checks import MAX_CHECKS, ProviderChecks
from scopewright.core.objects import Ref
from scopewright.core.providers.view import CheckResult, CheckTarget
from scopewright.upstream import UpstreamFailed
from tests.harness.openid_provider import OpenIDProvider
from tests.harness.samples import NAMESPACE
from tests.harness.waiting import until

SOON = 5.0


def ref(name: str) -> Ref:
    return Ref("IdentityProvider", NAMESPACE, name)


def target(name: str, certificates: str = "") -> CheckTarget:
    return CheckTarget(f"https://{name}.example", certificates, ("RS256",))


class Providers:
    """Providers by their URL: `failures` are raised, `hanging` ones do not answer until they are released."""

    def __init__(self, interval: float = 1000.0, failed_interval: float = 1000.0) -> None:
        self.failures: dict[str, Exception] = {}
        self.hanging: dict[str, asyncio.Event] = {}
        self.checked: Counter[str] = Counter()
        self.running = self.most = 0
        self.changed: asyncio.Queue[Ref] = asyncio.Queue()
        self.checks = ProviderChecks(
            self.changed.put_nowait, check=self._check, interval=interval, failed_interval=failed_interval
        )

    async def _check(self, target: CheckTarget) -> None:
        url = target.issuer_url
        self.checked[url] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if event := self.hanging.get(url):
                await event.wait()
            if failure := self.failures.get(url):
                raise failure
        finally:
            self.running -= 1

    def hang(self, name: str) -> None:
        self.hanging[target(name).issuer_url] = asyncio.Event()

    async def next_changed(self) -> Ref:
        return await asyncio.wait_for(self.changed.get(), SOON)

    async def until(self, name: str, times: int) -> None:
        await until(lambda: self.checked[target(name).issuer_url] >= times)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.checks.run())
        try:
            yield
            assert not task.done(), "the checks have ended"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_provider_is_checked_at_once_and_enqueued_when_its_result_changes() -> None:
    providers = Providers()
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        assert await providers.next_changed() == ref("a")
        assert providers.checks.last(ref("a")) == CheckResult(target("a"))
        providers.checks.expect(ref("a"), target("a"))
        await asyncio.sleep(0.05)
        assert providers.checked.total() == 1, "the same target is not checked again before its time"


async def test_a_change_of_the_target_is_checked_at_once() -> None:
    providers = Providers()
    async with providers.run():
        for changed in (target("a"), target("b"), target("b", "other certificates")):
            providers.checks.expect(ref("a"), changed)
            assert await providers.next_changed() == ref("a")
            assert providers.checks.last(ref("a")) == CheckResult(changed)


async def test_checks_repeat_and_report_only_changes() -> None:
    providers = Providers(interval=0.01, failed_interval=0.01)
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.next_changed()
        await providers.until("a", 4)
        assert providers.changed.empty()
        providers.failures[target("a").issuer_url] = UpstreamFailed("Refused", "status 500")
        await providers.next_changed()
        assert providers.checks.last(ref("a")) == CheckResult(target("a"), "Refused", "status 500")
        await providers.until("a", providers.checked.total() + 3)
        assert providers.changed.empty(), "the same failure is no change"


async def test_a_failed_check_is_repeated_sooner() -> None:
    providers = Providers(failed_interval=0.01)
    providers.failures[target("a").issuer_url] = UpstreamFailed("Unreachable", "no answer")
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.until("a", 3)


async def test_a_slow_provider_does_not_delay_the_others() -> None:
    providers = Providers(interval=0.01)
    providers.hang("slow")
    async with providers.run():
        providers.checks.expect(ref("slow"), target("slow"))
        providers.checks.expect(ref("a"), target("a"))
        await providers.until("a", 3)
        assert providers.checked[target("slow").issuer_url] == 1
        assert providers.checks.last(ref("slow")) is None


async def test_checks_at_the_same_time_are_bounded() -> None:
    providers = Providers()
    names = [f"p{number}" for number in range(3 * MAX_CHECKS)]
    for name in names:
        providers.hang(name)
    async with providers.run():
        for name in names:
            providers.checks.expect(ref(name), target(name))
        await asyncio.sleep(0.05)
        assert providers.running == MAX_CHECKS
        for event in providers.hanging.values():
            event.set()
        assert {await providers.next_changed() for _ in names} == {ref(name) for name in names}
    assert providers.most == MAX_CHECKS


async def test_a_check_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_checks, "TIMEOUT_SECONDS", 0.01)
    providers = Providers()
    providers.hang("a")
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.next_changed()
        result = providers.checks.last(ref("a"))
    assert result
    assert result.reason == "Unreachable"


async def test_a_bug_of_one_check_ends_no_other() -> None:
    providers = Providers(interval=0.01)
    providers.failures[target("bug").issuer_url] = RuntimeError("a bug")
    async with providers.run():
        providers.checks.expect(ref("bug"), target("bug"))
        providers.checks.expect(ref("a"), target("a"))
        await providers.until("a", 3)
        assert providers.checks.last(ref("bug")) is None


async def test_a_provider_that_is_deleted_meanwhile_has_no_result() -> None:
    providers = Providers()
    providers.hang("a")
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.until("a", 1)
        providers.checks.expect(ref("a"), None)
        providers.hanging[target("a").issuer_url].set()
        await asyncio.sleep(0.05)
        assert providers.checks.last(ref("a")) is None
        assert providers.changed.empty()


async def test_another_term_checks_all_again() -> None:
    providers = Providers()
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.next_changed()
    providers.checks.clear()
    assert providers.checks.last(ref("a")) is None
    providers.checks.expect(ref("a"), target("a"))
    async with providers.run():
        assert await providers.next_changed() == ref("a")


async def test_a_check_that_was_cancelled_is_made_in_the_next_term() -> None:
    providers = Providers()
    providers.hang("a")
    async with providers.run():
        providers.checks.expect(ref("a"), target("a"))
        await providers.until("a", 1)
    providers.hanging.clear()
    async with providers.run():
        assert await providers.next_changed() == ref("a")


async def test_a_real_provider_is_checked() -> None:
    """Metadata and keys over HTTP. In a cluster, a provider on loopback is refused."""
    changed: asyncio.Queue[Ref] = asyncio.Queue()
    with OpenIDProvider() as provider:
        for allow_loopback, reason in ((True, ""), (False, "AddressNotAllowed")):
            checks = ProviderChecks(changed.put_nowait, allow_loopback=allow_loopback)
            url = provider.issuer if allow_loopback else provider.issuer.replace("http:", "https:")
            checks.expect(ref("a"), CheckTarget(url, "", ("ES256",)))
            task = asyncio.create_task(checks.run())
            await asyncio.wait_for(changed.get(), SOON)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            result = checks.last(ref("a"))
            assert result
            assert result.reason == reason
