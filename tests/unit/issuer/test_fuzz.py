"""Generated requests: every response is below 500, and no exception is logged."""

import asyncio
import logging

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scopewright.http import Answer, HttpRequest
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import PAYROLL, SECRET
from tests.harness.transport import combine_headers, respond

NAMES = st.sampled_from(
    ["grant_type", "scope", "resource", "audience", "client_id", "client_secret", "client_assertion", "%00", "", "ü"]
)
VALUES = st.one_of(
    st.sampled_from(
        ["client_credentials", "payroll.read", PAYROLL, "leave.leave-worker", SECRET, "%", "%ff", "%zz", "+"]
    ),
    st.text(max_size=30),
)
FORMS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(
    lambda pairs: "&".join(f"{n}={v}" for n, v in pairs).encode(errors="surrogatepass")
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"content-type", b"authorization", b"if-none-match", b"x"]),
        st.one_of(
            st.sampled_from(
                [
                    b"application/x-www-form-urlencoded",
                    b"Basic bGVhdmUubGVhdmUtd29ya2VyOkE=",
                    b"Basic ====",
                    b"Bearer x",
                ]
            ),
            st.binary(max_size=40),
        ),
    ),
    max_size=4,
)
PATHS = st.sampled_from(["/token", "/jwks.json", "/healthz", "/.well-known/oauth-authorization-server", "/x", ""])


@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "X\x00"]),
    path=PATHS,
    query=st.one_of(st.just(b""), st.binary(max_size=20), FORMS),
    headers=HEADERS,
    body=st.one_of(FORMS, st.binary(max_size=60)),
    form=st.booleans(),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_request_gets_a_response_below_500(
    method: str,
    path: str,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    form: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if form:
        headers = [h for h in headers if h[0] != b"content-type"]
        headers.append((b"content-type", b"application/x-www-form-urlencoded"))
    values, repeated = combine_headers(headers)
    answer = asyncio.run(_ask(HttpRequest(method, path, query, values, body, repeated=repeated)))
    assert answer.status < 500
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
    if path == "/token":
        content = orjson.loads(answer.body)
        assert ("access_token" in content) == (answer.status == 200)
        assert (b"cache-control", b"no-store") in answer.headers


async def _ask(http: HttpRequest) -> Answer:
    harness = IssuerHarness()
    harness.install_defaults()
    async with harness.build().running() as issuer:
        await settle()
        return await respond(issuer, http)
