"""Turns a refusal into the HTTP exception of the web framework in use. Imports no framework.

A framework treats `TokenRejected` alone as an error of the application: it logs it, and calls the handlers for
`Exception`. The framework's own HTTP exceptions are answers.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any, Final

from scopewright.verifier.refusals import TokenRejected

DJANGO: Final = "django"
LITESTAR: Final = "litestar"
_EXCEPTIONS: Final = {
    "starlette": ("starlette.exceptions", "HTTPException"),  # FastAPI's is a subclass
    LITESTAR: ("litestar.exceptions", "HTTPException"),
    DJANGO: ("django.core.exceptions", "PermissionDenied"),  # it has none for 401
}


def frameworks_of(request: Any) -> tuple[str, ...]:
    """The frameworks that define the class of `request`; for an ASGI scope, every framework that is imported."""
    packages = {cls.__module__.partition(".")[0] for cls in type(request).__mro__}
    imported = [name for name, (module, _) in _EXCEPTIONS.items() if module in sys.modules]
    return tuple(name for name in imported if name in packages) or tuple(imported)


def as_http_exception(refusal: TokenRejected, frameworks: tuple[str, ...], headers: Mapping[str, str]) -> TokenRejected:
    """The same refusal, as an instance of each framework's HTTP exception too."""
    if not frameworks:
        return refusal
    raised: TokenRejected = _class_for(frameworks)(refusal.description)
    raised.__dict__.update(
        refusal.__dict__, status_code=refusal.status, detail=refusal.description, headers=dict(headers), extra=None
    )
    return raised


def answer_in_litestar(scope: Any, refusal: TokenRejected) -> None:
    """Adds an exception handler for the refusal to this connection if no specific handler exists.

    Litestar passes its HTTP exceptions to an application's handler for `Exception` or for status 500 too.
    """
    states, responses = sys.modules.get("litestar.utils.scope.state"), sys.modules.get("litestar.response")
    if states is None or responses is None or not hasattr(states, "ScopeState"):
        return
    state = states.ScopeState.from_scope(scope)
    handlers = getattr(state, "exception_handlers", None)
    if not isinstance(handlers, Mapping):
        return
    specific = [
        refusal.status,
        *(cls for cls in type(refusal).__mro__ if cls not in (Exception, BaseException, object)),
    ]
    if not any(each in handlers for each in specific):

        def answer(_: Any, raised: Any) -> Any:
            return responses.Response(raised.detail, status_code=raised.status_code, headers=raised.headers)

        state.exception_handlers = {**handlers, TokenRejected: answer}


@functools.cache
def _class_for(frameworks: tuple[str, ...]) -> type[Any]:
    bases = [getattr(sys.modules[module], name) for module, name in (_EXCEPTIONS[each] for each in frameworks)]
    own = {"__init__": Exception.__init__, "__str__": Exception.__str__, "__repr__": Exception.__repr__}
    return type(TokenRejected.__name__, (TokenRejected, *bases), {**own, "__module__": TokenRejected.__module__})
