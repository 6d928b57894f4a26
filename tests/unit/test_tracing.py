"""Traces are off unless the environment sets an endpoint; unsupported settings are refused."""

import json
import logging
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from scopewright.cli.settings import set_up_logging
from scopewright.controller.tracing import traced
from scopewright.core.failures import Conflict, NotLeading, Rejected
from scopewright.core.objects import Ref
from scopewright.logs import log_fields
from scopewright.tracing import Tracing, current_ids, is_enabled, tracing
from tests.otlp import Collector

KEY = Ref("OAuthClient", "leave", "worker")
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
    ids=str,
)
def test_traces_are_on_if_an_endpoint_is_set(environment: dict[str, str], on: bool) -> None:
    assert is_enabled(environment) is on


@pytest.mark.parametrize("more", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_TRACES_EXPORTER": "zipkin"}], ids=str)
def test_unsupported_exporter_is_refused_with_the_supported_one(more: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="only otlp over http/protobuf is supported"):
        is_enabled({**ENDPOINT, **more})


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(ENDPOINT.items())))
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Rejected, match=r"pip install 'scopewright\[otel\]'"), tracing("x"):
        raise AssertionError


def test_exporter_is_not_imported_if_traces_are_off() -> None:
    """redis-py imports a part of OpenTelemetry where that is installed."""
    code = (
        "import sys\n"
        "import scopewright.issuer.serving.server, scopewright.controller.operator, scopewright.cli.commands\n"
        "from scopewright.tracing import tracing\n"
        "with tracing('x') as traces: assert traces is None\n"
        "sys.exit(any(name.startswith(('opentelemetry.exporter', 'opentelemetry.sdk.trace')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={}, check=False).returncode == 0


def test_last_spans_are_sent_with_the_service_name_of_the_environment_or_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scopewright.tracing.FLUSH_TIMEOUT_SECONDS", 120.0)
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with tracing("scopewright-issuer") as default:
            assert default
            with default.span("first", {}):
                pass
        monkeypatch.setenv("OTEL_SERVICE_NAME", "tokens-eu")
        with tracing("scopewright-issuer") as named:
            assert named
            with named.span("second", {}):
                pass
    assert {(s.name, s.service) for s in collector.spans} == {("first", "scopewright-issuer"), ("second", "tokens-eu")}


def test_process_ends_without_a_response_of_the_collector() -> None:
    """In a separate process, because a thread of the exporter keeps trying."""
    code = (
        "import scopewright.tracing as t; t.FLUSH_TIMEOUT_SECONDS = 0.1\n"
        "with t.tracing('x') as traces:\n"
        "    with traces.span('lost', {}): pass\n"
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


# The operator


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (None, "ok", StatusCode.UNSET),
        (NotLeading(), "not_leading", StatusCode.UNSET),
        (Conflict("s3cr3t"), "conflict", StatusCode.ERROR),
        (RuntimeError("s3cr3t"), "unexpected", StatusCode.ERROR),
    ],
)
def test_span_of_a_reconciliation_has_object_and_outcome(
    traces: Tracing, exported: InMemorySpanExporter, error: Exception | None, outcome: str, status: StatusCode
) -> None:
    try:
        with traced(traces, KEY):
            if error:
                raise error
    except type(error or ValueError()):
        pass
    [span] = exported.get_finished_spans()
    assert span.attributes == {
        "scopewright.kind": "OAuthClient",
        "k8s.namespace.name": "leave",
        "scopewright.name": "worker",
        "scopewright.outcome": outcome,
    }
    assert (span.name, span.status.status_code) == ("reconcile", status)
    assert "s3cr3t" not in span.to_json()


def test_log_line_has_its_object_and_span(traces: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    root, package = logging.getLogger(), logging.getLogger("scopewright")
    before = root.handlers[:], root.level, package.level
    try:
        set_up_logging("json", "info")
        with traces.span("reconcile", {}):
            within = current_ids()
            package.info("done\nand more", extra=log_fields(KEY, reason="CredentialRotated"))
        package.info("outside a span")
    finally:
        root.handlers[:], root.level, package.level = before
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert len(within["trace_id"]) == 32
    assert within.items() <= first.items()
    assert {"kind": "OAuthClient", "namespace": "leave", "name": "worker", "reason": "CredentialRotated"}.items() <= (
        first.items()
    )
    assert (first["message"], first["level"], first["logger"]) == ("done\nand more", "info", "scopewright")
    assert second.keys() == {"time", "level", "logger", "message"}
