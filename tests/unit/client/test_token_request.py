"""Requests to the token endpoint, and its responses."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError, transport
from tests.unit.client.support import Endpoint, FakeClock, Mount, busy, refused


def credentials(mount: Mount, endpoint: Endpoint, clock: FakeClock, **more: Any) -> ClientCredentials:
    return ClientCredentials(mount.path, http=endpoint.client(), clock=clock, jitter=lambda: 0.0, **more)


def error_of(client: ClientCredentials) -> TokenError:
    with pytest.raises(TokenError) as caught:
        client.token_sync()
    return caught.value


def test_token_request_is_client_credentials_with_basic(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    token = credentials(mount, endpoint, clock).token_sync()
    assert (token.value, token.expires_at) == ("token-1", clock.instant + 600)
    assert "token-1" not in repr(token)
    assert endpoint.form() == {"grant_type": ["client_credentials"]}
    assert endpoint.pair() == ("leave.leave-worker", "SecretNumberOne")
    assert str(endpoint.requests[0].url) == "https://issuer.example/token"


def test_client_id_and_secret_are_form_encoded(mount: Mount, clock: FakeClock) -> None:
    endpoint = Endpoint("p:a%s s+ä")
    mount.write(client_id="na:me é", client_secret="p:a%s s+ä")
    credentials(mount, endpoint, clock).token_sync()
    assert endpoint.pair() == ("na:me é", "p:a%s s+ä")


def test_resource_and_scope_arguments_are_sent(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    credentials(mount, endpoint, clock, resource="https://payroll.hr.example", scope="a b").token_sync()
    assert endpoint.form() == {
        "grant_type": ["client_credentials"],
        "resource": ["https://payroll.hr.example"],
        "scope": ["a b"],
    }


def test_audience_and_scope_entries_are_sent_by_default(mount: Mount, clock: FakeClock) -> None:
    endpoint = Endpoint()
    mount.write(audience="https://payroll.hr.example", scope="payroll.read")
    token = credentials(mount, endpoint, clock).token_sync()
    assert endpoint.form()["resource"] == ["https://payroll.hr.example"]
    assert endpoint.form()["scope"] == ["payroll.read"]
    assert token.scopes == {"payroll.read"}
    credentials(mount, endpoint, clock, resource="https://leave.hr.example").token_sync()
    assert endpoint.form()["resource"] == ["https://leave.hr.example"]
    assert "scope" not in endpoint.form(), "the scope entry is for another API"


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/token", "ftp://127.0.0.1/", "https://u:p@issuer.example/", "token", "http://127.1.evil"],
)
def test_the_secret_is_not_sent_without_https(mount: Mount, endpoint: Endpoint, clock: FakeClock, url: str) -> None:
    mount.write(token_endpoint=url)
    assert "must be https" in error_of(credentials(mount, endpoint, clock)).description
    assert endpoint.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]/token"])
def test_loopback_needs_no_https(mount: Mount, endpoint: Endpoint, clock: FakeClock, url: str) -> None:
    mount.write(token_endpoint=url, issuer=url.removesuffix("/token"))
    assert credentials(mount, endpoint, clock).token_sync()


def test_argument_in_the_error_allows_plain_http(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    mount.write(token_endpoint="http://issuer.sso.svc:8080/token", issuer="http://issuer.sso.svc:8080")
    message = error_of(credentials(mount, endpoint, clock, allow_http=("api.svc",))).description
    assert message.endswith('use https, or pass allow_http=("api.svc", "issuer.sso.svc")')
    assert endpoint.requests == []
    for allowed in ("issuer.sso.svc", "issuer.sso.svc:8080", "ISSUER.sso.svc"):
        assert credentials(mount, endpoint, clock, allow_http=(allowed,)).token_sync()
    assert error_of(credentials(mount, endpoint, clock, allow_http=("issuer.sso.svc:80",)))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/token",
        "https://issuer.example:8443/token",
        "https://issuer.example.evil.example/token",
        "https://sub.issuer.example/token",
        "http://127.0.0.1:8080/token",
    ],
)
def test_credential_is_sent_to_the_origin_of_the_issuer_only(
    mount: Mount, endpoint: Endpoint, clock: FakeClock, url: str
) -> None:
    mount.write(token_endpoint=url)
    assert (
        "not of the same scheme, host and port as the issuer"
        in error_of(credentials(mount, endpoint, clock)).description
    )
    assert endpoint.requests == []


def test_origins_of_issuer_and_token_endpoint_are_normalised(
    mount: Mount, endpoint: Endpoint, clock: FakeClock
) -> None:
    mount.write(token_endpoint="https://ISSUER.example:443/tenant/token", issuer="https://issuer.example/tenant")
    assert credentials(mount, endpoint, clock).token_sync()


@pytest.mark.parametrize("scope", [["payroll.read", "payroll.write"], ("payroll.read", "payroll.write")])
def test_scopes_may_be_a_collection(mount: Mount, endpoint: Endpoint, clock: FakeClock, scope: Any) -> None:
    credentials(mount, endpoint, clock, scope=scope).token_sync()
    assert endpoint.form()["scope"] == ["payroll.read payroll.write"]


def test_scope_or_resource_of_another_type_is_a_type_error(mount: Mount) -> None:
    for scope in (1, [1], b"payroll.read"):
        with pytest.raises(TypeError, match="scope= takes a string"):
            ClientCredentials(mount.path, scope=scope)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="resource= takes the audience of one API, as a string, not list"):
        ClientCredentials(mount.path, resource=["https://payroll.example"])  # type: ignore[arg-type]


def response_of(size: int, encoding: str = "identity") -> httpx.Response:
    return httpx.Response(200, headers={"Content-Encoding": encoding}, stream=httpx.ByteStream(b" " * size))


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("response", "deadline", "error", "description"),
    [
        ((256 * 1024 + 1,), 15.0, "invalid_response", "is larger than 262144 bytes"),
        ((1,), -1.0, "temporarily_unavailable", "took longer than"),
        ((1, "gzip"), 15.0, "invalid_response", "with Content-Encoding"),
    ],
    ids=["large", "slow", "compressed"],
)
async def test_response_without_a_bound_is_refused_without_a_retry(
    mount: Mount, clock: FakeClock, monkeypatch: pytest.MonkeyPatch,
    response: tuple[Any, ...], deadline: float, error: str, description: str, asynchronous: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(transport, "_DEADLINE_SECONDS", deadline)
    endpoint = Endpoint()
    endpoint.answers = [response_of(*response)]
    http = endpoint.async_client() if asynchronous else endpoint.client()
    auth = ClientCredentials(mount.path, http=http, clock=clock)
    with pytest.raises(TokenError) as caught:
        await auth.token() if asynchronous else auth.token_sync()
    assert caught.value.error == error
    assert description in caught.value.description
    assert len(endpoint.requests) == 1


async def test_time_for_an_async_response_includes_its_headers(
    mount: Mount, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer that sends a header every few seconds reaches no timeout of the HTTP client."""

    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30)
        return httpx.Response(200)

    monkeypatch.setattr(transport, "_DEADLINE_SECONDS", 0.05)
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        with pytest.raises(TokenError, match="took longer than"):
            await ClientCredentials(mount.path, http=http, clock=clock).token()


