"""One span per client request, with attributes from its audit line. Used only if tracing is enabled."""

from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from scopewright.issuer.observability import audit
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.tracing import Tracing, mark_failed, span_ids

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ATTRIBUTES: Final = ("client", "audience", "result", "reason", "method", "kid")
"""Members of an audit line that are set on the span: never text that the caller chose."""

_FAILED: Final = 500
_current: Final[ContextVar["Span | None"]] = ContextVar("span", default=None)


class Decides(Protocol):
    def decide(self, http: HttpRequest) -> Answer | Coroutine[Any, Any, Answer]: ...


class Traced:
    """Wraps an endpoint whose audit lines go through `traced_sink`."""

    def __init__(self, endpoint: Decides, name: str, tracing: Tracing) -> None:
        self._endpoint = endpoint
        self._name = name
        self._tracing = tracing

    def decide(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        span = self._tracing.begin(
            self._name, {"http.request.method": http.method}, http.headers.get(b"traceparent", b"")
        )
        token = _current.set(span)
        try:
            decided = self._endpoint.decide(http)
        finally:
            _current.reset(token)
        if isinstance(decided, Answer):
            return _ended(span, decided)
        return self._wait(decided, span)

    async def _wait(self, decided: Awaitable[Answer], span: "Span") -> Answer:
        token = _current.set(span)
        try:
            answer = await decided
        except BaseException:
            mark_failed(span)
            span.end()
            raise
        finally:
            _current.reset(token)
        return _ended(span, answer)


def traced_sink(sink: audit.Sink) -> audit.Sink:
    """Also sets attributes of the current span, and adds trace id and span id to the line."""

    def write(entry: audit.Entry) -> None:
        span = _current.get()
        if span is not None and span.is_recording():
            span.set_attributes({f"scopewright.{name}": entry[name] for name in ATTRIBUTES if name in entry})
            entry = {**entry, **span_ids(span.get_span_context())}
        sink(entry)

    return write


def _ended(span: "Span", answer: Answer) -> Answer:
    span.set_attribute("http.response.status_code", answer.status)
    if answer.status >= _FAILED:
        mark_failed(span)
    span.end()
    return answer
