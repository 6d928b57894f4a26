"""One span for each decision, if traces are enabled. It has no token, no path and no text that a caller chose."""

from typing import TYPE_CHECKING, Final

from scopewright.gateway.decide import Decision
from scopewright.http import Answer, HttpRequest
from scopewright.tracing import Tracing, mark_failed

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SPAN: Final = "auth"
_FAILED: Final = 500


def begin(tracing: Tracing, http: HttpRequest, profile: str) -> "Span":
    """In the trace of the request's `traceparent`. `end` or `fail` ends it."""
    return tracing.begin(SPAN, {"scopewright.profile": profile}, http.headers.get(b"traceparent", b""))


def end(span: "Span", decision: Decision, answer: Answer) -> None:
    about = {
        "api": decision.api_key,
        "rule": decision.rule,
        "client": decision.client_id,
        "result": decision.result.value,
        "reason": decision.reason,
    }
    span.set_attributes({f"scopewright.{name}": value for name, value in about.items() if value})
    span.set_attribute("http.response.status_code", answer.status)
    if answer.status >= _FAILED:
        mark_failed(span)
    span.end()


def fail(span: "Span") -> None:
    mark_failed(span)
    span.end()