def test_a_redirect_of_the_token_endpoint_is_not_followed(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    endpoint.answers = [httpx.Response(307, headers={"location": "https://evil.example/token"})]
    following = httpx.Client(transport=httpx.MockTransport(endpoint), follow_redirects=True, auth=("me", "mine"))
    error = error_of(ClientCredentials(mount.path, http=following, clock=clock))
    assert (error.error, error.status) == ("invalid_response", 307)
    assert len(endpoint.requests) == 1
    assert endpoint.pair() == ("leave.leave-worker", "SecretNumberOne")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("invalid_client", "two minutes to reach a mount"),
        ("invalid_scope", "status.access lists the audiences and scopes to ask for"),
        ("invalid_scope", "missing there, see its condition AccessGranted"),
        ("invalid_target", "may not ask for https://payroll.hr.example; its status.access lists"),
        ("unauthorized_client", "spec.grantTypes"),
        ("something_new", "refuses the token request"),
    ],
)
def test_error_for_a_refusal_has_advice(
    mount: Mount, endpoint: Endpoint, clock: FakeClock, error: str, advice: str
) -> None:
    endpoint.answers = [refused(error, 400, "because")]
    found = error_of(credentials(mount, endpoint, clock, resource="https://payroll.hr.example"))
    assert (found.error, found.status) == (error, 400)
    assert advice in found.description
    assert "(the issuer says: because)" in found.description
    assert error in str(found)


@pytest.mark.parametrize("client_id", ["leave-worker", "leave.leave-worker"])
def test_client_id_without_namespace_is_named(
    mount: Mount, endpoint: Endpoint, clock: FakeClock, client_id: str
) -> None:
    mount.write(client_id=client_id)
    endpoint.answers = [refused("invalid_client", 401)] * 2
    found = error_of(credentials(mount, endpoint, clock)).description
    assert ("has no namespace: it is NAMESPACE.NAME" in found) is (client_id == "leave-worker")


