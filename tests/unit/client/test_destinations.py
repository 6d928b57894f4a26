"""To which origins tokens are sent. With real servers, because httpx keeps some headers in redirects."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError
from scopewright.client.httpx import guard_redirects
from tests.unit.client.support import Endpoint, FakeClock, Mount

SECURITY_HEADERS = ("authorization", "dpop")


class Server:
    """Redirects `/to/…` to the URL in `location`; keeps the headers of every request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.location = ""
        self.status = 307
        self.seen: list[tuple[str, dict[str, str]]] = []

    def last(self) -> dict[str, str]:
        return {name: value for name, value in self.seen[-1][1].items() if name in SECURITY_HEADERS}


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            redirect = self.path.startswith("/to/")
            self.send_response(server.status if redirect else 200)
            if redirect:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        threading.Thread(target=lambda: http.serve_forever(0.01), daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        yield stack.enter_context(serving()), stack.enter_context(serving())


def bound(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "token-1", "token_type": "DPoP", "expires_in": 600})


@pytest.fixture(params=[False, True], ids=["bearer", "dpop"])
def auth(request: pytest.FixtureRequest, mount: Mount, endpoint: Endpoint, clock: FakeClock) -> ClientCredentials:
    if not request.param:
        return ClientCredentials(mount.path, http=endpoint.client(), clock=clock)
    http = httpx.Client(transport=httpx.MockTransport(bound))
    return ClientCredentials(mount.path, http=http, clock=clock, dpop=True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_origin_gets_neither_token_nor_proof(
    servers: tuple[Server, Server], auth: ClientCredentials, status: int
) -> None:
    first, second = servers
    first.location, first.status = f"{second.url}/", status
    with httpx.Client(auth=auth, follow_redirects=True) as client:
        assert client.post(f"{first.url}/to/x", content=b"1").status_code == 200
    assert first.last()
    assert second.last() == {}


async def test_redirect_of_an_async_client_to_another_origin_gets_no_token(
    servers: tuple[Server, Server], auth: ClientCredentials
) -> None:
    first, second = servers
    first.location = f"{second.url}/"
    async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
        assert (await client.get(f"{first.url}/to/x")).status_code == 200
    assert second.last() == {}


def test_redirect_to_another_origin_and_back_gets_no_token(
    servers: tuple[Server, Server], auth: ClientCredentials
) -> None:
    first, second = servers
    first.location, second.location = f"{second.url}/to/back", f"{first.url}/end"
    with httpx.Client(auth=auth, follow_redirects=True) as client:
        client.get(f"{first.url}/to/x")
    assert second.last() == {}
    assert "authorization" not in first.last()


def test_redirect_within_the_origin_keeps_the_token(servers: tuple[Server, Server], auth: ClientCredentials) -> None:
    first, _ = servers
    first.location = "/end"
    with httpx.Client(auth=auth, follow_redirects=True) as client:
        client.get(f"{first.url}/to/x")
    assert first.seen[-1][0] == "/end"
    assert first.last()["authorization"].endswith("token-1")


def test_request_through_a_proxy_keeps_the_token(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    with serving() as proxy:
        allowed = ("payroll.svc",)
        auth = ClientCredentials(mount.path, http=endpoint.client(), clock=clock, allow_http=allowed)
        with httpx.Client(auth=auth, proxy=proxy.url) as client:
            client.get("http://payroll.svc/salaries")
        assert proxy.last() == {"authorization": "Bearer token-1"}


def test_credential_for_an_issuer_on_loopback_is_not_sent_to_a_proxy(
    servers: tuple[Server, Server], mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, proxy = servers
    mount.write(issuer=issuer.url, token_endpoint=f"{issuer.url}/token")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with pytest.raises(TokenError, match="not a JSON object"):
        ClientCredentials(mount.path).token_sync()
    assert ([path for path, _ in issuer.seen], proxy.seen) == (["/token"], [])


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        ("http://localhost/", "https://localhost/", False),  # httpx keeps Authorization here
        ("https://payroll.example/", "https://payroll.example:443/x", True),
        ("https://payroll.example/", "https://payroll.example:8443/", False),
        ("https://payroll.example/", "http://payroll.example/", False),
        ("https://payroll.example/", "https://payroll.example.evil.example/", False),
    ],
)
def test_token_is_sent_for_the_same_scheme_host_and_port_only(first: str, then: str, kept: bool) -> None:
    request = httpx.Request("GET", first)
    guard_redirects(request, asynchronous=False)
    headers = [(b"Authorization", b"DPoP t"), (b"DPoP", b"p"), (b"Accept", b"*/*")]
    sent = httpcore.Request("GET", then, headers=headers)
    request.extensions["trace"]("http2.send_request_headers.started", {"request": sent})
    assert sent.headers == (headers if kept else headers[2:])


def test_upgrade_to_https_and_back_gets_no_token() -> None:
    """httpx keeps Authorization in an upgrade, and the other origin chooses the URL to come back to."""
    request = httpx.Request("GET", "http://localhost/")
    guard_redirects(request, asynchronous=False)
    sent = []
    for url in ("http://localhost/", "https://localhost/", "http://localhost/chosen"):
        following = httpcore.Request("GET", url, headers=[(b"Authorization", b"Bearer t")])
        request.extensions["trace"]("http11.send_request_headers.started", {"request": following})
        sent.append(following.headers)
    assert sent == [[(b"Authorization", b"Bearer t")], [], []]


def test_request_to_a_proxy_does_not_end_the_token() -> None:
    request = httpx.Request("GET", "https://payroll.example/")
    guard_redirects(request, asynchronous=False)
    for method, url, kept in (
        ("CONNECT", "http://proxy.example:3128/", False),
        ("GET", "https://payroll.example/", True),
    ):
        sent = httpcore.Request(method, url, headers=[(b"Authorization", b"Bearer t")])
        request.extensions["trace"]("http11.send_request_headers.started", {"request": sent})
        assert bool(sent.headers) is kept


def test_trace_extension_of_the_application_still_works(
    servers: tuple[Server, Server], auth: ClientCredentials
) -> None:
    events: list[str] = []
    with httpx.Client(auth=auth) as client:
        request = client.build_request(
            "GET", servers[0].url, extensions={"trace": lambda event, info: events.append(event)}
        )
        client.send(request)
        client.send(request)
    assert events.count("http11.send_request_headers.started") == 2


@pytest.mark.parametrize("url", ["http://payroll.payroll.svc/", "http://payroll.payroll.svc:8080/x", "ftp://payroll/"])
def test_no_token_is_sent_over_plain_http(auth: ClientCredentials, url: str) -> None:
    sent: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    transport = httpx.MockTransport(api)
    with httpx.Client(auth=auth, transport=transport) as client, pytest.raises(TokenError) as caught:
        client.get(url)
    assert "no token is sent over plain HTTP to payroll" in caught.value.description
    assert sent == []


@pytest.mark.parametrize("url", ["http://payroll.payroll.svc/", "http://[fd00::1]:8080/"])
def test_argument_in_the_error_allows_the_host(mount: Mount, endpoint: Endpoint, url: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    auth = ClientCredentials(mount.path, http=endpoint.client(), allow_http=("leave.leave.svc",))
    with httpx.Client(auth=auth, transport=transport) as client, pytest.raises(TokenError) as caught:
        client.get(url)
    printed = eval(caught.value.description.rpartition("allow_http=")[2])
    assert "leave.leave.svc" in printed
    allowed = ClientCredentials(mount.path, http=endpoint.client(), allow_http=printed)
    with httpx.Client(auth=allowed, transport=transport) as client:
        assert client.get(url).status_code == 200
        with httpx.Client(auth=allowed.on_behalf_of("a caller"), transport=transport) as other:
            assert other.get(url).status_code == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://localhost/", "http://[::1]/"])
def test_loopback_needs_no_argument(mount: Mount, endpoint: Endpoint, url: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    auth = ClientCredentials(mount.path, http=endpoint.client())
    with httpx.Client(auth=auth, transport=transport) as client:
        assert client.get(url).status_code == 200


def test_hosts_argument_restricts_the_token_to_these_hosts(mount: Mount, endpoint: Endpoint) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    hosts = ("payroll.example", "leave.example:8443")
    auth = ClientCredentials(mount.path, http=endpoint.client(), hosts=hosts)
    with httpx.Client(auth=auth, transport=transport) as client:
        for good in ("https://payroll.example/", "https://PAYROLL.example:444/", "https://leave.example:8443/"):
            assert client.get(good).status_code == 200
        for other in ("https://leave.example/", "https://evil.example/", "https://x.payroll.example/"):
            with pytest.raises(TokenError) as caught:
                client.get(other)
            assert f'"{httpx.URL(other).host}"' in caught.value.description.rpartition("pass hosts=")[2]


@pytest.mark.parametrize("wrong", ["https://payroll.example", "payroll.example/x", "u@payroll.example", "", " "])
def test_url_is_refused_as_host(mount: Mount, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^hosts= takes hosts such as payroll\.payroll\.svc"):
        ClientCredentials(mount.path, hosts=(wrong,))
    with pytest.raises(ValueError, match=r"^allow_http= takes hosts"):
        ClientCredentials(mount.path, allow_http=(wrong,))


def test_single_host_may_be_a_string(mount: Mount, endpoint: Endpoint) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    auth = ClientCredentials(mount.path, http=endpoint.client(), allow_http="payroll.svc")
    with httpx.Client(auth=auth, transport=transport) as client:
        assert client.get("http://payroll.svc/").status_code == 200
