"""A process that forks while tokens are fetched: the child fetches for itself and does not wait for the parent."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from scopewright.client import ClientCredentials, MountedSecret
from tests.unit.client.support import NOW, FakeClock, Mount
from tests.unit.forked import LIMIT, SlowIssuer, in_child, slow_issuer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

Get = Callable[[ClientCredentials], str]


def get_sync(auth: ClientCredentials) -> str:
    return auth.token_sync().value


def get_async(auth: ClientCredentials) -> str:
    return asyncio.run(auth.token()).value


def get_by_request(auth: ClientCredentials) -> str:
    def api(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers["authorization"].removeprefix("Bearer "))

    with httpx.Client(transport=httpx.MockTransport(api), auth=auth) as client:
        return client.get("https://payroll.example").text


@pytest.fixture(params=[get_sync, get_async, get_by_request])
def get(request: pytest.FixtureRequest) -> Get:
    got: Get = request.param
    return got


@pytest.fixture
def issuer() -> Iterator[SlowIssuer]:
    with slow_issuer() as issuer:
        yield issuer


@pytest.fixture
def secret(tmp_path: Path, issuer: SlowIssuer) -> Path:
    Mount(tmp_path / "oauth", issuer=issuer.url, token_endpoint=f"{issuer.url}/token")
    return tmp_path / "oauth"


def test_child_forked_during_the_first_fetch_gets_a_token(issuer: SlowIssuer, secret: Path, get: Get) -> None:
    auth = ClientCredentials(secret)
    with issuer.busy_with(auth.token_sync):
        assert in_child(lambda: get(auth)) == "token-1"
    assert auth.token_sync().value == "token-2"


def test_child_forked_during_a_background_refresh_uses_the_token_and_fetches_the_next(
    issuer: SlowIssuer, secret: Path, get: Get
) -> None:
    clock = FakeClock()
    auth = ClientCredentials(secret, clock=clock, jitter=lambda: 0.0)
    assert auth.token_sync().value == "token-1"
    clock.instant = NOW + 500

    def later() -> str:
        before = get(auth)
        clock.instant = NOW + 700
        return f"{before} {get(auth)}"

    with issuer.busy_with(auth.token_sync):
        assert in_child(later) == "token-1 token-2"


def test_child_is_not_blocked_by_locks_that_other_threads_held(secret: Path, get: Get) -> None:
    mounted = MountedSecret(secret)
    auth = ClientCredentials(mounted)
    with mounted._files._lock, auth.sender.tokens._fetching.lock, auth._variants._lock:
        assert in_child(lambda: get(auth) + get(auth.on_behalf_of("a caller"))) == "token-1token-2"


def test_child_introspects_while_the_parent_waits_for_an_answer(issuer: SlowIssuer, secret: Path) -> None:
    """The parent's HTTP client and threads are not used: their locks may be held."""
    auth = ClientCredentials(secret)
    auth.introspect_sync("t")

    def in_both_ways() -> str:
        return f"{auth.introspect_sync('t')['active']} {asyncio.run(introspected(auth))}"

    async def introspected(auth: ClientCredentials) -> bool:
        return bool((await auth.introspect("t"))["active"])

    with issuer.busy_with(lambda: auth.introspect_sync("t")), auth._unshared._lock, auth._unshared._threads._lock:
        assert in_child(in_both_ways) == "True True"
    assert in_both_ways() == "True True"


def test_child_of_a_child_gets_a_token(issuer: SlowIssuer, secret: Path) -> None:
    auth = ClientCredentials(secret)
    with issuer.busy_with(auth.token_sync):
        assert in_child(lambda: in_child(lambda: get_sync(auth))) == "token-1"


def _work(auth: ClientCredentials, results: "multiprocessing.SimpleQueue[str]") -> None:
    results.put(get_sync(auth) + " " + get_async(auth))


def test_each_multiprocessing_worker_fetches_for_itself(issuer: SlowIssuer, secret: Path) -> None:
    """Celery's prefork and Gunicorn's preload load the module once and fork the workers."""
    forking = multiprocessing.get_context("fork")
    auth = ClientCredentials(secret)
    results: multiprocessing.SimpleQueue[str] = forking.SimpleQueue()
    with issuer.busy_with(auth.token_sync):
        workers = [forking.Process(target=_work, args=(auth, results)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LIMIT)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(results.get() for _ in workers) == [f"token-{n} token-{n}" for n in (1, 2, 3)]


def test_http_client_argument_cannot_be_used_in_a_forked_child(issuer: SlowIssuer, secret: Path, get: Get) -> None:
    with httpx.Client() as http:
        auth = ClientCredentials(secret, http=http)
        assert auth.token_sync().value == "token-1"
        error = in_child(lambda: get(auth))
        assert error.startswith("RuntimeError: the Client that was passed as http= to this ClientCredentials")
        assert auth.token_sync().value == "token-1"


@pytest.mark.parametrize(
    "use",
    [
        lambda auth: auth.introspect_sync("t"),
        lambda auth: auth.revoke_sync("t"),
        lambda auth: auth.for_resource("https://leave.example").token_sync(),
        lambda auth: auth.on_behalf_of("t").token_sync(),
    ],
)
def test_http_client_argument_is_used_by_no_method_in_a_forked_child(
    issuer: SlowIssuer, secret: Path, use: Callable[[ClientCredentials], object]
) -> None:
    with httpx.Client() as http:
        auth = ClientCredentials(secret, http=http)
        error = in_child(lambda: str(use(auth)))
        assert error.startswith("RuntimeError: the Client that was passed as http= to this ClientCredentials")
        assert issuer.requests == 0