def test_no_error_contains_the_secret(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    endpoint.answers = [refused("invalid_client", 401, "not SecretNumberOne\r\nX: y")]
    text = str(error_of(credentials(mount, endpoint, clock)))
    assert "SecretNumberOne" not in text
    assert "\n" not in text
    clock.instant += 100
    endpoint.answers = [httpx.ConnectError("SecretNumberOne")] * 9
    assert "SecretNumberOne" not in str(error_of(credentials(mount, endpoint, clock)))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"token_type": "Bearer"}),
        httpx.Response(200, json={"access_token": "", "token_type": "Bearer"}),
        httpx.Response(200, json={"access_token": "a\r\nb", "token_type": "Bearer"}),
        httpx.Response(200, json={"access_token": "abcd", "token_type": "DPoP"}),
        httpx.Response(200, json={"access_token": "abcd"}),
        httpx.Response(200, json={"access_token": "abcd", "token_type": "Bearer", "expires_in": "600"}),
        httpx.Response(200, json={"access_token": "abcd", "token_type": "Bearer", "expires_in": 0}),
        httpx.Response(200, json={"access_token": "abcd", "token_type": "Bearer", "scope": ["a"]}),
        httpx.Response(200, content=b" " * 300_000),
        httpx.Response(404, text="not here"),
        httpx.Response(500, json={"detail": "abcd"}),
        httpx.Response(201, json={}),
    ],
)
def test_invalid_response_is_reported_without_its_content(
    mount: Mount, endpoint: Endpoint, clock: FakeClock, answer: httpx.Response
) -> None:
    endpoint.answers = [answer]
    error = error_of(credentials(mount, endpoint, clock))
    assert error.error == "invalid_response"
    assert "abcd" not in str(error)


def test_retry_after_of_a_busy_endpoint_is_obeyed(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    endpoint.answers = [busy("2"), busy("3")]
    assert credentials(mount, endpoint, clock).token_sync().value == "token-3"
    assert clock.waits == [2.0, 3.0]


@pytest.mark.parametrize("after", ["3600", "11", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_long_retry_after_is_not_waited_for(mount: Mount, endpoint: Endpoint, clock: FakeClock, after: str) -> None:
    endpoint.answers = [busy(after)]
    error = error_of(credentials(mount, endpoint, clock))
    assert (error.error, error.status) == ("temporarily_unavailable", 503)
    assert error.retry_after is not None
    assert clock.waits == []


@pytest.mark.parametrize("after", ["", "soon", "-1", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_retries_without_a_usable_retry_after_are_limited(
    mount: Mount, endpoint: Endpoint, clock: FakeClock, after: str
) -> None:
    endpoint.answers = [busy(after) for _ in range(20)]
    error_of(credentials(mount, endpoint, clock))
    assert len(endpoint.requests) == 4
    assert all(wait >= 0.5 for wait in clock.waits)


def test_request_without_a_response_is_retried(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    endpoint.answers = [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")]
    assert credentials(mount, endpoint, clock).token_sync()
    assert len(endpoint.requests) == 3


def test_refused_client_reads_the_secret_again_and_retries_once(mount: Mount, clock: FakeClock) -> None:
    endpoint = Endpoint("SecretNumberTwo")
    client = credentials(mount, endpoint, clock)
    client.source.read()
    mount.write(client_secret="SecretNumberTwo")
    assert client.token_sync()
    assert [endpoint.pair(n)[1] for n in range(len(endpoint.requests))] == ["SecretNumberOne", "SecretNumberTwo"]


def test_refused_client_with_an_unchanged_secret_is_not_retried(mount: Mount, clock: FakeClock) -> None:
    endpoint = Endpoint("SecretNumberTwo")
    error = error_of(credentials(mount, endpoint, clock))
    assert (error.error, error.status) == ("invalid_client", 401)
    assert len(endpoint.requests) == 1


def test_refusal_is_cached_until_the_secret_changes(mount: Mount, clock: FakeClock) -> None:
    endpoint = Endpoint("SecretNumberTwo")
    client = credentials(mount, endpoint, clock)
    for _ in range(50):
        assert error_of(client).error == "invalid_client"
    assert len(endpoint.requests) == 1
    clock.instant += 1
    error_of(client)
    error_of(client)
    assert len(endpoint.requests) == 2
    mount.write(client_secret="SecretNumberTwo")
    clock.instant += 1
    assert client.token_sync()


def test_threads_share_one_fetch(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    client = credentials(mount, endpoint, clock)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(client.token_sync().value)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["token-1"] * 16
    assert len(endpoint.requests) == 1


def test_error_for_a_missing_resource_names_the_argument(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    endpoint.answers = [refused("invalid_target", description="name the resource")]
    assert "pass resource= with the audience" in error_of(credentials(mount, endpoint, clock)).description
    endpoint.answers = [refused("invalid_target")]
    named = credentials(mount, endpoint, clock, resource="https://payroll.example")
    assert "pass resource=" not in error_of(named).description


def test_error_for_a_missing_proof_names_the_argument(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    description = "tokens for this resource are bound to a key: send a DPoP proof (RFC 9449)"
    endpoint.answers = [refused("invalid_request", description=description)]
    assert "pass dpop=True" in error_of(credentials(mount, endpoint, clock)).description
