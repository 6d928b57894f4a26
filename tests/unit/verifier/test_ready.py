"""`ready` at start-up: a wrong issuer and an unreachable one are different errors with a reason."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.verifier import IssuerMismatch, KeysUnavailable, TokenRejected, Verifier, protect
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

Ready = Callable[[Verifier], None]


def ready_async(verifier: Verifier) -> None:
    asyncio.run(verifier.ready())


@pytest.fixture(params=[ready_async, Verifier.ready_sync], ids=["ready", "ready_sync"])
def ready(request: pytest.FixtureRequest) -> Ready:
    found: Ready = request.param
    return found


def verifier_of(web: FakeIssuer, issuer: str = ISSUER, **settings: Any) -> Verifier:
    return Verifier(issuer, AUDIENCE, http=web.client(), clock=Clock(), **settings)


def test_ready_fetches_all_that_verification_needs(ready: Ready) -> None:
    web = FakeIssuer(KEY)
    verifier = verifier_of(web, revocations=True)
    ready(verifier)
    asked = len(web.requests)
    ready(verifier)
    assert verifier.verify_sync(token()).client_id == "leave.leave-worker"
    assert (len(web.requests), web.fetches(), web.polls()) == (asked, 1, 1)


@pytest.mark.parametrize(
    ("configured", "published"),
    [
        ("https://issuer.example/tenant/", "https://issuer.example/tenant"),
        ("https://issuer.example/tenant", "https://issuer.example/tenant/"),
        ("http://localhost:8080/tenant", "http://127.0.0.1:8080/tenant"),
        ("https://ISSUER.example/tenant", "https://issuer.example/tenant"),
    ],
)
def test_issuer_mismatch_error_has_the_correct_issuer(ready: Ready, configured: str, published: str) -> None:
    web = FakeIssuer(KEY)
    web.metadata["issuer"] = published
    verifier = verifier_of(web, configured)
    for _ in range(2):
        with pytest.raises(IssuerMismatch) as caught:
            ready(verifier)
        assert isinstance(caught.value, ValueError)
        assert str(caught.value).endswith(f"is configured here: pass issuer={published!r}")
    with pytest.raises(KeysUnavailable, match="is configured here"):
        verifier.verify_sync(token(iss=configured))


def test_wrong_issuer_that_a_request_finds_is_an_error_once_in_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    web, clock, configured = FakeIssuer(KEY), Clock(), f"{ISSUER}/"
    web.metadata["issuer"] = ISSUER
    verifier = Verifier(configured, AUDIENCE, http=web.client(), clock=clock)
    for minutes, expected in ((0, 1), (1, 1), (2, 1), (3, 2), (1, 2)):
        clock.advance(seconds=60.0 * minutes)
        with pytest.raises(KeysUnavailable):
            verifier.verify_sync(token(iss=configured))
        assert [record.levelname for record in caplog.records] == ["ERROR"] * expected
    assert f"correct issuer= or SCOPEWRIGHT_ISSUER to {ISSUER!r}" in caplog.text


@pytest.mark.parametrize("found", [None, 5, ["https://issuer.example"]])
def test_document_that_is_not_metadata_is_an_issuer_mismatch(ready: Ready, found: Any) -> None:
    web = FakeIssuer(KEY)
    web.metadata["issuer"] = found
    with pytest.raises(IssuerMismatch, match="not the metadata of an issuer"):
        ready(verifier_of(web))


@pytest.mark.parametrize("changes", [{"issuer": "x" * 100_000}, {"jwks_uri": "x" * 100_000}])
def test_length_of_a_metadata_error_is_bounded(ready: Ready, changes: dict[str, str]) -> None:
    web = FakeIssuer(KEY)
    web.metadata |= changes
    with pytest.raises((IssuerMismatch, KeysUnavailable)) as caught:
        ready(verifier_of(web))
    assert len(str(caught.value)) < 2000


def unavailable(web: FakeIssuer) -> None:
    web.unavailable = True


def not_found(web: FakeIssuer) -> None:
    web.pages["/.well-known/oauth-authorization-server/tenant"] = httpx.Response(404)


def starting(web: FakeIssuer) -> None:
    web.pages["/tenant/jwks.json"] = httpx.Response(503)


def redirecting(web: FakeIssuer) -> None:
    web.pages["/.well-known/oauth-authorization-server/tenant"] = httpx.Response(302)
    web.pages["/tenant/.well-known/openid-configuration"] = httpx.Response(302)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unavailable, "ConnectError: connection refused"),
        (not_found, "no metadata: https://issuer.example/.well-known/oauth-authorization-server/tenant answered 404"),
        (starting, "https://issuer.example/tenant/jwks.json answered 503"),
        (redirecting, "answered 302"),
    ],
)
def test_unreachable_issuer_is_unavailable_with_the_reason(
    ready: Ready, fault: Callable[[FakeIssuer], None], reason: str
) -> None:
    web = FakeIssuer(KEY)
    fault(web)
    verifier = verifier_of(web)
    calls: tuple[Callable[[Verifier], object], ...] = (ready, lambda v: v.verify_sync(token()))
    for call in calls:
        with pytest.raises(KeysUnavailable) as caught:
            call(verifier)
        assert reason in caught.value.reason
        assert reason in str(caught.value)
        assert reason not in caught.value.description, "the description is for callers"


def test_failed_fetch_of_the_revocation_feed_is_unavailable(ready: Ready) -> None:
    web = FakeIssuer(KEY)
    web.pages["/tenant/revocations"] = httpx.Response(500)
    with pytest.raises(KeysUnavailable, match="revocations answered 500"):
        ready(verifier_of(web, revocations=True))


async def test_ready_times_out() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        verifier = Verifier(ISSUER, AUDIENCE, http=http)
        with pytest.raises(KeysUnavailable, match=r"no answer yet from https://issuer\.example/tenant"):
            await asyncio.wait_for(verifier.ready(timeout=0.05), 20)


async def test_reason_of_an_unavailable_issuer_is_not_in_the_response() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    web = FakeIssuer(KEY)
    web.unavailable = True
    app = protect(application, Verifier(ISSUER, AUDIENCE, http=web.async_client()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/", headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code == 503
    assert "ConnectError" not in answer.text


def test_unexpected_exception_is_reported_by_its_type_only() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("something secret")

    verifier = Verifier(ISSUER, AUDIENCE, http=httpx.Client(transport=httpx.MockTransport(broken)))
    with pytest.raises(KeysUnavailable) as caught:
        verifier.ready_sync()
    assert caught.value.reason == "ZeroDivisionError"


def test_argument_in_the_error_allows_plain_http(ready: Ready) -> None:
    issuer = "http://issuer.sso.svc:8080"
    with pytest.raises(ValueError, match="https is needed") as caught:
        Verifier(issuer, AUDIENCE)
    assert str(caught.value).endswith('pass allow_http=("issuer.sso.svc",)')
    web = FakeIssuer(KEY)
    document = {"issuer": issuer, "jwks_uri": f"{issuer}/tenant/jwks.json"}
    web.pages["/.well-known/oauth-authorization-server"] = httpx.Response(200, json=document)
    ready(verifier_of(web, issuer, allow_http=("issuer.sso.svc",)))


def test_token_needs_one_of_several_audiences() -> None:
    other = "https://leave.hr.example"
    verifier = Verifier(ISSUER, [AUDIENCE, other], http=FakeIssuer(KEY).client(), clock=Clock())
    for audience in (AUDIENCE, other, [other, "https://else.example"]):
        assert verifier.verify_sync(token(aud=audience)).client_id
    with pytest.raises(TokenRejected, match=f"resource={AUDIENCE} or {other}"):
        verifier.verify_sync(token(aud="https://else.example"))


@pytest.mark.parametrize("audience", [None, 5, [5], [None], b"x"])
def test_audience_of_another_type_is_a_type_error(audience: Any) -> None:
    with pytest.raises(TypeError, match="audience must be a string"):
        Verifier(ISSUER, audience)


def test_missing_audience_or_issuer_is_refused() -> None:
    for audience in ("", [], [""]):
        with pytest.raises(ValueError, match="audience"):
            Verifier(ISSUER, audience)
    with pytest.raises(TypeError, match="issuer must be a string, not NoneType"):
        Verifier(None, AUDIENCE)  # type: ignore[arg-type]


def test_ready_and_ready_sync_have_the_same_signature() -> None:
    assert inspect.signature(Verifier.ready) == inspect.signature(Verifier.ready_sync)


def test_missing_package_is_named() -> None:
    """As for a SOCKS proxy of the environment."""

    def broken(request: httpx.Request) -> httpx.Response:
        raise ImportError("install httpx[socks]")

    verifier = Verifier(ISSUER, AUDIENCE, http=httpx.Client(transport=httpx.MockTransport(broken)))
    with pytest.raises(KeysUnavailable, match=r"install httpx\[socks\]"):
        verifier.ready_sync()


def test_variable_of_unusable_authorities_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("not PEM")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    with pytest.raises(KeysUnavailable, match=r"SSL_CERT_FILE is .*/ca\.crt, which is not a file of CA certificates"):
        Verifier(ISSUER, AUDIENCE).ready_sync()
