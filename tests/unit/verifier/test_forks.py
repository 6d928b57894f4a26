"""A process that forks while keys are fetched: the child fetches for itself and does not wait for the parent."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator

import httpx
import pytest

from scopewright.verifier import ReplayMemory, Verifier
from tests.harness.clock import Clock
from tests.unit.forked import LIMIT, SlowIssuer, in_child, slow_issuer
from tests.unit.verifier.support import AUDIENCE, NOW, token

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

Check = Callable[[Verifier, str], str]


def check_sync(verifier: Verifier, sent: str) -> str:
    return verifier.verify_sync(sent).client_id


def check_async(verifier: Verifier, sent: str) -> str:
    return asyncio.run(verifier.verify(sent)).client_id


@pytest.fixture(params=[check_sync, check_async])
def check(request: pytest.FixtureRequest) -> Check:
    found: Check = request.param
    return found


@pytest.fixture
def issuer() -> Iterator[SlowIssuer]:
    with slow_issuer() as issuer:
        yield issuer


def test_child_forked_during_the_first_fetch_verifies(issuer: SlowIssuer, check: Check) -> None:
    verifier = Verifier(issuer.url, AUDIENCE, clock=Clock())
    sent = token(iss=issuer.url)
    with issuer.busy_with(lambda: check_sync(verifier, sent)):
        assert in_child(lambda: check(verifier, sent)) == "leave.leave-worker"
    assert check_sync(verifier, sent) == "leave.leave-worker"


def test_child_forked_during_a_background_refresh_verifies_and_refreshes(issuer: SlowIssuer, check: Check) -> None:
    clock = Clock()
    verifier = Verifier(issuer.url, AUDIENCE, clock=clock)
    assert check_sync(verifier, token(iss=issuer.url))
    clock.set(NOW + 250)

    def later() -> str:
        before = check(verifier, token(iss=issuer.url, jti="1"))
        clock.set(NOW + 36000)  # stale: the issuer is asked before a key is used
        later_token = token(iss=issuer.url, iat=int(clock()), exp=int(clock()) + 60)
        return f"{before} {check(verifier, later_token)}"

    with issuer.busy_with(lambda: check_sync(verifier, token(iss=issuer.url, jti="2"))):
        assert in_child(later) == "leave.leave-worker leave.leave-worker"


def test_child_is_not_blocked_by_locks_that_other_threads_held(issuer: SlowIssuer, check: Check) -> None:
    memory = ReplayMemory(clock=Clock())
    verifier = Verifier(issuer.url, AUDIENCE, clock=Clock(), replay=memory)
    sent = token(iss=issuer.url)
    remote = verifier._remote
    with remote._remote_keys._fetching.lock, remote._remote_feed._fetching.lock, memory._lock:
        assert in_child(lambda: check(verifier, sent)) == "leave.leave-worker"
        assert in_child(lambda: str(memory.first_use("leave.leave-worker", "jti", NOW + 60))) == "True"


def _work(verifier: Verifier, sent: str, results: "multiprocessing.SimpleQueue[str]") -> None:
    results.put(check_sync(verifier, sent) + " " + check_async(verifier, sent))


def test_each_multiprocessing_worker_fetches_for_itself(issuer: SlowIssuer) -> None:
    forking = multiprocessing.get_context("fork")
    verifier = Verifier(issuer.url, AUDIENCE, clock=Clock())
    sent = token(iss=issuer.url)
    results: multiprocessing.SimpleQueue[str] = forking.SimpleQueue()
    with issuer.busy_with(verifier.ready_sync):
        workers = [forking.Process(target=_work, args=(verifier, sent, results)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LIMIT)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert [results.get() for _ in workers] == ["leave.leave-worker leave.leave-worker"] * 3


def test_http_client_argument_cannot_be_used_in_a_forked_child(issuer: SlowIssuer, check: Check) -> None:
    with httpx.Client() as http:
        verifier = Verifier(issuer.url, AUDIENCE, clock=Clock(), http=http)
        assert check_sync(verifier, token(iss=issuer.url))
        error = in_child(lambda: check(verifier, token(iss=issuer.url, jti="1")))
        assert error.startswith("RuntimeError: the Client that was passed as http= to this Verifier")
