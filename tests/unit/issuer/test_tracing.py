"""Spans of requests: the attributes of the audit line, and no secret."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from scopewright.issuer.endpoints.base import Endpoint
from scopewright.tracing import Tracing
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import PAYROLL, SECRET, key_record

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def traced(traces: Tracing) -> AsyncIterator[IssuerHarness]:
    harness = IssuerHarness()
    harness.install_defaults()
    harness.tracing = traces
    async with harness.running():
        yield harness


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    [span] = exported.get_finished_spans()
    return span


async def test_span_of_an_issued_token_has_client_audience_key_and_result(
    traced: IssuerHarness, exported: InMemorySpanExporter
) -> None:
    answer = await traced.token()
    span = only(exported)
    assert span.name == "token"
    assert span.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "scopewright.client": "leave.leave-worker",
        "scopewright.audience": PAYROLL,
        "scopewright.kid": key_record().kid,
        "scopewright.result": "issued",
    }
    line = orjson.loads(traced.audit_lines[-1])
    assert (line["trace_id"], line["span_id"]) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    exported_text = span.to_json()
    assert answer.json()["access_token"].rpartition(".")[2] not in exported_text
    assert SECRET not in exported_text


async def test_span_continues_the_trace_of_the_caller(traced: IssuerHarness, exported: InMemorySpanExporter) -> None:
    await traced.http.post("/token", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "made=up"})
    span = only(exported)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent
    assert f"{span.parent.span_id:016x}" == PARENT
    assert "made" not in span.to_json()


@pytest.mark.parametrize(
    "traceparent", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + PARENT + "-01", "x" * 4000, "\xff"]
)
async def test_invalid_traceparent_starts_a_new_trace(
    traced: IssuerHarness, exported: InMemorySpanExporter, traceparent: str, caplog: pytest.LogCaptureFixture
) -> None:
    await traced.http.post("/token", headers={b"traceparent": traceparent.encode("latin-1")})
    assert only(exported).parent is None
    assert not caplog.records


async def test_span_of_a_refusal_has_the_reason_and_no_input_of_the_caller(
    traced: IssuerHarness, exported: InMemorySpanExporter
) -> None:
    await traced.token("leave.leave-worker", "s3cr3t-of-another", scope="made-up", resource="https://made.up")
    await traced.token(SECRET + ".pasted", "s3cr3t")
    known, unknown = exported.get_finished_spans()
    assert known.attributes
    assert unknown.attributes
    assert known.attributes["scopewright.client"] == "leave.leave-worker"
    assert known.attributes["scopewright.reason"] == "wrong_secret"
    assert unknown.attributes["scopewright.result"] == "invalid_client"
    assert "scopewright.client" not in unknown.attributes
    for span in (known, unknown):
        assert (span.attributes or {})["http.response.status_code"] == 401
        assert not [word for word in ("s3cr3t", SECRET, "made") if word in span.to_json()]


async def test_concurrent_requests_have_separate_spans(traced: IssuerHarness, exported: InMemorySpanExporter) -> None:
    await asyncio.gather(*(traced.token("leave.leave-worker", "wrong") for _ in range(3)), traced.token())
    results = [str((s.attributes or {})["scopewright.result"]) for s in exported.get_finished_spans()]
    assert sorted(results) == ["invalid_client"] * 3 + ["issued"]


async def test_span_of_an_exception_has_status_error_without_its_message(
    traced: IssuerHarness, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("s3cr3t")

    monkeypatch.setattr("scopewright.issuer.endpoints.token.authorise", fail)
    await traced.token()
    span = only(exported)
    assert span.status.status_code is StatusCode.ERROR
    assert "s3cr3t" not in span.to_json()


async def test_unsampled_request_exports_no_span_and_writes_its_audit_line(
    exported: InMemorySpanExporter,
) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    harness = IssuerHarness()
    harness.install_defaults()
    harness.tracing = Tracing(provider)
    async with harness.running():
        await harness.token()
    assert exported.get_finished_spans() == ()
    [line] = harness.audit_lines
    assert "trace_id" not in line


async def test_endpoint_is_not_wrapped_if_tracing_is_off(harness: IssuerHarness) -> None:
    assert type(harness.issuer.endpoints.token) is Endpoint
