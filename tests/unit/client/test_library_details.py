"""What an adapter has to know about its own library: who else repeats, redirects or wraps requests."""

import asyncio
import gc
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from scopewright.client import ClientCredentials
from scopewright.client.aiohttp import token_middleware
from scopewright.client.grpc import aio_insecure_channel, call_credentials, insecure_channel
from scopewright.client.requests import RequestsAuth
from scopewright.client.urllib3 import TokenPoolManager, TokenProxyManager
from tests.unit.client.api_server import ApiServer, api_server
from tests.unit.client.support import Endpoint, FakeClock, Mount
from tests.unit.client.test_adapters import BoundEndpoint


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with api_server() as api:
        yield api


@pytest.fixture
def other() -> Iterator[ApiServer]:
    with api_server() as api:
        yield api


@pytest.fixture
def auth(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, http=endpoint.client(), clock=clock)


@pytest.fixture
def bound(mount: Mount) -> ClientCredentials:
    return ClientCredentials(mount.path, http=BoundEndpoint().client(), dpop=True)


@pytest.mark.parametrize("make", [RequestsAuth, TokenPoolManager])
async def test_async_client_for_the_issuer_is_refused_by_libraries_of_threads(
    mount: Mount, make: Callable[[ClientCredentials], object]
) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(ValueError, match="http="):
            make(ClientCredentials(mount.path, http=http))


@pytest.fixture
def in_cluster(mount: Mount, endpoint: Endpoint) -> ClientCredentials:
    return ClientCredentials(mount.path, http=endpoint.client(), allow_http=("payroll.svc",))


def test_request_of_requests_through_a_proxy_has_the_token(in_cluster: ClientCredentials, api: ApiServer) -> None:
    with requests.Session() as session:
        session.auth, session.proxies = RequestsAuth(in_cluster), {"http": api.url}
        session.get("http://payroll.svc/salaries")
    assert api.tokens == ["token-1"]


def test_request_of_urllib3_through_a_proxy_has_the_token_only_for_its_origin(
    in_cluster: ClientCredentials, api: ApiServer
) -> None:
    pools = TokenProxyManager(in_cluster, api.url)
    pools.request("GET", "http://payroll.svc/salaries?year=2027")
    api.location = "http://other.svc/"
    pools.request("GET", "http://payroll.svc/to/x")
    pools.clear()
    assert {request.path: request.token for request in api.sent} == {
        "http://payroll.svc/salaries?year=2027": "token-1",
        "http://payroll.svc/to/x": "token-1",
        "http://other.svc/": None,
    }


async def test_request_of_aiohttp_through_a_proxy_has_the_token(in_cluster: ClientCredentials, api: ApiServer) -> None:
    async with (
        aiohttp.ClientSession(middlewares=[token_middleware(in_cluster)], proxy=api.url) as session,
        session.get("http://payroll.svc/salaries") as response,
    ):
        assert response.status == 200
    assert api.tokens == ["token-1"]


# requests


def test_requests_repeats_a_multipart_upload(auth: ClientCredentials, api: ApiServer) -> None:
    api.good = {"token-2"}
    with requests.Session() as session:
        response = session.post(api.url, files={"slip": ("slip.txt", b"pay")}, auth=RequestsAuth(auth))
    assert response.status_code == 200
    first, second = api.sent
    assert first.body == second.body != b""
    assert [earlier.status_code for earlier in response.history] == [401]


def test_requests_without_a_session_have_the_token(auth: ClientCredentials, api: ApiServer, other: ApiServer) -> None:
    api.location = f"{other.url}/"
    assert requests.get(f"{api.url}/to/x", auth=RequestsAuth(auth), timeout=10).status_code == 200
    assert [*api.tokens, *other.tokens] == ["token-1", None]


def test_next_request_of_a_redirect_has_no_token_for_another_origin(
    bound: ClientCredentials, api: ApiServer, other: ApiServer
) -> None:
    api.location = f"{other.url}/"
    with requests.Session() as session:
        session.auth = RequestsAuth(bound)
        following = session.get(f"{api.url}/to/x", allow_redirects=False).next
        assert following is not None
        assert session.send(following).status_code == 200
    assert [request.has_token_or_proof for request in other.sent] == [False]


@pytest.mark.parametrize("location", ["http://payroll.example:99999/", "http://[::1", "http://payroll.example:x/"])
def test_redirect_to_a_url_that_cannot_be_read_is_as_without_a_token(
    auth: ClientCredentials, api: ApiServer, location: str
) -> None:
    api.location = location
    outcomes = []
    for each in (None, RequestsAuth(auth)):
        for follow in (False, True):
            try:
                outcomes.append(str(requests.get(f"{api.url}/to/x", auth=each, allow_redirects=follow, timeout=10)))
            except ValueError as error:  # requests.InvalidURL is one
                outcomes.append(repr(error))
    assert outcomes[:2] == outcomes[2:]


