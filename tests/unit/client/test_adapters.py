"""What every adapter for an HTTP library keeps: with the real library and a real server."""

import io
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from scopewright.client import ClientCredentials, SecretError, TokenError
from tests.unit.client.api_server import ApiServer, api_server
from tests.unit.client.callers import CALLERS, Caller
from tests.unit.client.support import Endpoint, FakeClock, Mount, busy
from tests.unit.forked import in_child, slow_issuer

Make = Callable[..., Caller]
REDIRECTS = [301, 302, 303, 307, 308]


class BoundEndpoint(Endpoint):
    """Issues tokens that are bound to a key."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        return httpx.Response(200, json=answer.json() | {"token_type": "DPoP"})


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with api_server() as api:
        yield api


@pytest.fixture
def other() -> Iterator[ApiServer]:
    with api_server() as api:
        yield api


@pytest.fixture(params=CALLERS, ids=lambda kind: kind.__name__.removesuffix("Caller"))
def kind(request: pytest.FixtureRequest) -> type[Caller]:
    chosen: type[Caller] = request.param
    return chosen


@pytest.fixture
def make(kind: type[Caller], mount: Mount, endpoint: Endpoint, clock: FakeClock) -> Iterator[Make]:
    """Makes a caller, with options for its `ClientCredentials`."""
    with ExitStack() as stack:

        def made(**options: object) -> Caller:
            defaults = {"http": endpoint.client(), "clock": clock, "jitter": lambda: 0.0}
            if options.get("dpop"):
                defaults = {"http": BoundEndpoint().client()}  # proofs have the time of the server
            caller = kind(ClientCredentials(mount.path, **(defaults | options)))  # type: ignore[arg-type]
            stack.callback(caller.close)
            return caller

        yield made


@pytest.fixture
def caller(make: Make) -> Caller:
    return make()


# Tokens


def test_requests_share_one_token(caller: Caller, api: ApiServer, endpoint: Endpoint) -> None:
    assert [caller.send("GET", f"{api.url}/salaries?year=2027") for _ in range(5)] == [200] * 5
    assert [request.headers["authorization"] for request in api.sent] == ["Bearer token-1"] * 5
    assert len(endpoint.requests) == 1


def test_concurrent_requests_share_one_fetch(
    kind: type[Caller], caller: Caller, api: ApiServer, endpoint: Endpoint
) -> None:
    count = 100 if "Async" in kind.__bases__[0].__name__ else 32
    assert caller.send_many(count, f"{api.url}/salaries") == [200] * count
    assert api.tokens == ["token-1"] * count
    assert len(endpoint.requests) == 1


def test_rotated_credential_is_used_for_the_next_token(
    caller: Caller, api: ApiServer, endpoint: Endpoint, mount: Mount, clock: FakeClock
) -> None:
    assert caller.send("GET", api.url) == 200
    mount.write(client_secret="SecretNumberTwo")
    endpoint.secret = "SecretNumberTwo"
    clock.instant += 601
    assert caller.send("GET", api.url) == 200
    assert api.tokens == ["token-1", "token-2"]


def test_token_is_used_while_the_issuer_is_unavailable_for_five_minutes(
    caller: Caller, api: ApiServer, endpoint: Endpoint, clock: FakeClock
) -> None:
    assert caller.send("GET", api.url) == 200
    endpoint.answers = [busy("3600") for _ in range(100)]
    for _ in range(10):
        clock.instant += 30
        assert caller.send("GET", api.url) == 200
    assert set(api.tokens) == {"token-1"}


def test_refused_token_is_replaced_and_the_request_repeated(caller: Caller, api: ApiServer) -> None:
    api.good = {"token-2"}
    assert caller.send("POST", f"{api.url}/salaries", b"pay") == 200
    assert api.tokens == ["token-1", "token-2"]
    assert [request.body for request in api.sent] == [b"pay", b"pay"]


def test_refused_token_is_replaced_once_for_all_requests(caller: Caller, api: ApiServer, endpoint: Endpoint) -> None:
    api.good = {"token-2"}
    assert caller.send_many(16, api.url) == [200] * 16
    assert len(endpoint.requests) == 2


def test_request_is_repeated_once_only(caller: Caller, api: ApiServer) -> None:
    api.good = set()
    assert caller.send("GET", api.url) == 401
    assert api.tokens == ["token-1", "token-2"]


def test_refusal_is_returned_if_there_is_no_new_token(caller: Caller, api: ApiServer, endpoint: Endpoint) -> None:
    assert caller.send("GET", api.url) == 200
    api.good = set()
    endpoint.answers = [busy("3600")]
    assert caller.send("GET", api.url) == 401
    assert api.tokens == ["token-1", "token-1"]


def test_streamed_body_is_sent_once_and_the_next_request_has_a_new_token(caller: Caller, api: ApiServer) -> None:
    api.good = {"token-2"}
    assert caller.send("POST", api.url, [b"pay", b"slip"]) == 401
    assert caller.send("POST", api.url, [b"pay", b"slip"]) == 200
    assert [request.body for request in api.sent] == [b"payslip"] * 2


def test_file_object_is_sent_again_from_its_position_or_not_at_all(
    kind: type[Caller], caller: Caller, api: ApiServer
) -> None:
    api.good = {"token-2"}
    file = io.BytesIO(b"header:payslip")
    file.seek(7)
    assert caller.send("POST", api.url, file) == (200 if kind.repeats_file_objects else 401)
    assert {request.body for request in api.sent} == {b"payslip"}


# Destinations


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "dpop"])
def test_redirect_to_another_origin_gets_neither_token_nor_proof(
    make: Make, api: ApiServer, other: ApiServer, status: int, dpop: bool
) -> None:
    api.location, api.redirect_status = f"{other.url}/to/x", status
    other.location = f"{api.url}/end"
    assert make(dpop=dpop).send("POST", f"{api.url}/to/x", b"pay") == 200
    assert [request.path for request in (*api.sent, *other.sent)] == ["/to/x", "/end", "/to/x"]
    assert [request.has_token_or_proof for request in (*api.sent, *other.sent)] == [True, False, False]


@pytest.mark.parametrize(
    "location", ["//{other}/", "HTTP://{other}/", "http://{api}@{other}/", "//{api}@{other}/#{api}"]
)
def test_redirect_that_resembles_the_origin_gets_no_token(
    caller: Caller, api: ApiServer, other: ApiServer, location: str
) -> None:
    api.location = location.format(api=urlsplit(api.url).netloc, other=urlsplit(other.url).netloc)
    assert caller.send("GET", f"{api.url}/to/x") == 200
    assert [request.has_token_or_proof for request in other.sent] == [False]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "dpop"])
def test_redirect_within_the_origin_has_the_token_and_a_proof_of_its_own(
    make: Make, api: ApiServer, status: int, dpop: bool
) -> None:
    api.location, api.redirect_status = "/end?x=1", status
    assert make(dpop=dpop).send("POST", f"{api.url}/to/x", b"pay") == 200
    assert api.tokens == ["token-1", "token-1"]
    assert len(api.proofs) == (2 if dpop else 0)


def test_token_that_is_refused_after_a_redirect_is_replaced(caller: Caller, api: ApiServer) -> None:
    api.location, api.good = "/end", {"token-1"}
    assert caller.send("GET", f"{api.url}/to/x") == 200
    api.good = {"token-2"}
    assert caller.send("GET", f"{api.url}/to/x") == 200
    assert api.sent[-1].path == "/end"


def test_redirect_that_is_not_followed_is_returned(caller: Caller, api: ApiServer, other: ApiServer) -> None:
    api.location = f"{other.url}/"
    for _ in range(2):
        assert caller.send("GET", f"{api.url}/to/x", follow=False) == 307
    assert caller.send("GET", other.url) == 200
    assert [*api.tokens, *other.tokens] == ["token-1"] * 3


def test_request_over_plain_http_is_refused_and_the_error_names_the_argument(make: Make, endpoint: Endpoint) -> None:
    with pytest.raises(TokenError, match=r'allow_http=\("payroll.payroll.svc",\)') as caught:
        make().send("GET", "http://payroll.payroll.svc:8080/salaries")
    assert caught.value.error == "invalid_request"
    assert endpoint.requests == []


def test_token_is_sent_to_the_given_hosts_only(make: Make, api: ApiServer, other: ApiServer) -> None:
    caller = make(hosts=(urlsplit(api.url).netloc,))
    assert caller.send("GET", api.url) == 200
    with pytest.raises(TokenError, match="hosts="):
        caller.send("GET", other.url)
    assert other.sent == []


# DPoP


def test_nonce_of_the_api_is_used_and_kept(make: Make, api: ApiServer) -> None:
    api.nonce = "one"
    caller = make(dpop=True)
    assert caller.send("POST", f"{api.url}/salaries?year=2027", b"pay") == 200
    assert caller.send("GET", f"{api.url}/salaries") == 200
    api.nonce = "two"
    assert caller.send("GET", f"{api.url}/salaries") == 200
    assert [proof.nonce for proof in api.proofs] == [None, "one", "one", "one", "two"]
    assert [request.body for request in api.sent[:2]] == [b"pay", b"pay"]


def test_refused_bound_token_is_replaced_with_a_new_proof(make: Make, api: ApiServer) -> None:
    api.good, api.nonce = {"token-2"}, "one"
    assert make(dpop=True).send("GET", api.url) == 200
    assert len(api.proofs) == 3


def test_stream_without_nonce_is_sent_once_and_the_next_request_has_the_nonce(make: Make, api: ApiServer) -> None:
    api.nonce = "one"
    caller = make(dpop=True)
    assert caller.send("POST", api.url, [b"pay"]) == 401
    assert caller.send("POST", api.url, [b"pay"]) == 200


# Errors


def test_errors_are_those_of_the_library_but_not_the_ones_that_are_retried(
    kind: type[Caller], make: Make, api: ApiServer, endpoint: Endpoint
) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"})]
    with pytest.raises(kind.library) as caught:
        make().send("GET", api.url)
    assert isinstance(caught.value, TokenError)
    assert not isinstance(caught.value, SecretError)
    assert not isinstance(caught.value, kind.repeated)
    assert (caught.value.error, caught.value.status) == ("invalid_scope", 400)
    assert api.sent == []


def test_url_that_cannot_be_read_is_an_error_of_the_library(kind: type[Caller], caller: Caller) -> None:
    with pytest.raises((kind.library, httpx.InvalidURL)):
        caller.send("GET", "https://payroll.example/" + "x" * 70_000)


def test_missing_secret_is_an_error_of_the_library_too(kind: type[Caller], tmp_path: Path, api: ApiServer) -> None:
    caller = kind(ClientCredentials(tmp_path / "no"))
    with pytest.raises(SecretError) as caught:
        caller.send("GET", api.url)
    caller.close()
    assert isinstance(caught.value, kind.library)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copied, SecretError)
    assert isinstance(copied, kind.library)
    assert (str(copied), copied.description) == (str(caught.value), caught.value.description)


def test_credentials_raise_the_plain_error_outside_the_library(caller: Caller, endpoint: Endpoint) -> None:
    endpoint.answers = [httpx.Response(400, json={"error": "invalid_scope"})]
    with pytest.raises(TokenError) as caught:
        caller.credentials.token_sync()
    assert type(caught.value) is TokenError


def test_no_log_contains_a_token_or_proof(make: Make, api: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="scopewright")
    caplog.set_level(logging.DEBUG)
    api.good, api.nonce, api.location = {"token-2"}, "one", "/end"
    assert make(dpop=True).send("GET", f"{api.url}/to/x") == 200
    secret = [value for request in api.sent for value in (request.token, request.headers["dpop"])]
    written = [record.getMessage() for record in caplog.records if record.name.startswith("scopewright")]
    assert len(secret) > 4
    assert [line for line in written if any(value and value in line for value in secret)] == []


# Processes


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_child_forked_during_a_fetch_gets_its_own_token(kind: type[Caller], tmp_path: Path, api: ApiServer) -> None:
    with slow_issuer() as issuer:
        Mount(tmp_path / "forked", issuer=issuer.url, token_endpoint=f"{issuer.url}/token")
        caller = kind(ClientCredentials(tmp_path / "forked"))
        with issuer.busy_with(caller.credentials.token_sync):
            assert in_child(lambda: str(caller.send("GET", api.url))) == "200"
        assert caller.send("GET", api.url) == 200
        caller.close()
    assert api.tokens == ["token-1", "token-2"]
