"""OpenTelemetry traces, if the environment sets an endpoint for them (OTEL_EXPORTER_OTLP_ENDPOINT).

If traces are off, OpenTelemetry is not imported here. The caller chooses the attributes of a span: no text of an
exception, no header and no body is added automatically.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from scopewright.core.failures import Rejected

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext

Attributes = Mapping[str, str | int]

FLUSH_TIMEOUT_SECONDS: Final = 5.0
"""Time limit for sending the last spans when the process ends."""
MAX_TRACEPARENT_LENGTH: Final = 128
"""Longest `traceparent` that is parsed; a valid one has 55 characters. OpenTelemetry logs much longer ones."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Tracing:
    """Spans of one process, which are sent to a collector. Create it after the process has forked."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("scopewright")
        self._serving, self._calling = trace.SpanKind.SERVER, trace.SpanKind.CLIENT
        self._within = trace.set_span_in_context
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, attributes: Attributes, traceparent: bytes = b"") -> "Span":
        """Begin the span of a served request, in the trace of its `traceparent`. The caller ends it."""
        named = traceparent.decode("latin-1") if len(traceparent) <= MAX_TRACEPARENT_LENGTH else ""
        parent = self._propagator.extract({"traceparent": named})
        return self._tracer.start_span(name, parent, self._serving, attributes)

    def begin_child(self, name: str, attributes: Attributes, parent: "Span") -> "Span":
        """Begin the span of a request that the process sends itself. The caller ends it."""
        return self._tracer.start_span(name, self._within(parent), self._calling, attributes)

    @contextlib.contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator["Span"]:
        """Run a block in a span. Exceptions are not recorded."""
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def close(self) -> None:
        """Send the remaining spans. A collector that does not respond does not prevent the process from ending."""
        sending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(FLUSH_TIMEOUT_SECONDS)


@contextlib.contextmanager
def tracing(service: str) -> Iterator[Tracing | None]:
    """Set up traces by the OTEL_* variables; `service` is the default service name. None if traces are off."""
    provider = _provider(service)
    if provider is None:
        yield None
        return
    traces = Tracing(provider)
    try:
        yield traces
    finally:
        traces.close()


def mark_failed(span: "Span") -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)


def is_enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether traces are to be sent; `Rejected` if the variables request an unsupported exporter."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter == "none" or not any(environment.get(name) for name in _ENDPOINTS):
        return False
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if exporter != "otlp" or protocol != "http/protobuf":
        raise Rejected(
            "BadTracing",
            f"traces cannot be sent with OTEL_TRACES_EXPORTER={exporter} and protocol {protocol}: only otlp over "
            "http/protobuf is supported; set the collector's HTTP port, usually 4318",
        )
    return True


def _provider(service: str) -> "TracerProvider | None":
    if not is_enabled():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise Rejected(
            "NoTracing", "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces: pip install 'scopewright[otel]', or unset it"
        ) from None
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def current_ids() -> dict[str, str]:
    """Return the ids of the current trace and span for a log line; empty without a span."""
    trace = sys.modules.get("opentelemetry.trace")
    context = trace.get_current_span().get_span_context() if trace else None
    return span_ids(context) if context and context.is_valid else {}


def span_ids(context: "SpanContext") -> dict[str, str]:
    """Return the ids of trace and span in hex, as fields of a log line."""
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
