"""Discovery of the JWKS, and responses that are refused."""

import httpx
import pytest

from scopewright.verifier import KeysUnavailable, Verifier
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, reason_of, token, verifier_of

JWKS = "https://issuer.example/tenant/jwks.json"


async def test_jwks_is_discovered_from_the_metadata() -> None:
    web = FakeIssuer(KEY)
    assert (await verifier_of(web, Clock()).verify(token())).client_id == "leave.leave-worker"
    assert [request.url.path for request in web.requests] == [
        "/.well-known/oauth-authorization-server/tenant",
        "/tenant/jwks.json",
    ]


async def test_jwks_is_discovered_from_openid_configuration() -> None:
    web = FakeIssuer(KEY)
    web.pages["/.well-known/oauth-authorization-server/tenant"] = httpx.Response(404)
    web.pages["/tenant/.well-known/openid-configuration"] = httpx.Response(200, json=web.metadata)
    assert await reason_of(verifier_of(web, Clock()), token()) is None


async def test_jwks_uri_argument_replaces_discovery() -> None:
    web = FakeIssuer(KEY)
    verifier = Verifier(ISSUER, AUDIENCE, jwks_uri=JWKS, http=web.async_client(), clock=Clock())
    await verifier.verify(token())
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": ISSUER + "/", "jwks_uri": JWKS},
        {"issuer": "https://issuer.example", "jwks_uri": JWKS},
        {"jwks_uri": JWKS},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": "http://issuer.example/tenant/jwks.json"},
        {"issuer": ISSUER, "jwks_uri": "https://user:word@issuer.example/tenant/jwks.json"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_metadata_of_another_issuer_is_refused(metadata: dict[str, str]) -> None:
    web = FakeIssuer(KEY)
    web.metadata = metadata
    with pytest.raises(KeysUnavailable):
        await verifier_of(web, Clock()).verify(token())
    assert web.fetches() == 0


@pytest.mark.parametrize("url", ["http://issuer.example", "ftp://issuer.example", "issuer", "https://u@issuer.example"])
def test_issuer_without_https_is_refused_by_the_constructor(url: str) -> None:
    with pytest.raises(ValueError, match="needed"):
        Verifier(url, AUDIENCE)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_loopback_needs_no_https(url: str) -> None:
    Verifier(url, AUDIENCE)


@pytest.mark.parametrize(
    "page",
    [
        httpx.Response(500),
        httpx.Response(304),
        httpx.Response(302, headers={"location": "https://evil.example/jwks"}),
        httpx.Response(307, headers={"location": JWKS + "?again"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"keys": None}),
        httpx.Response(200, content=b'{"keys": [' + b" " * 600_000 + b"]}"),
    ],
)
async def test_response_that_is_not_a_jwks_is_refused(page: httpx.Response) -> None:
    web = FakeIssuer(KEY)
    web.pages["/tenant/jwks.json"] = page
    with pytest.raises(KeysUnavailable):
        await verifier_of(web, Clock()).verify(token())
    assert all(request.url.host == "issuer.example" for request in web.requests)
