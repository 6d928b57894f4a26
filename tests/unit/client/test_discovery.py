"""Endpoints come from the metadata of the issuer where the credentials do not name them (RFC 8414)."""

from typing import Any

import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError
from tests.unit.client.support import Endpoint, FakeClock, IssuerServer, Mount, busy

OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.fixture
def mount(mount: Mount) -> Mount:
    """A Secret that names client, credential and issuer only."""
    mount.write(token_endpoint=None, jwks_uri=None)
    return mount


def credentials(mount: Mount, issuer: Endpoint, clock: FakeClock, **options: Any) -> ClientCredentials:
    return ClientCredentials(mount.path, http=issuer.client(), clock=clock, jitter=lambda: 0.0, **options)


def error_of(auth: ClientCredentials) -> TokenError:
    with pytest.raises(TokenError) as caught:
        auth.token_sync()
    return caught.value


def test_token_endpoint_of_the_metadata_is_used_and_remembered(
    mount: Mount, issuer: IssuerServer, clock: FakeClock
) -> None:
    auth = credentials(mount, issuer, clock)
    for _ in range(3):
        assert auth.token_sync()
        clock.instant += 700
    assert auth.for_resource("https://payroll.example").token_sync()
    assert issuer.paths == [OAUTH, "/token", "/token", "/token", "/token"]
    assert issuer.pair(1) == ("leave.leave-worker", "SecretNumberOne")
    assert "authorization" not in issuer.requests[0].headers


async def test_token_endpoint_is_found_in_async_code(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    auth = ClientCredentials(mount.path, http=issuer.async_client(), clock=clock)
    assert await auth.token()
    assert issuer.paths == [OAUTH, "/token"]


def test_openid_document_is_the_second_choice(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    mount.write(token_endpoint=None, issuer="https://issuer.example/realms/hr")
    issuer.metadata |= {"issuer": "https://issuer.example/realms/hr"}
    issuer.documents = {f"/realms/hr{OPENID}": issuer.metadata}
    assert credentials(mount, issuer, clock).token_sync()
    assert issuer.paths == [f"{OAUTH}/realms/hr", f"/realms/hr{OPENID}", "/token"]


@pytest.mark.parametrize(
    "named", ["https://issuer.example/", "https://ISSUER.example", "https://evil.example", None, 1]
)
def test_metadata_of_another_issuer_is_refused(
    mount: Mount, issuer: IssuerServer, clock: FakeClock, named: object
) -> None:
    issuer.metadata["issuer"] = named
    error = error_of(credentials(mount, issuer, clock))
    assert error.error == "invalid_response"
    assert f"is of issuer {named!r}, but 'https://issuer.example' is configured here" in error.description
    assert ("correct the issuer in the Secret" in error.description) is isinstance(named, str)
    assert issuer.paths == [OAUTH]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("https://evil.example/token", "not of the same scheme, host and port as the issuer"),
        ("https://issuer.example:8443/token", "not of the same scheme, host and port as the issuer"),
        ("http://issuer.example/token", "the token_endpoint must be https"),
        (
            "https://u:p@issuer.example/token",
            "the token_endpoint must be https, a URL without a user and a password: rem",
        ),
        ("/token", "the token_endpoint must be https"),
        (None, "names no token_endpoint"),
        (["https://issuer.example/token"], "names no token_endpoint"),
    ],
)
def test_no_credential_is_sent_to_an_unusable_endpoint(
    mount: Mount, issuer: IssuerServer, clock: FakeClock, named: object, expected: str
) -> None:
    issuer.metadata["token_endpoint"] = named
    assert expected in error_of(credentials(mount, issuer, clock)).description
    assert issuer.paths == [OAUTH]


@pytest.mark.parametrize("url", ["http://issuer.svc:8080", "https://u:p@issuer.example", "issuer", "ftp://issuer"])
def test_metadata_of_an_unusable_issuer_is_not_requested(
    mount: Mount, issuer: IssuerServer, clock: FakeClock, url: str
) -> None:
    mount.write(issuer=url, token_endpoint=None)
    assert "the issuer must be https" in error_of(credentials(mount, issuer, clock)).description
    assert issuer.requests == []


def test_issuer_without_tls_needs_allow_http(mount: Mount, clock: FakeClock) -> None:
    issuer = IssuerServer("http://issuer.svc:8080")
    mount.write(issuer="http://issuer.svc:8080", token_endpoint=None)
    assert credentials(mount, issuer, clock, allow_http=["issuer.svc"]).token_sync()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, text='{"issuer": "https://issuer.example", "issuer": "https://issuer.example"}'),
        httpx.Response(200, content=b" " * 600_000),
    ],
)
def test_document_that_is_no_metadata_is_an_error(
    mount: Mount, issuer: IssuerServer, clock: FakeClock, answer: httpx.Response
) -> None:
    issuer.answers = [answer]
    assert error_of(credentials(mount, issuer, clock)).error == "invalid_response"
    assert len(issuer.requests) == 1


def test_redirect_of_the_metadata_is_not_followed(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    moved = httpx.Response(302, headers={"location": "https://issuer.example/elsewhere"})
    issuer.answers = [moved, moved]
    error = error_of(credentials(mount, issuer, clock))
    assert issuer.paths == [OAUTH, OPENID]
    text = "answered 302; see that the issuer https://issuer.example is right"
    assert error.description.endswith(f"{text}, or give its token_endpoint in the Secret, the variable or the argument")
    issuer.answers = [moved, moved]
    with pytest.raises(TokenError) as caught:
        credentials(mount, issuer, clock).introspect_sync("t")
    assert caught.value.description.endswith(text)


def test_busy_issuer_is_waited_for(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    issuer.answers = [busy("2"), busy("2"), httpx.ConnectError("refused")]
    assert credentials(mount, issuer, clock).token_sync()
    assert clock.waits == [2.0, 1.0]
    assert issuer.paths == [OAUTH, OPENID, OAUTH, OAUTH, "/token"]


def test_metadata_is_fetched_again_after_an_answer_that_is_not_of_the_endpoint(
    mount: Mount, issuer: IssuerServer, clock: FakeClock
) -> None:
    auth = credentials(mount, issuer, clock)
    auth.token_sync()
    clock.instant += 700
    issuer.metadata["token_endpoint"] = "https://issuer.example/v2/token"
    issuer.answers = [httpx.Response(404, text="not here")]
    error_of(auth)
    clock.instant += 700
    assert auth.token_sync()
    assert issuer.paths == [OAUTH, "/token", "/token", OAUTH, "/v2/token"]


def test_metadata_of_the_new_issuer_is_fetched_after_a_change(
    mount: Mount, issuer: IssuerServer, clock: FakeClock
) -> None:
    auth = credentials(mount, issuer, clock)
    auth.token_sync()
    issuer.metadata |= {"issuer": "https://new.example", "token_endpoint": "https://new.example/token"}
    mount.write(issuer="https://new.example", token_endpoint=None)
    clock.instant += 1
    auth.token_sync()
    assert [str(request.url) for request in issuer.requests[2:]] == [
        f"https://new.example{OAUTH}",
        "https://new.example/token",
    ]
