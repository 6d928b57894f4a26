"""At start-up: a wrong issuer and one that is away are two errors, and both say what is wrong."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scopewright.verifier import IssuerMismatch, KeysUnavailable, TokenRejected, Verifier, protect
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, Clock, Web, token

Ready = Callable[[Verifier], None]


def ready_async(verifier: Verifier) -> None:
    asyncio.run(verifier.ready())


@pytest.fixture(params=[ready_async, Verifier.ready_sync], ids=["ready", "ready_sync"])
def ready(request: pytest.FixtureRequest) -> Ready:
    found: Ready = request.param
    return found


def verifier_of(web: Web, issuer: str = ISSUER, **settings: Any) -> Verifier:
    return Verifier(issuer, AUDIENCE, http=web.client(), clock=Clock(), **settings)


def test_afterwards_nothing_needs_to_be_fetched(ready: Ready) -> None:
    web = Web(KEY)
    verifier = verifier_of(web, revocations=True)
    ready(verifier)
    asked = len(web.asked)
    ready(verifier)
    assert verifier.verify_sync(token()).client_id == "leave.leave-worker"
    assert (len(web.asked), web.fetches(), web.polls()) == (asked, 1, 1)


@pytest.mark.parametrize(
    ("configured", "published"),
    [
        ("https://issuer.example/tenant/", "https://issuer.example/tenant"),
        ("https://issuer.example/tenant", "https://issuer.example/tenant/"),
        ("http://localhost:8080/tenant", "http://127.0.0.1:8080/tenant"),
        ("https://ISSUER.example/tenant", "https://issuer.example/tenant"),
    ],
)
def test_a_wrong_issuer_is_told_with_the_right_one(ready: Ready, configured: str, published: str) -> None:
    web = Web(KEY)
    web.metadata["issuer"] = published
    verifier = verifier_of(web, configured)
    for _ in range(2):
        with pytest.raises(IssuerMismatch) as caught:
            ready(verifier)
        assert isinstance(caught.value, ValueError)
        assert str(caught.value).endswith(f"is configured here: pass issuer={published!r}")
    with pytest.raises(KeysUnavailable, match="is configured here"):
        verifier.verify_sync(token(iss=configured))


@pytest.mark.parametrize("found", [None, 5, ["https://issuer.example"]])
def test_what_is_no_issuer_s_metadata_is_no_better(ready: Ready, found: Any) -> None:
    web = Web(KEY)
    web.metadata["issuer"] = found
    with pytest.raises(IssuerMismatch, match="not the metadata of an issuer"):
        ready(verifier_of(web))


@pytest.mark.parametrize("changes", [{"issuer": "x" * 100_000}, {"jwks_uri": "x" * 100_000}])
def test_what_an_issuer_sends_does_not_fill_a_log(ready: Ready, changes: dict[str, str]) -> None:
    web = Web(KEY)
    web.metadata |= changes
    with pytest.raises((IssuerMismatch, KeysUnavailable)) as caught:
        ready(verifier_of(web))
    assert len(str(caught.value)) < 2000


def away(web: Web) -> None:
    web.away = True


def not_found(web: Web) -> None:
    web.pages["/.well-known/oauth-authorization-server/tenant"] = httpx.Response(404)


def starting(web: Web) -> None:
    web.pages["/tenant/jwks.json"] = httpx.Response(503)


def redirecting(web: Web) -> None:
    web.pages["/.well-known/oauth-authorization-server/tenant"] = httpx.Response(302)
    web.pages["/tenant/.well-known/openid-configuration"] = httpx.Response(302)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (away, "ConnectError: nobody is there"),
        (not_found, "no metadata: https://issuer.example/.well-known/oauth-authorization-server/tenant answered 404"),
        (starting, "https://issuer.example/tenant/jwks.json answered 503"),
        (redirecting, "answered 302"),
    ],
)
def test_an_issuer_that_cannot_be_reached_is_unavailable_with_the_reason(
    ready: Ready, fault: Callable[[Web], None], reason: str
) -> None:
    web = Web(KEY)
    fault(web)
    verifier = verifier_of(web)
    calls: tuple[Callable[[Verifier], object], ...] = (ready, lambda v: v.verify_sync(token()))
    for call in calls:
        with pytest.raises(KeysUnavailable) as caught:
            call(verifier)
        assert reason in caught.value.reason
        assert reason in str(caught.value)
        assert reason not in caught.value.description, "that is for the caller"


def test_revocations_that_cannot_be_had_are_unavailable_too(ready: Ready) -> None:
    web = Web(KEY)
    web.pages["/tenant/revocations"] = httpx.Response(500)
    with pytest.raises(KeysUnavailable, match="revocations answered 500"):
        ready(verifier_of(web, revocations=True))


async def test_no_longer_than_the_timeout() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        verifier = Verifier(ISSUER, AUDIENCE, http=http)
        with pytest.raises(KeysUnavailable, match=r"no answer yet from https://issuer\.example/tenant"):
            await asyncio.wait_for(verifier.ready(timeout=0.05), 20)


async def test_the_reason_does_not_reach_callers() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    web = Web(KEY)
    web.away = True
    app = protect(application, Verifier(ISSUER, AUDIENCE, http=web.async_client()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/", headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code == 503
    assert "ConnectError" not in answer.text


def test_an_error_without_a_known_text_is_named_and_not_repeated() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("something secret")

    verifier = Verifier(ISSUER, AUDIENCE, http=httpx.Client(transport=httpx.MockTransport(broken)))
    with pytest.raises(KeysUnavailable) as caught:
        verifier.ready_sync()
    assert caught.value.reason == "ZeroDivisionError"


def test_plain_http_is_allowed_by_the_argument_that_the_error_prints(ready: Ready) -> None:
    issuer = "http://issuer.sso.svc:8080"
    with pytest.raises(ValueError, match="https is needed") as caught:
        Verifier(issuer, AUDIENCE)
    assert str(caught.value).endswith('pass allow_http=("issuer.sso.svc",)')
    web = Web(KEY)
    document = {"issuer": issuer, "jwks_uri": f"{issuer}/tenant/jwks.json"}
    web.pages["/.well-known/oauth-authorization-server"] = httpx.Response(200, json=document)
    ready(verifier_of(web, issuer, allow_http=("issuer.sso.svc",)))


def test_several_audiences_may_be_given_and_a_token_needs_one() -> None:
    other = "https://leave.hr.example"
    verifier = Verifier(ISSUER, [AUDIENCE, other], http=Web(KEY).client(), clock=Clock())
    for audience in (AUDIENCE, other, [other, "https://else.example"]):
        assert verifier.verify_sync(token(aud=audience)).client_id
    with pytest.raises(TokenRejected, match=f"resource={AUDIENCE} or {other}"):
        verifier.verify_sync(token(aud="https://else.example"))


@pytest.mark.parametrize("audience", [None, 5, [5], [None], b"x"])
def test_what_is_no_audience_is_a_type_error(audience: Any) -> None:
    with pytest.raises(TypeError, match="audience must be a string"):
        Verifier(ISSUER, audience)


def test_no_audience_at_all_and_no_issuer_are_refused() -> None:
    for audience in ("", [], [""]):
        with pytest.raises(ValueError, match="audience"):
            Verifier(ISSUER, audience)
    with pytest.raises(TypeError, match="issuer must be a string, not NoneType"):
        Verifier(None, AUDIENCE)  # type: ignore[arg-type]


def test_both_ways_have_the_same_signature() -> None:
    assert inspect.signature(Verifier.ready) == inspect.signature(Verifier.ready_sync)