def test_hooks_of_the_application_see_the_last_response(auth: ClientCredentials, api: ApiServer) -> None:
    api.good = {"token-2"}
    seen: list[int] = []

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(response.status_code)

    with requests.Session() as session:
        session.auth = RequestsAuth(auth)
        session.get(api.url, hooks={"response": hook})
    assert seen == [200]


def test_streamed_response_can_be_read_after_a_repetition(auth: ClientCredentials, api: ApiServer) -> None:
    api.good = {"token-2"}
    with requests.Session() as session:
        session.auth = RequestsAuth(auth)
        assert session.get(api.url, stream=True).text == "salaries"


class Upgrade(requests.adapters.HTTPAdapter):
    """Redirects http to https of the same host, which keeps `Authorization` in requests."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str | None, set[str]]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append((request.url, {"Authorization", "DPoP"} & set(request.headers)))
        raw = urllib3.HTTPResponse(io.BytesIO(), {"Location": "https://localhost/"}, preload_content=False)
        raw.status = 307 if str(request.url).startswith("http:") else 200
        return self.build_response(request, raw)


def test_upgrade_to_https_is_another_origin(bound: ClientCredentials) -> None:
    with requests.Session() as session:
        session.auth, adapter = RequestsAuth(bound), Upgrade()
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        assert session.get("http://localhost/").status_code == 200
    assert adapter.sent == [("http://localhost/", {"Authorization", "DPoP"}), ("https://localhost/", set())]


def test_copies_of_a_prepared_request_send_no_token_to_another_origin(bound: ClientCredentials) -> None:
    with requests.Session() as session:
        session.auth, adapter = RequestsAuth(bound), Upgrade()
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        prepared = session.prepare_request(requests.Request("GET", "http://localhost/"))
        for copied in (prepared.copy(), prepared.copy(), pickle.loads(pickle.dumps(prepared))):
            session.send(copied)
    assert [headers for _, headers in adapter.sent] == [{"Authorization", "DPoP"}, set()] * 3


def test_response_can_be_pickled(auth: ClientCredentials, api: ApiServer) -> None:
    response = requests.get(api.url, auth=RequestsAuth(auth), timeout=10)
    copied = pickle.loads(pickle.dumps(response))
    assert copied.text == "salaries"
    with requests.Session() as session:
        assert session.send(copied.request).status_code == 200


def test_redirect_to_nowhere_is_returned(auth: ClientCredentials, api: ApiServer) -> None:
    assert requests.get(f"{api.url}/to/x", auth=RequestsAuth(auth), timeout=10).status_code == 307


def test_closed_file_is_not_sent_again(auth: ClientCredentials, api: ApiServer, tmp_path: Path) -> None:
    api.good = {"token-2"}
    file = (tmp_path / "slip").open("w+b")
    file.write(b"pay")
    file.seek(0)

    def close(response: requests.Response, **_: Any) -> None:
        file.close()

    with requests.Session() as session:
        session.hooks["response"] = [close]
        session.auth = RequestsAuth(auth)
        request = session.prepare_request(requests.Request("POST", api.url, data=file))
        request.hooks["response"].reverse()  # so that the file is closed before the adapter sees the refusal
        assert session.send(request).status_code == 401


# urllib3


def test_each_retry_of_urllib3_has_a_proof_of_its_own(bound: ClientCredentials, api: ApiServer) -> None:
    api.failures = [503, 503]
    retries = urllib3.Retry(3, status_forcelist=[503], backoff_factor=0)
    pools = TokenPoolManager(bound, retries=retries)
    assert pools.request("GET", api.url).status == 200
    pools.clear()
    proofs = [request.headers["dpop"] for request in api.sent]
    assert len(set(proofs)) == len(proofs) == 3


def test_urllib3_does_not_retry_an_error_of_the_token_request(auth: ClientCredentials, endpoint: Endpoint) -> None:
    endpoint.answers = [RuntimeError("of any kind")]
    pools = TokenPoolManager(auth, retries=urllib3.Retry(5, backoff_factor=0))
    with pytest.raises(urllib3.exceptions.HTTPError, match="temporarily_unavailable"):
        pools.request("GET", "https://payroll.example/")
    assert len(endpoint.requests) == 1


def test_header_of_the_application_is_replaced(auth: ClientCredentials, api: ApiServer) -> None:
    pools = TokenPoolManager(auth, headers={"authorization": "Basic x", "accept": "text/plain"})
    assert pools.request("GET", api.url).status == 200
    assert pools.request("GET", api.url, headers={"AUTHORIZATION": "Basic x"}).status == 200
    pools.clear()
    assert [request.headers["authorization"] for request in api.sent] == ["Bearer token-1"] * 2
    assert api.sent[0].headers["accept"] == "text/plain"


def test_response_that_is_not_preloaded_can_be_read(auth: ClientCredentials, api: ApiServer) -> None:
    api.good = {"token-2"}
    pools = TokenPoolManager(auth)
    response = pools.request("GET", api.url, preload_content=False)
    assert response.read() == b"salaries"
    pools.clear()


def test_body_that_calls_the_same_pool_manager_is_sent(
    auth: ClientCredentials, api: ApiServer, other: ApiServer
) -> None:
    pools = TokenPoolManager(auth)

    def body() -> Iterator[bytes]:
        yield pools.request("GET", other.url).data

    assert pools.request("POST", api.url, body=body()).status == 200
    pools.clear()
    assert [*api.tokens, *other.tokens] == ["token-1", "token-1"]
    assert api.sent[0].body == b"salaries"


# aiohttp


async def test_redirect_is_recognised_behind_a_middleware_with_tasks_of_its_own(
    auth: ClientCredentials, api: ApiServer, other: ApiServer
) -> None:
    async def in_another_task(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await asyncio.create_task(handler(request))
        return response

    api.location = f"{other.url}/"
    async with aiohttp.ClientSession(middlewares=[in_another_task, token_middleware(auth)]) as session:
        for timeout in (None, 10):
            async with session.get(f"{api.url}/to/x", timeout=aiohttp.ClientTimeout(timeout)) as response:
                assert response.status == 200
    assert other.tokens == [None, None]


async def test_each_call_may_have_another_origin(auth: ClientCredentials, api: ApiServer, other: ApiServer) -> None:
    api.location, other.location = f"{other.url}/", f"{api.url}/"
    async with aiohttp.ClientSession(middlewares=[token_middleware(auth)]) as session:
        calls = [session.get(f"{url}/to/x") for url in (api.url, other.url) for _ in range(20)]
        for response in await asyncio.gather(*calls):
            assert await response.read() == b"salaries"
    for server in (api, other):
        assert {request.path: request.token for request in server.sent} == {"/to/x": "token-1", "/": None}


async def test_middleware_forgets_a_call_that_has_ended(auth: ClientCredentials, api: ApiServer) -> None:
    api.location = "/end"
    middleware: Any = token_middleware(auth)
    async with aiohttp.ClientSession(middlewares=[middleware]) as session:
        for _ in range(10):
            async with session.get(f"{api.url}/to/x") as response:
                assert response.status == 200
    del response
    for _ in range(100):  # the event loop may still refer to the last one
        gc.collect()
        await asyncio.sleep(0.01)
        if not middleware._calls:
            break
    assert (len(middleware._calls), len(middleware._redirects)) == (0, 0)


@pytest.mark.parametrize("body", [{"json": {"pay": 1}}, {"data": "pay"}, {"data": {"pay": "1"}}], ids=str)
async def test_aiohttp_repeats_a_body_in_memory(auth: ClientCredentials, api: ApiServer, body: dict[str, Any]) -> None:
    api.good = {"token-2"}
    async with (
        aiohttp.ClientSession(middlewares=[token_middleware(auth)]) as session,
        session.post(api.url, **body) as response,
    ):
        assert response.status == 200
    first, second = api.sent
    assert first.body == second.body != b""


# Wrong arguments


def test_requests_with_the_credentials_themselves_names_the_adapter(auth: ClientCredentials) -> None:
    session = requests.Session()
    session.auth = auth  # type: ignore[assignment]  # a type checker refuses it too
    for send in (session.get, lambda url: requests.get(url, auth=auth, timeout=5)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"scopewright.client.requests.RequestsAuth\(credentials\)"):
            send("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "adapter",
    [
        RequestsAuth,
        TokenPoolManager,
        token_middleware,
        call_credentials,
        lambda given: insecure_channel("127.0.0.1:1", given),
        lambda given: aio_insecure_channel("127.0.0.1:1", given),
    ],
)
def test_adapter_with_a_path_names_the_credentials(adapter: Callable[[Any], object], mount: Mount) -> None:
    with pytest.raises(TypeError, match=r"takes a ClientCredentials object, such as ClientCredentials\(\), not str"):
        adapter(str(mount.path))
