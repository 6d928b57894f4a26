"""Spans of requests of users: one for each page, with children for the session store and the provider, and no user."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from scopewright.core.records.identity_provider import UpstreamClient
from scopewright.core.users import subject_of
from scopewright.tracing import Tracing
from tests.harness.users import UsersHarness, provider_of, web_record
from tests.unit.issuer.users.logins import running_logins

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AWAY = provider_of("company", oidc=UpstreamClient("https://127.0.0.1:1", "scopewright"))


@pytest.fixture
async def traced(tmp_path: Path, traces: Tracing) -> AsyncIterator[UsersHarness]:
    users = UsersHarness(tmp_path)
    users.issuer.tracing = traces
    async with users.running() as users:
        yield users


def servers(exported: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in exported.get_finished_spans() if span.kind is SpanKind.SERVER]


def children(exported: InMemorySpanExporter, parent: ReadableSpan) -> list[ReadableSpan]:
    spans = exported.get_finished_spans()
    return [span for span in spans if span.parent and span.parent.span_id == parent.context.span_id]


async def test_each_page_of_a_login_has_a_span_with_its_requests_to_the_store(
    traced: UsersHarness, exported: InMemorySpanExporter
) -> None:
    answer = await traced.log_in("ada")
    code = traced.parameters_of(answer)["code"]
    spans = servers(exported)
    assert [span.name for span in spans] == ["authorize", "login", "login", "consent", "consent"]
    login, consent = spans[2], spans[4]
    assert login.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 303,
        "scopewright.client": "hr.hr-web",
        "scopewright.provider": "developer login",
        "scopewright.way": "developer",
        "scopewright.result": "accepted",
    }
    stored = children(exported, consent)
    assert {span.name for span in stored} == {"session_store.get", "session_store.write"}
    assert all(span.kind is SpanKind.CLIENT and span.context.trace_id == consent.context.trace_id for span in stored)
    line = orjson.loads(traced.issuer.audit_lines[-1])
    assert line["span_id"] == f"{consent.context.span_id:016x}"
    text = "".join(span.to_json() for span in exported.get_finished_spans())
    secrets = [code, *traced.browser.cookies.values()]
    assert not [word for word in (*secrets, line["sid"], subject_of("static:developer", "ada"), "Ada") if word in text]


async def test_a_page_continues_the_trace_of_its_request(traced: UsersHarness, exported: InMemorySpanExporter) -> None:
    await traced.browser.get("/account", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "made=up"})
    [span] = servers(exported)
    assert (span.name, f"{span.context.trace_id:032x}") == ("account", TRACE)
    assert span.parent
    assert f"{span.parent.span_id:016x}" == PARENT
    assert "made" not in span.to_json()


async def test_text_of_the_request_is_in_no_span(traced: UsersHarness, exported: InMemorySpanExporter) -> None:
    await traced.authorize(scope="made-up")
    await traced.authorize(client_id="made.up")
    assert [(span.attributes or {})["scopewright.result"] for span in servers(exported)] == [
        "invalid_scope",
        "invalid_request",
    ]
    assert not [span for span in exported.get_finished_spans() if "made" in span.to_json()]


async def test_a_request_to_a_provider_is_a_child_that_failed(
    tmp_path: Path, traces: Tracing, exported: InMemorySpanExporter
) -> None:
    users = UsersHarness(tmp_path)
    users.issuer.tracing = traces
    users.issuer.put_provider(AWAY)
    users.issuer.put(web_record())
    async with users.running():
        answer = await users.follow(await users.authorize())
        assert answer.status_code == 503
        login = servers(exported)[-1]
        assert (login.name, login.status.status_code) == ("login", StatusCode.ERROR)
        assert (login.attributes or {})["scopewright.reason"] == "AddressNotAllowed"
        [asked] = [span for span in children(exported, login) if span.name.startswith("provider.")]
        assert (asked.name, asked.attributes) == ("provider.discovery", {"scopewright.provider": "company"})
        assert asked.status.status_code is StatusCode.ERROR
        assert "127.0.0.1" not in asked.to_json()


async def test_a_refresh_has_the_store_as_a_child_and_work_of_no_request_has_no_span(
    traces: Tracing, exported: InMemorySpanExporter
) -> None:
    async with running_logins(tracing=traces) as logins:
        tokens = await logins.tokens()
        sessions = logins.harness.issuer.background.sessions
        assert sessions is not None
        exported.clear()
        await sessions.store_id()
        assert not exported.get_finished_spans()
        await logins.refresh(tokens["refresh_token"])
        [refresh] = servers(exported)
        assert refresh.name == "token"
        assert [span.name for span in children(exported, refresh)] == ["session_store.get"]
