"""One span per request, with attributes from its audit line, and one for each request to the session store and to an
identity provider that it causes. Used only if tracing is enabled.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.serving import audit
from scopewright.tracing import Attributes, Tracing, mark_failed, span_ids

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ATTRIBUTES: Final = ("client", "audience", "result", "reason", "method", "kid", "provider", "way")
"""Members of an audit line that are set on the span: never text that the caller chose, and nothing about a user."""

Spans = Callable[[str, Attributes], AbstractContextManager[None]]
"""Runs a block in a span of this name, within that of the current request."""

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
        span = _begun(self._tracing, self._name, http)
        token = _current.set(span)
        try:
            decided = self._endpoint.decide(http)
        finally:
            _current.reset(token)
        if isinstance(decided, Answer):
            return _ended(span, decided)
        return _answered(decided, span)


class Pages(Protocol):
    """The endpoints of users (`issuer.users.application`)."""

    def serves(self, path: str, issuer: str) -> bool: ...

    def handler_of(self, http: HttpRequest) -> str: ...

    async def answer(self, http: HttpRequest) -> Answer: ...


class TracedPages:
    """Wraps the endpoints of users. A span has the name of its page."""

    def __init__(self, pages: Pages, tracing: Tracing) -> None:
        self._pages = pages
        self._tracing = tracing

    def serves(self, path: str, issuer: str) -> bool:
        return self._pages.serves(path, issuer)

    async def answer(self, http: HttpRequest) -> Answer:
        span = _begun(self._tracing, self._pages.handler_of(http), http)
        return await _answered(self._pages.answer(http), span)


def no_spans(name: str, attributes: Attributes) -> AbstractContextManager[None]:
    return nullcontext()


def child_spans(tracing: Tracing | None) -> Spans:
    """Outside a request there is no span: background work belongs to no trace."""
    if tracing is None:
        return no_spans

    @contextmanager
    def span(name: str, attributes: Attributes) -> Iterator[None]:
        parent = _current.get()
        if parent is None:
            yield
            return
        child = tracing.begin_child(name, attributes, parent)
        try:
            yield
        except BaseException:
            mark_failed(child)
            raise
        finally:
            child.end()

    return span


def traced_sink(sink: audit.Sink) -> audit.Sink:
    """Also sets attributes of the current span, and adds trace id and span id to the line."""

    def write(entry: audit.Line) -> None:
        span = _current.get()
        if span is not None and span.is_recording():
            entry = audit.members(entry)
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


def _begun(tracing: Tracing, name: str, http: HttpRequest) -> "Span":
    return tracing.begin(name, {"http.request.method": http.method}, http.headers.get(b"traceparent", b""))


async def _answered(deciding: Awaitable[Answer], span: "Span") -> Answer:
    token = _current.set(span)
    try:
        answer = await deciding
    except BaseException:
        mark_failed(span)
        span.end()
        raise
    finally:
        _current.reset(token)
    return _ended(span, answer)
