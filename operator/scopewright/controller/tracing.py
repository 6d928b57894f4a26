"""A trace span for each reconciliation, with the object and the outcome."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scopewright.controller.metrics import failure
from scopewright.core.failures import NotLeading
from scopewright.core.objects import Ref
from scopewright.tracing import Tracing, mark_failed

OUTCOME: Final = "scopewright.outcome"
"""`ok`, `not_leading`, or one of `metrics.FAILURES`."""


@contextmanager
def traced(tracing: Tracing | None, key: Ref) -> Iterator[None]:
    if tracing is None:
        yield
        return
    attributes = {
        "scopewright.kind": key.kind,
        "k8s.namespace.name": key.namespace,
        "scopewright.name": key.name,
    }
    with tracing.span("reconcile", attributes) as span:
        try:
            yield
        except NotLeading:
            span.set_attribute(OUTCOME, "not_leading")
            raise
        except Exception as error:
            span.set_attribute(OUTCOME, failure(error))
            mark_failed(span)
            raise
        span.set_attribute(OUTCOME, "ok")
